"""From samples to patches: which features, on which grid, and what is foreground."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from argen.anomaly.colour_hog import describe_colour
from argen.anomaly.fpfh import describe_points
from argen.anomaly.patches import Patches, concatenate
from argen.anomaly.points import to_grid
from argen.anomaly.samples import Sample, foreground, on_grid, resize
from argen.errors import DatasetError

SIZE = 224
GRID = (28, 28)
STRIDE = 4  # FPFH looks at every fourth point each way: sixteen times fewer, and a patch still has four
NEIGHBOURS = 16  # of each such point: as wide as a patch

PointFeatures = Callable[[Tensor], Tensor]  # [P 3] -> [P D]


@dataclass(frozen=True)
class Extractor:
    """Loaded features. `rgb` and `points` are what they were made from, so that a detector can tell.

    Patches come out on `device`, wherever the features were computed.
    """

    rgb: str
    points: str
    colour: Callable[[Tensor], Tensor]  # uint8 [B S S 3] -> [B N D]
    cloud: PointFeatures | None
    grid: tuple[int, int]
    device: str = "cpu"

    @classmethod
    def load(cls, rgb: str = "colour-hog", points: str = "fpfh", device: str = "cpu") -> Extractor:
        """rgb: `colour-hog` or a transformer (`load_vit`). points: `fpfh`, `none` or Point-MAE's weights.

        Raises ModelUnavailable.
        """
        cloud: PointFeatures | None = None
        if points == "fpfh":
            cloud = partial(describe_points, neighbours=NEIGHBOURS)
        elif points != "none":
            from argen.anomaly.point_mae import load_point_mae

            cloud = load_point_mae(Path(points), device)
        if rgb == "colour-hog":
            return cls(rgb, points, lambda image: describe_colour(image, GRID), cloud, GRID, device)
        from argen.anomaly.vit import load_vit

        vit = load_vit(rgb, device)
        return cls(rgb, points, vit, cloud, vit.grid, device)

    def __call__(self, samples: Iterable[Sample]) -> Patches:
        """Patches of samples, one after the other. Raises DatasetError."""
        found = [self._one(resize(sample, SIZE)) for sample in samples]
        if not found:
            raise DatasetError("no samples to look at")
        return concatenate(found).to(self.device)

    def _one(self, sample: Sample) -> Patches:
        modalities = [self.colour(torch.from_numpy(sample.rgb)[None])]
        part = torch.ones(1, self.grid[0] * self.grid[1], dtype=torch.bool)
        if sample.xyz is not None:
            part = torch.from_numpy(on_grid(foreground(sample.xyz), self.grid)).view(1, -1)
        if self.cloud is not None:
            modalities.append(self._points(sample)[None])
        return Patches(tuple(modalities), part, self.grid)

    def _points(self, sample: Sample) -> Float[Tensor, "N D"]:
        if sample.xyz is None:
            raise DatasetError(
                f"{sample.id}: has no points; give them, or use --points none for colour alone"
            )
        xyz = torch.from_numpy(sample.xyz)
        size = SIZE
        if self.points == "fpfh":
            xyz, size = xyz[::STRIDE, ::STRIDE], SIZE // STRIDE
        where = (xyz != 0).all(dim=2).nonzero()
        if len(where) == 0:
            raise DatasetError(f"{sample.id}: no point was measured; its cloud is all zeros or not numbers")
        assert self.cloud is not None
        points = xyz[where[:, 0], where[:, 1]]
        if self.points != "fpfh":  # whose k-d tree is on the CPU
            points = points.to(self.device)
        return to_grid(self.cloud(points), where, size, self.grid)
