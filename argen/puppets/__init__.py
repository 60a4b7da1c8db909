"""The small world with known truth: faces drawn from Action Units."""
