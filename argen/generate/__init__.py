"""Frames from a source frame and an Affect: half of Adaptive Reinforcement Diffusion."""
