"""Efficiency: the share of denoising steps saved.

Takes steps (of each clip) and most_steps (of the run); gives 0..1. Equal rewards have no advantage, so the
number of steps must vary within a group (`tune.steps` with several numbers). What a model does in few steps
is for the other rewards to teach: see `docs/design.md`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor


def efficiency(steps: Sequence[int], most_steps: int, **columns: object) -> Float32[Tensor, "B"]:
    """One value a clip, 0..1: 0 at the run's largest number of steps."""
    return torch.tensor([1 - count / most_steps for count in steps], dtype=torch.float32)
