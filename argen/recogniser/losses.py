"""Losses for a long tail, with soft targets, so that each goes with mixup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from argen.recogniser.settings import Settings

Loss: TypeAlias = Callable[[Float[Tensor, "B C"], Float[Tensor, "B C"]], Float[Tensor, "B"]]
"""Logits and targets (probabilities) -> one loss a clip."""


def make_loss(settings: Settings, counts: Sequence[float], step: int) -> Loss:
    """The loss of one step; LDAM re-weights classes late only.

    `counts`: training clips a class, each as its weight; a class of less than one counts as one, since the
    formulas are of whole clips and of none they have no value.
    """
    number = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
    late = step >= settings.drw_from * settings.steps
    weigh = settings.balance == "effective_number" or (settings.loss == "ldam_drw" and late)
    weights = effective_weights(number, settings.beta) if weigh else torch.ones_like(number)
    margins = settings.ldam_margin * (number.min() / number) ** 0.25
    prior = settings.tau * (number / number.sum()).log()

    def loss(logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]) -> Float[Tensor, "B"]:
        if settings.loss == "logit_adjustment":
            logits = logits + prior.to(logits)
        if settings.loss == "ldam_drw":
            logits = logits - settings.ldam_scale * margins.to(logits) * targets
        log_p = logits.log_softmax(dim=-1)
        if settings.loss == "focal":
            log_p = (1 - log_p.exp()).clamp(min=1e-6) ** settings.focal_gamma * log_p
        return -(weights.to(logits) * targets * log_p).sum(dim=-1)

    return loss


def effective_weights(number: Float[Tensor, "C"], beta: float) -> Float[Tensor, "C"]:
    """Inverse effective numbers of samples (Cui et al. 2019), with mean 1."""
    weights = (1 - beta) / (1 - beta**number)
    return weights * len(number) / weights.sum()
