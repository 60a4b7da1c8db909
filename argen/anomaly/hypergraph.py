"""Semantic-aware hypergraph: one node a patch, one hyperedge a part of the object.

Parts are k-means clusters of the foreground patches of one sample. Everything is batched over samples, and
one sample's result does not depend on the others.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ITERATIONS = 100  # Lloyd's algorithm is converged long before; a fixed point stays one


def centroids(F: Float[Tensor, "B N D"], foreground: Bool[Tensor, "B N"], K: int, seed: int = 0) -> Tensor:
    """Centroids c_j of k-means (k-means++ start, Lloyd) over the foreground, `[B K D]`.

    The same K random numbers start every sample. A sample with fewer distinct foreground patches than K
    has some centroids NaN: parts that it does not have.
    """
    C = _plus_plus(F, foreground, K, seed)
    labels = _nearest(F, C)
    for _ in range(ITERATIONS):
        C = _means(F, foreground, labels, C)
        new = _nearest(F, C)
        if bool((new == labels).all()):
            break
        labels = new
    return C


def similarity(F: Float[Tensor, "B N D"], C: Float[Tensor, "B K D"]) -> Float[Tensor, "B N K"]:
    """S'_ij: cosine of patch i and centroid j, min-max normalised per patch over the parts that exist."""
    S = torch.nn.functional.normalize(F, dim=-1) @ torch.nn.functional.normalize(C, dim=-1).mT
    exists = C.isfinite().all(dim=-1)[:, None, :].expand_as(S)
    low = S.masked_fill(~exists, torch.inf).amin(dim=-1, keepdim=True)
    high = S.masked_fill(~exists, -torch.inf).amax(dim=-1, keepdim=True)
    span = high - low
    scaled = torch.where(span > 0, (S - low) / span.clamp_min(1e-12), torch.ones_like(S))
    return scaled.masked_fill(~exists, -torch.inf)


def incidence(
    F: Float[Tensor, "B N D"], C: Float[Tensor, "B K D"], foreground: Bool[Tensor, "B N"], tau: float = 0.9
) -> Bool[Tensor, "B N K"]:
    """H_ij = [S'_ij >= tau]: every foreground patch is in one hyperedge at least; rows off it are empty."""
    return (similarity(F, C) >= tau) & foreground[..., None]


def edge_features(F: Float[Tensor, "B N D"], H: Bool[Tensor, "B N K"]) -> Float[Tensor, "B K D"]:
    """E = D_e^-1 H^T D_v^-1/2 F; an empty hyperedge is a zero row."""
    H = H.to(F.dtype)
    D_v = H.sum(dim=2, keepdim=True).clamp_min(1)
    D_e = H.sum(dim=1)[..., None].clamp_min(1)
    return (H.mT @ (F / D_v.sqrt())) / D_e


def _plus_plus(F: Tensor, foreground: Tensor, K: int, seed: int) -> Tensor:
    """Each further start is drawn with probability proportional to its squared distance to the chosen."""
    uniforms = torch.rand(K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    batch = torch.arange(len(F), device=F.device)
    weight = foreground.double()
    chosen = []
    for u in uniforms.tolist():
        total = weight.cumsum(dim=1)
        goal = (u * total[:, -1:]).clamp_min(torch.finfo(torch.float64).tiny)
        pick = torch.searchsorted(total, goal).squeeze(1).clamp_max(F.shape[1] - 1)
        point = F[batch, pick]
        chosen.append(point.masked_fill((total[:, -1] <= 0)[:, None], torch.nan))
        distance = (F - point[:, None]).double().square().sum(dim=2)
        weight = torch.minimum(weight, distance) if len(chosen) > 1 else distance * foreground
    return torch.stack(chosen, dim=1)


def _nearest(F: Tensor, C: Tensor) -> Tensor:
    distance = C.square().sum(-1)[:, None] - 2 * F @ C.mT
    return distance.nan_to_num(nan=torch.inf).argmin(dim=2)


def _means(F: Tensor, foreground: Tensor, labels: Tensor, C: Tensor) -> Tensor:
    member = torch.nn.functional.one_hot(labels, C.shape[1]).to(F.dtype) * foreground[..., None]
    count = member.sum(dim=1)[..., None]
    return torch.where(count > 0, (member.mT @ F) / count.clamp_min(1), C)
