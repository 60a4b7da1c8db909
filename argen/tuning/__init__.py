"""Reward tuning by replay: the other half of Adaptive Reinforcement Diffusion."""
