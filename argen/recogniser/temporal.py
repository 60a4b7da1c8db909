"""The temporal transformer: a summary token and one token a frame, with learnt places."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class TemporalTransformer(nn.Module):
    """Pre-norm layers without dropout: nothing in a step depends on a global generator."""

    def __init__(self, width: int, frames: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.summary = nn.Parameter(torch.randn(width) * 0.02)
        self.places = nn.Parameter(torch.randn(frames + 1, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B T D"]]:
        """The clip's summary, and the frames in the light of each other."""
        summary = self.summary.expand(len(tokens), 1, -1)
        x = torch.cat([summary.to(tokens.dtype), tokens], dim=1) + self.places
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return x[:, 0], x[:, 1:]
