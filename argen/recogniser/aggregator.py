"""The Latent Semantic Emotion Aggregator (after the DuSE abstract; the reading is ours).

Concepts are the twenty Action Units, each a vector that starts from its phrases. Frames are measured against
them; what a clip shows of each concept at its strongest is its evidence. Latent queries look at the frames
and at the concepts weighed by their evidence; pooled, they give the second logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

SHARP = 4.0  # of the soft maximum over frames


@dataclass(frozen=True)
class Aggregate:
    """What the aggregator says of clips."""

    logits: Float[Tensor, "B C"]
    evidence: Float[Tensor, "B 20"]  # logits: does the clip show the concept?
    by_frame: Float[Tensor, "B T 20"]


class Aggregator(nn.Module):
    """Latent queries over frames and concepts."""

    prior: Float[Tensor, "C 20"]

    def __init__(self, width: int, latents: int, heads: int, shares: Float[Tensor, "C 20"]) -> None:
        super().__init__()
        known = shares.isfinite()
        clean = torch.where(known, shares, torch.zeros_like(shares))
        mean = clean.sum(dim=0) / known.sum(dim=0).clamp(min=1)
        self.offsets = nn.Parameter(torch.randn(shares.shape[1], width) * 0.02)
        self.project = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.project.weight)
        self.look = nn.Linear(width, width)
        self.warmth = nn.Parameter(torch.tensor(8.0).log())
        self.threshold = nn.Parameter(torch.zeros(shares.shape[1]))
        self.latents = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.body = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.classes = nn.Linear(width, len(shares))
        self.knowledge = nn.Linear(shares.shape[1], len(shares), bias=False)
        # A class without known units starts at zero and learns its row.
        self.knowledge.weight.data.copy_(torch.where(known, clean - mean, torch.zeros_like(clean)))

    def forward(
        self,
        tokens: Float[Tensor, "B T D"],
        frames: Float[Tensor, "B T D"],
        concepts: Float[Tensor, "20 D"],
        without: Bool[Tensor, "20"] | None = None,
    ) -> Aggregate:
        """Second logits. `tokens` are the frames before the temporal encoder, which say what each shows, and
        `frames` after it. `without` leaves concepts out, as if their evidence were none.
        """
        memory = functional.normalize(
            functional.normalize(self.project(concepts), dim=-1) + self.offsets, dim=-1
        )
        cosines = functional.normalize(self.look(tokens), dim=-1) @ memory.T
        by_frame = self.warmth.exp() * cosines - self.threshold
        evidence = torch.logsumexp(SHARP * by_frame, dim=1) / SHARP
        shown = evidence.sigmoid()
        if without is not None:
            shown = shown.masked_fill(without, 0.0)
        seen = torch.cat([frames, shown[..., None] * memory], dim=1)
        seen = self.before(seen)
        latents = self.latents.expand(len(frames), -1, -1)
        latents = latents + self.attention(latents, seen, seen, need_weights=False)[0]
        latents = latents + self.body(self.after(latents))
        logits = self.classes(latents.mean(dim=1)) + 4 * self.knowledge(shown)
        return Aggregate(logits, evidence, by_frame)


def concept_loss(
    evidence: Float[Tensor, "B 20"], targets: Float[Tensor, "B C"], shares: Float[Tensor, "C 20"]
) -> Float[Tensor, "B"]:
    """Cross-entropy of evidence and the share of people who show the unit in the clip's class; no AU labels.

    Classes of which nothing is known (NaN rows) say nothing.
    """
    known = shares.isfinite().all(dim=1).to(evidence.dtype)
    wanted = targets @ torch.nan_to_num(shares)
    weight = targets @ known
    wanted = (wanted / weight.clamp(min=1e-6)[:, None]).clamp(0, 1)
    each = functional.binary_cross_entropy_with_logits(evidence, wanted, reduction="none").mean(dim=1)
    return each * weight
