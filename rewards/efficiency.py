"""Efficiency: the share of denoising steps saved.

Takes steps (of each clip) and most_steps (of the run); gives 0..1. It teaches only where the number of steps
varies within a group (`tune.steps` with several numbers): equal rewards have no advantage.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor


def efficiency(steps: Sequence[int], most_steps: int, **columns: object) -> Float32[Tensor, "B"]:
    """One value a clip, 0..1: 0 at the run's largest number of steps."""
    return torch.tensor([1 - count / most_steps for count in steps], dtype=torch.float32)
