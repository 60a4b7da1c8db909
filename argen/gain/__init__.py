"""Whether synthetic clips help: arms at equal steps and budget, intervals, and a verdict that can say no."""
