"""Fast Point Feature Histograms, after Rusu et al. 2009: 3D patch features without weights."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

BINS = 11


def describe_points(
    points: Float[Tensor, "P 3"], neighbours: int = 32, view: tuple[float, float, float] = (0, 0, 0)
) -> Float[Tensor, "P 33"]:
    """Three histograms of 11 bins a point: how the normals of its neighbourhood turn. Each sums to 1.

    Invariant to rotation and shift (normals face `view`, which moves along). Fewer than 4 points: zeros.
    """
    if len(points) < 4:
        return points.new_zeros(len(points), 3 * BINS)
    distance, index = _tree(points, min(neighbours + 1, len(points)))
    normals = _normals(points, index, points.new_tensor(view))
    simple = _simple(points, normals, index[:, 1:])
    weight = 1 / distance[:, 1:].clamp_min(1e-9)
    weight = weight / weight.sum(dim=1, keepdim=True)
    full = simple + (simple[index[:, 1:]] * weight[..., None]).sum(dim=1)
    return full / 2


def _tree(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Nearest neighbours by a k-d tree, the point itself first."""
    from scipy.spatial import cKDTree

    cloud = points.cpu().numpy()
    distance, index = cKDTree(cloud).query(cloud, k)
    return torch.from_numpy(distance).to(points), torch.from_numpy(index).to(points.device)


def _normals(points: Tensor, index: Int64[Tensor, "P k"], view: Tensor) -> Float[Tensor, "P 3"]:
    near = points[index]
    near = near - near.mean(dim=1, keepdim=True)
    normal = torch.linalg.eigh(near.mT @ near).eigenvectors[..., 0]
    away = ((view - points) * normal).sum(dim=1, keepdim=True) < 0
    return torch.where(away, -normal, normal)


def _simple(points: Tensor, normals: Tensor, index: Int64[Tensor, "P k"]) -> Float[Tensor, "P 33"]:
    """SPFH: histograms of the three angles of the Darboux frame between a point and each neighbour."""
    line = torch.nn.functional.normalize(points[index] - points[:, None], dim=2)
    u, n = normals[:, None].expand_as(line), normals[index]
    v = torch.nn.functional.normalize(torch.linalg.cross(line, u), dim=2)
    w = torch.linalg.cross(u, v)
    alpha = (v * n).sum(dim=2)  # -1..1
    phi = (u * line).sum(dim=2)  # -1..1
    theta = torch.atan2((w * n).sum(dim=2), (u * n).sum(dim=2)) / torch.pi  # -1..1
    return torch.cat([_histogram(angle) for angle in (alpha, phi, theta)], dim=1)


def _histogram(angle: Float[Tensor, "P k"]) -> Float[Tensor, "P 11"]:
    """Shares of a neighbourhood in 11 bins over -1..1; a value is split between the two nearest bins."""
    place = (angle.clamp(-1, 1) + 1) / 2 * (BINS - 1)
    low = place.floor().long().clamp_max(BINS - 2)
    high_share = place - low
    out = angle.new_zeros(len(angle), BINS)
    out.scatter_add_(1, low, 1 - high_share)
    out.scatter_add_(1, low + 1, high_share)
    return out / angle.shape[1]
