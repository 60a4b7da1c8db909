"""Reward tuning by replay: the other half of Adaptive Reinforcement Diffusion (ARD), after the abstract.

Read in this order: `transition` (the law), `rollout` (record and replay), `objective` and `advantage`,
`trainer` (one iteration), `course` (a whole run). `admission` decides what can be tuned.

trl removed its diffusion trainer in 0.24; this is a successor for video. From trl it takes `RepeatSampler`
for the order of jobs, the names of `GRPOConfig` where a setting is the same (`num_generations`, `beta`,
`max_grad_norm`), group-wise normalising before weighting (there `normalize_then_sum`), and the convention of
reward functions: keywords in, one number a sample or None out. Nothing else of trl is used.
"""
