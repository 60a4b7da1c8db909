"""RGB patch features without weights: colour and gradient directions at several scales."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

DIRECTIONS = 9  # unsigned, over 180 degrees
SCALES = (1, 2, 4)  # windows, in patches


def describe_colour(
    rgb: UInt8[Tensor, "B H W 3"], grid: tuple[int, int], scales: tuple[int, ...] = SCALES
) -> Float[Tensor, "B N D"]:
    """Per patch and scale: mean and deviation of opponent colours, and a histogram of gradient directions."""
    image = rgb.permute(0, 3, 1, 2).float()
    image = image / (2 * image.mean(dim=(1, 2, 3), keepdim=True)).clamp_min(1)  # how bright the light was
    opponent = torch.stack(
        [image.mean(dim=1), image[:, 0] - image[:, 1], image[:, :2].mean(dim=1) - image[:, 2]], dim=1
    )
    pixel = torch.cat([opponent, opponent.square(), _directions(opponent[:, :1])], dim=1)
    patch = torch.nn.functional.adaptive_avg_pool2d(pixel, grid)
    described = [_summary(_window(patch, scale)) for scale in scales]
    return torch.cat(described, dim=1).flatten(2).mT.contiguous()


def _directions(grey: Tensor) -> Tensor:
    """Gradient magnitude shared between the two nearest of nine directions."""
    padded = torch.nn.functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])[:, 0]
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])[:, 0]
    size = (dx.square() + dy.square()).sqrt()
    angle = torch.atan2(dy, dx).remainder(math.pi) / math.pi * DIRECTIONS
    bins = torch.arange(DIRECTIONS, device=grey.device).view(1, -1, 1, 1)
    apart = (angle[:, None] - bins).abs()
    apart = torch.minimum(apart, DIRECTIONS - apart)
    return (1 - apart).clamp_min(0) * size[:, None]


def _window(patch: Tensor, scale: int) -> Tensor:
    """Mean over a window of `2 scale - 1` patches, inside the picture."""
    width = 2 * scale - 1
    return torch.nn.functional.avg_pool2d(patch, width, 1, scale - 1, count_include_pad=False)


def _summary(x: Tensor) -> Tensor:
    """All in units of brightness, so that directions count by how strong their edges are."""
    mean, square, hog = x[:, :3], x[:, 3:6], x[:, 6:]
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    return torch.cat([mean, deviation, hog], dim=1)
