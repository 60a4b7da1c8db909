"""Point clouds in plain torch: farthest-point sampling, grouping, interpolation, back to the patch grid."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ROWS = 256  # centres compared with all points at once


def farthest_points(points: Float[Tensor, "P 3"], count: int) -> Int64[Tensor, "G"]:
    """Indices of `count` points (all, if fewer), each the farthest from those before; no chance in it.

    The first is the farthest from the mean.
    """
    count = min(count, len(points))
    nearest = (points - points.mean(dim=0)).square().sum(dim=1)
    chosen = torch.zeros(count, dtype=torch.int64, device=points.device)
    for i in range(count):
        chosen[i] = nearest.argmax()
        distance = (points - points[chosen[i]]).square().sum(dim=1)
        nearest = distance if i == 0 else torch.minimum(nearest, distance)
    return chosen


def nearest_points(
    centres: Float[Tensor, "G 3"], points: Float[Tensor, "P 3"], k: int
) -> tuple[Float[Tensor, "G k"], Int64[Tensor, "G k"]]:
    """Distances and indices of the k nearest points of every centre, nearest first."""
    starts = range(0, len(centres), ROWS)
    k = min(k, len(points))
    exact = "donot_use_mm_for_euclid_dist"  # the quick way puts a point some 1e-4 away from itself
    distances = (torch.cdist(centres[i : i + ROWS], points, compute_mode=exact) for i in starts)
    parts = [distance.topk(k, largest=False) for distance in distances]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def interpolate(
    features: Float[Tensor, "G D"], centres: Float[Tensor, "G 3"], points: Float[Tensor, "P 3"]
) -> Float[Tensor, "P D"]:
    """Every point's feature from its three nearest centres, weighted by inverse distance."""
    distance, index = nearest_points(points, centres, 3)
    weight = 1 / (distance + 1e-8)
    weight = weight / weight.sum(dim=1, keepdim=True)
    return (features[index] * weight[..., None]).sum(dim=1)


def to_grid(
    features: Float[Tensor, "P D"], where: Int64[Tensor, "P 2"], size: int, grid: tuple[int, int]
) -> Float[Tensor, "N D"]:
    """Pixel features to patches: 3x3 mean, then a mean over each patch; pixels without a point are 0."""
    image = features.new_zeros(size, size, features.shape[1])
    image[where[:, 0], where[:, 1]] = features
    image = image.permute(2, 0, 1)[None]
    smooth = torch.nn.functional.avg_pool2d(image, 3, 1, 1)
    return torch.nn.functional.adaptive_avg_pool2d(smooth, grid)[0].flatten(1).T
