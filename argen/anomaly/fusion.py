"""Patch scores of several modalities into one picture and one number."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def fuse(
    scores: Float[Tensor, "M *rest"], scale: Float[Tensor, "M 2"], fusion: str
) -> Float[Tensor, "*rest"]:
    """One score from M modalities.

    product: the authors'; its unit changes from category to category. z-sum and max: of scores in standard
    deviations of the normals' own patch scores (`scale`: mean and deviation), so one threshold serves all.
    """
    if fusion == "product":
        return scores.prod(dim=0)
    shape = (-1,) + (1,) * (scores.ndim - 1)
    z = (scores - scale[:, 0].view(shape)) / scale[:, 1].view(shape)
    return z.sum(dim=0) if fusion == "z-sum" else z.amax(dim=0)


def upsample(scores: Float[Tensor, "B N"], grid: tuple[int, int], size: int) -> Float[Tensor, "B S S"]:
    """A patch score to every pixel, bilinear."""
    image = scores.view(len(scores), 1, *grid)
    return torch.nn.functional.interpolate(image, (size, size), mode="bilinear", align_corners=False)[:, 0]


def sharpen_and_smooth(fused: Float[Tensor, "B S S"], power: float) -> Float[Tensor, "B S S"]:
    """The authors' last steps: a power, five 5x5 means, three 7x7 means; borders repeat."""
    image = fused.clamp_min(0).pow(power)[:, None]
    for width in (5,) * 5 + (7,) * 3:
        padded = torch.nn.functional.pad(image, (width // 2,) * 4, mode="replicate")
        columns = torch.nn.functional.avg_pool2d(padded, (width, 1), stride=1)
        image = torch.nn.functional.avg_pool2d(columns, (1, width), stride=1)
    return image[:, 0]
