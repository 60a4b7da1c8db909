"""Point-MAE's encoder, after Pang et al. 2022: 3D patch features from its published weights.

Twelve blocks of width 384 over 1,024 groups of 128 points; the features are the normalised outputs of
blocks 4, 8 and 12. Sampling and grouping are plain torch. The cloud is scaled into a unit ball, as in
pre-training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from argen.anomaly.points import farthest_points, interpolate, nearest_points
from argen.errors import ModelUnavailable

TAPS = (3, 7, 11)


class GroupEncoder(nn.Module):
    """A small PointNet: one token from the points of a group."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(
            nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, width, 1)
        )

    def forward(self, groups: Float[Tensor, "G k 3"]) -> Float[Tensor, "G D"]:
        """Groups centred on their own centre."""
        local = self.first_conv(groups.mT)
        whole = local.amax(dim=2, keepdim=True).expand_as(local)
        token: Tensor = self.second_conv(torch.cat([whole, local], dim=1)).amax(dim=2)
        return token


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values, without a bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "B G D"]) -> Float[Tensor, "B G D"]:
        """Every token attends to all."""
        B, G, D = x.shape
        q, k, v = self.qkv(x).view(B, G, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(B, G, D))
        return out


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Float[Tensor, "B G D"]) -> Float[Tensor, "B G D"]:
        """Attention, then a two-layer perceptron."""
        x = x + self.attn(self.norm1(x))
        hidden = nn.functional.gelu(self.mlp["fc1"](self.norm2(x)))
        out: Tensor = x + self.mlp["fc2"](hidden)
        return out


class PointMae(nn.Module):
    """The encoder, with the module names of the published checkpoint."""

    def __init__(
        self, width: int = 384, depth: int = 12, heads: int = 6, groups: int = 1024, size: int = 128
    ) -> None:
        super().__init__()
        self.groups, self.size = groups, size
        self.encoder = GroupEncoder(width)
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        self.blocks = nn.ModuleDict({"blocks": nn.ModuleList(Block(width, heads) for _ in range(depth))})
        self.norm = nn.LayerNorm(width)

    @torch.inference_mode()
    def forward(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P D3"]:
        """A feature for every point, from the three nearest groups."""
        points = points - points.mean(dim=0)
        points = points / points.norm(dim=1).max().clamp_min(1e-9)
        centres = points[farthest_points(points, self.groups)]
        index = nearest_points(centres, points, self.size)[1]
        tokens = self.encoder(points[index] - centres[:, None])[None]
        position = self.pos_embed(centres)[None]
        taps = []
        blocks: Iterable[nn.Module] = self.blocks["blocks"].children()
        for i, block in enumerate(blocks):
            tokens = block(tokens + position)
            if i in TAPS:
                taps.append(self.norm(tokens)[0])
        return interpolate(torch.cat(taps, dim=1), centres, points)


def load_point_mae(path: Path | str, device: str = "cpu") -> PointMae:
    """The encoder with the weights of `pretrain.pth`, read as tensors only. Raises ModelUnavailable."""
    path = Path(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = encoder_state(checkpoint.get("base_model", checkpoint))
        model = PointMae()
        model.load_state_dict(state)
    except Exception as error:  # torch.load's failures have no common class
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelUnavailable(
            f"{path}: not the published weights of Point-MAE ({first}); get pretrain.pth from its "
            "releases, or use --points fpfh"
        ) from error
    return model.eval().to(device)


def encoder_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's entries of a pre-training checkpoint, by our module names; the decoder is left."""
    prefix = "MAE_encoder."
    named = {key.removeprefix("module."): value for key, value in state.items()}
    return {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}
