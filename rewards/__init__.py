"""Rewards: one file, one reward, one function. Edit, or copy one with `argen copy rewards/NAME`."""
