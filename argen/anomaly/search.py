"""Hyperedge-guided search: a patch is looked up under the hyperedges of memory that are like its own."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from argen.anomaly.memory import Memory

UNREACHED = 1e6  # what the authors give a patch whose hyperedges hold no node


def nearest_by_edge(
    X: Float[Tensor, "N D"], memory: Float[Tensor, "A D"], bounds: Int64[Tensor, "K2"]
) -> tuple[Float[Tensor, "N K1"], Int64[Tensor, "N K1"]]:
    """Distance to and row of each patch's nearest node in every memory hyperedge; 1e6, -1 in empty ones."""
    shape = (len(X), len(bounds) - 1)
    distance = X.new_full(shape, UNREACHED)
    row = torch.full(shape, -1, dtype=torch.int64, device=X.device)
    for j, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        if stop > start:
            found = nearest(X, memory[start:stop], 1)[:, 0] + start
            distance[:, j] = (X - memory[found]).norm(dim=1)
            row[:, j] = found
    return distance, row


def nearest(X: Float[Tensor, "n D"], memory: Float[Tensor, "A D"], k: int) -> Int64[Tensor, "n k"]:
    """Rows of the k Euclidean nearest, by FAISS on a CPU and by blocks of torch on a GPU."""
    k = min(k, len(memory))
    if X.is_cuda:
        return torch.cdist(X, memory).topk(k, largest=False).indices
    import faiss

    queries, base = (np.ascontiguousarray(t.numpy(), np.float32) for t in (X, memory))
    return torch.from_numpy(faiss.knn(queries, base, k)[1])


def allowed(
    E: Float[Tensor, "K D"], H: Bool[Tensor, "N K"], memory: Memory, top: int
) -> Bool[Tensor, "N K1"]:
    """Which memory hyperedges each patch may look into: the `top` likest of any of its own.

    Empty hyperedges take nobody's place. A patch off the object may look everywhere: at its edge it is like
    neither side alone.
    """
    filled = memory.bounds.diff() > 0
    unit = torch.nn.functional.normalize
    likeness = (unit(E, dim=1) @ unit(memory.edges[:-1], dim=1).T).masked_fill(~filled[:-1], -torch.inf)
    best = likeness.topk(min(top, likeness.shape[1]), dim=1).indices
    guide = torch.zeros_like(likeness, dtype=torch.bool).scatter(1, best, value=True) & filled[:-1]
    on_object = (H.float() @ guide.float()) > 0
    off_object = ~H.any(dim=1, keepdim=True)
    return torch.cat([on_object | off_object, off_object], dim=1) & filled


def reweight(x: Float[Tensor, "D"], row: int, memory: Float[Tensor, "A D"], neighbours: int) -> float:
    """PatchCore's factor of the image score, 0..1: what a soft-max over the neighbours of the nearest
    memory node leaves beside that node itself.
    """
    around = nearest(memory[row : row + 1], memory, neighbours)[0]
    if len(around) < 2:
        return 1.0
    distance = (memory[around] - x).norm(dim=1)
    own = (memory[row] - x).norm()
    return float(1 - (own - distance.logsumexp(dim=0)).exp())
