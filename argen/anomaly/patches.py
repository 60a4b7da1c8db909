"""Patches: what a detector sees of a sample. Where they come from is no business of the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from argen.errors import UsageError


@dataclass(frozen=True)
class Patches:
    """Patch features `[B N D]` of B samples on one grid of N patches, row by row; one tensor a modality.

    The first modality lays the hyperedges that all share.
    """

    modalities: tuple[Float[Tensor, "_ _ _"], ...]
    foreground: Bool[Tensor, "_ _"]
    grid: tuple[int, int]  # height, width; N is their product

    def __post_init__(self) -> None:
        shape = tuple(self.foreground.shape)
        if shape[1] != self.grid[0] * self.grid[1]:
            raise UsageError(f"{shape[1]} patches cannot lie on a {self.grid[0]}x{self.grid[1]} grid")
        if not self.modalities:
            raise UsageError("no modality: give patch features of one at least")
        for i, F in enumerate(self.modalities):
            if tuple(F.shape[:2]) != shape:
                raise UsageError(
                    f"modality {i} has {tuple(F.shape[:2])} samples and patches, the foreground {shape}"
                )
            if not bool(F.isfinite().all()):
                raise UsageError(f"modality {i} has features that are not numbers; mask or fill them first")

    def __len__(self) -> int:
        return len(self.foreground)

    def __getitem__(self, rows: slice | Tensor | list[int]) -> Patches:
        """Some of the samples."""
        return Patches(tuple(F[rows] for F in self.modalities), self.foreground[rows], self.grid)

    def to(self, device: str | torch.device) -> Patches:
        """The same on another device."""
        return Patches(tuple(F.to(device) for F in self.modalities), self.foreground.to(device), self.grid)


def concatenate(parts: Sequence[Patches]) -> Patches:
    """Samples of several, in order; they must have one grid and the same modalities."""
    first = parts[0]
    for part in parts:
        widths = [F.shape[2] for F in part.modalities]
        if part.grid != first.grid or widths != [F.shape[2] for F in first.modalities]:
            raise UsageError("samples differ in grid or modalities; extract them with the same features")
    modalities = zip(*(part.modalities for part in parts), strict=True)
    return Patches(
        tuple(torch.cat(m) for m in modalities), torch.cat([part.foreground for part in parts]), first.grid
    )
