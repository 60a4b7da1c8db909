"""What the processes of a run tell each other; of a single one, nothing.

No wrapper comes around a denoiser: a pipeline finds the module that it knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


def gather(accelerator: Any, values: Tensor) -> Tensor:  # noqa: ANN401  accelerate is untyped
    """The values of all processes, one after the other."""
    if accelerator.num_processes == 1:
        return values
    return torch.as_tensor(accelerator.gather(values.to(accelerator.device))).cpu()


def add_up_gradients(accelerator: Any, weights: Iterable[Parameter]) -> None:  # noqa: ANN401
    """Give every process the sum of the gradients; a weight without one had none: 0."""
    weights = list(weights)
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    if accelerator.num_processes > 1:
        flat = torch.cat([weight.grad.flatten() for weight in weights])  # type: ignore[union-attr]
        flat = torch.as_tensor(accelerator.reduce(flat, "sum"))
        parts = torch.split(flat, [weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.view_as(weight)
