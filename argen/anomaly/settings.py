"""Every constant of the method, and the preset that the authors' scripts use."""

from __future__ import annotations

from dataclasses import dataclass

from argen.errors import UsageError, did_you_mean

FUSIONS = ("product", "z-sum", "max")
STARTS = ("centre", "random")
QUOTAS = ("spread", "size")


@dataclass(frozen=True)
class CifSettings:
    """Constants by their symbols in the paper; the switches at the end are for ablation."""

    K: int = 8  # hyperedges a sample: the authors' 4 on MVTec 3D-AD, 8 on Eyecandies
    tau: float = 0.7  # a patch joins every part whose normalised similarity reaches this; the authors' 0.9
    ratio: float = 0.1  # share of the normal patches that the memory keeps
    alpha: float = 0.9  # share of its own feature that a node keeps in one step of propagation
    L: int = 1  # steps of propagation
    top: int = 3  # memory hyperedges that a test hyperedge may look into
    neighbours: int = 9  # of the re-weighted image score
    power: float = 1.5  # of the fused map, before smoothing
    walk: bool = True  # propagate means, D^-1 W; off: the authors' D^-1/2 W D^-1/2, which inflates hubs
    fusion: str = "product"
    start: str = "centre"  # of the coreset: the node nearest to the part's mean, or a seeded random one
    quota: str = "spread"  # of a hyperedge: as many as a coreset of the whole gives it; or by its size
    projection: float = 0.0  # distortion of the sparse random projection of the coreset; 0: none
    hypergraph: bool = True  # off: one hyperedge holds the whole object
    propagation: bool = True
    guided: bool = True  # off: the patch score is the plain nearest-neighbour distance
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("tau", 0, 1), ("ratio", 0, 1), ("alpha", 0, 1)):
            if not low < getattr(self, name) <= high:
                raise UsageError(f"{name} = {getattr(self, name)}: must be above {low} and at most {high}")
        for name, known in (("fusion", FUSIONS), ("start", STARTS), ("quota", QUOTAS)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise UsageError(f"{name} = {value}: no such choice{did_you_mean(value, known)}")
        for name in ("K", "L", "top", "neighbours"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: must be 1 or more")


RELEASED = CifSettings(K=4, tau=0.9, walk=False, quota="size", start="random", projection=0.9)
"""The authors' scripts for MVTec 3D-AD (K = 8 on Eyecandies), less their defects: ids stay with their nodes,
what lies off the object is searched too, parts may be fewer than K.

Ours differ: at 0.9 nearly every patch has one part only, and the guided search then looks for patches at the
seam of two parts under the wrong one, which costs more than it gains; at 0.7 they have both."""

PRESETS = {"ours": CifSettings(), "released": RELEASED}
