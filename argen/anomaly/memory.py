"""Structure-guided memory: normal patches kept under the hyperedge that they belong to, few of each.

The most typical normal lays the hyperedges and the others join them one by one, so that the order in
which normals are given does not matter. What lies off the object is a hyperedge of its own, the last one:
without it nothing outside the object could ever be called strange.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from argen.anomaly.hypergraph import centroids, edge_features, incidence
from argen.anomaly.settings import CifSettings
from argen.errors import UsageError

ROWS = 1024  # nodes compared with all others at once


@dataclass(frozen=True)
class Memory:
    """One modality's nodes, sorted by hyperedge: hyperedge j is rows `bounds[j]:bounds[j + 1]`.

    The last hyperedge is what lies off the object. Any of them may be empty.
    """

    nodes: Float[Tensor, "A D"]
    bounds: Int64[Tensor, "K2"]
    edges: Float[Tensor, "K1 D"]  # mean feature of all normal patches of each hyperedge, kept or not

    @property
    def edge_of(self) -> Int64[Tensor, "A"]:
        """The hyperedge of every node."""
        counts = self.bounds.diff()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)

    def __len__(self) -> int:
        return len(self.nodes)


def build_memories(
    modalities: Sequence[Float[Tensor, "k N _"]], foreground: Bool[Tensor, "k N"], settings: CifSettings
) -> list[Memory]:
    """A memory for each modality from k normals; the first modality says what belongs to what."""
    if not bool(foreground.any(dim=1).all()):
        raise UsageError("a normal sample is all background: it teaches nothing; leave it out")
    lead = modalities[0]
    K = settings.K if settings.hypergraph else 1
    H = incidence(lead, centroids(lead, foreground, K, settings.seed), foreground, settings.tau)
    order = typical_first(lead)
    labels = assign(lead, H, foreground, order)
    firsts = [edge_features(F, H)[order[0]] for F in modalities]
    return [_memory(F[order], labels[order], E, settings) for F, E in zip(modalities, firsts, strict=True)]


def typical_first(F: Float[Tensor, "k N D"]) -> Int64[Tensor, "k"]:
    """Normals by their distance to the mean of all, nearest first; equal ones by their content."""
    means = F.mean(dim=1).cpu().double().numpy()
    centre = np.sort(means, axis=0).mean(axis=0)  # sorted: a sum that does not depend on the order
    far = np.square(means - centre).sum(axis=1).round(9)
    keys = np.vstack([means.T[::-1], far])  # lexsort: the last row decides first
    return torch.from_numpy(np.lexsort(keys)).to(F.device)


def assign(
    F: Float[Tensor, "k N D"], H: Bool[Tensor, "k N K"], foreground: Bool[Tensor, "k N"], order: Tensor
) -> Int64[Tensor, "k N"]:
    """The memory hyperedge of every patch: the stored one likest to its own cluster; K if background.

    Several clusters may map to one hyperedge. Stored hyperedges are recomputed after every normal.
    """
    K = H.shape[2]
    labels = torch.where(foreground, H.to(torch.int8).argmax(dim=2), K)
    E = edge_features(F, H)
    first = int(order[0])
    stored = E[first]
    for rank, i in enumerate(order.tolist()):
        if rank:
            likest = _cosine(E[i], stored).argmax(dim=1)
            labels[i] = torch.cat([likest, likest.new_tensor([K])])[labels[i]]
            seen = order[: rank + 1]
            stored = _mean_by_label(F[seen].flatten(0, 1), labels[seen].flatten(), K + 1)[:K]
    return labels


def coreset(F: Float[Tensor, "n D"], quota: int, start: int) -> Int64[Tensor, "q"]:
    """k-centre greedy: always the node farthest from those chosen. Quota 1: the least eccentric node."""
    if quota >= len(F):
        return torch.arange(len(F), device=F.device)
    if quota == 1:
        rows = [torch.cdist(F[i : i + ROWS], F).amax(dim=1) for i in range(0, len(F), ROWS)]
        return torch.cat(rows).argmin()[None]
    chosen = [start]
    nearest = (F - F[start]).square().sum(dim=1)
    for _ in range(quota - 1):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (F - F[chosen[-1]]).square().sum(dim=1))
    return torch.tensor(chosen, device=F.device)


def project(F: Float[Tensor, "n D"], distortion: float, seed: int) -> Float[Tensor, "n d"]:
    """Sparse random projection that keeps distances within `distortion` (Johnson-Lindenstrauss, Li)."""
    n, D = F.shape
    d = int(4 * np.log(max(n, 2)) / (distortion**2 / 2 - distortion**3 / 3))
    if d >= D:
        return F
    rng = np.random.default_rng(seed)
    density = D**-0.5
    signs = rng.choice([-1.0, 0.0, 1.0], (D, d), p=[density / 2, 1 - density, density / 2])
    return F @ torch.from_numpy(signs * (1 / (density * d)) ** 0.5).to(F)


def _memory(F: Tensor, labels: Tensor, E: Tensor, settings: CifSettings) -> Memory:
    K, flat, ids = len(E), F.flatten(0, 1), labels.flatten()
    whole = _choose(flat, settings) if settings.quota == "spread" else None
    kept = []
    for j in range(K + 1):
        rows = (ids == j).nonzero().squeeze(1)
        picks = rows[:0] if whole is None else whole[ids[whole] == j]
        if len(rows):  # no hyperedge that has patches goes without a node
            kept.append(picks if len(picks) else rows[_choose(flat[rows], settings)])
    rows = torch.cat(kept)
    bounds = torch.bincount(ids[rows], minlength=K + 1).cumsum(0)
    edges = _mean_by_label(flat, ids, K + 1)
    if len(F) == 1:  # only later normals have the stored edges recomputed, as plain means
        edges[:K] = E
    return Memory(flat[rows].contiguous(), torch.cat([bounds.new_zeros(1), bounds]), edges)


def _choose(F: Tensor, settings: CifSettings) -> Tensor:
    quota = max(1, round(settings.ratio * len(F)))
    seen = project(F, settings.projection, settings.seed) if settings.projection else F
    if settings.start == "random":
        start = int(np.random.default_rng(settings.seed).integers(len(F)))
    else:
        start = int((F - F.mean(dim=0)).square().sum(dim=1).argmin())
    return coreset(seen, quota, start)


def _mean_by_label(F: Tensor, labels: Tensor, count: int) -> Tensor:
    sums = F.new_zeros(count, F.shape[1]).index_add(0, labels, F)
    sizes = torch.bincount(labels, minlength=count)[:, None]
    return sums / sizes.clamp_min(1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).mT
