"""One object under a camera: a colour picture, an organised point cloud, and the truth where it is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray

from argen.errors import DatasetError


@dataclass(frozen=True)
class Sample:
    """Colour, points and truth, all of one size; make it with `make_sample`, which checks them."""

    id: str
    rgb: UInt8[ndarray, "H W 3"]
    xyz: Float32[ndarray, "H W 3"] | None  # metres, z away from the camera; 0 where nothing was measured
    mask: Bool[ndarray, "H W"] | None = None  # defective pixels
    defect: str = "good"  # or the kind of defect

    @property
    def strange(self) -> bool:
        """Whether the truth says that it is defective."""
        return self.defect != "good"


def make_sample(
    id: str, rgb: ndarray, xyz: ndarray | None = None, mask: ndarray | None = None, defect: str = "good"
) -> Sample:
    """A checked sample. Points that are not numbers become 0, "not measured". Raises DatasetError."""
    if rgb.ndim != 3 or rgb.shape[2] not in {3, 4} or rgb.dtype != np.uint8:
        raise DatasetError(f"{id}: not a colour picture of bytes: {rgb.shape} {rgb.dtype}")
    if xyz is not None:
        if xyz.ndim != 3 or xyz.shape[2] != 3:
            raise DatasetError(
                f"{id}: points {xyz.shape} are not an organised cloud; one point a pixel, HxWx3, is needed"
            )
        if xyz.shape[:2] != rgb.shape[:2]:
            raise DatasetError(
                f"{id}: colour is {rgb.shape[:2]}, points are {xyz.shape[:2]}; they must match pixel by pixel"
            )
        broken = ~np.isfinite(xyz).all(axis=2, keepdims=True)
        xyz = np.where(broken, 0, xyz).astype(np.float32)
    if mask is not None and mask.shape != rgb.shape[:2]:
        raise DatasetError(f"{id}: colour is {rgb.shape[:2]}, the truth is {mask.shape}")
    return Sample(id, np.ascontiguousarray(rgb[..., :3]), xyz, mask, defect)


def resize(sample: Sample, size: int) -> Sample:
    """Square, `size` pixels: colour by area, points by nearest (no point is invented at an edge).

    The truth is any defective pixel within reach of a bilinear filter, as the published evaluations do.
    """
    import cv2

    shape = (size, size)
    rgb = cv2.resize(sample.rgb, shape, interpolation=cv2.INTER_AREA)
    xyz = None
    if sample.xyz is not None:
        xyz = cv2.resize(sample.xyz, shape, interpolation=cv2.INTER_NEAREST)
    mask = None
    if sample.mask is not None:
        mask = cv2.resize(sample.mask.astype(np.float32), shape, interpolation=cv2.INTER_LINEAR) > 0
    return Sample(sample.id, rgb, xyz, mask, sample.defect)


def foreground(xyz: Float32[ndarray, "H W 3"], height: float = 7e-3) -> Bool[ndarray, "H W"]:
    """What rises (or sinks) more than `height` metres from the table, whose plane the four corners give.

    Where a corner has no points the table was cut away already: then every point is the object.
    """
    z = _fill(xyz[..., 2])
    corners = np.array([[z[:2, :2], z[:2, -2:]], [z[-2:, :2], z[-2:, -2:]]])
    measured = xyz[..., 2] != 0
    if (corners == 0).any():
        return np.asarray(measured)
    (a, b), (c, d) = corners.mean(axis=(2, 3))
    v = np.linspace(0, 1, z.shape[0])[:, None]
    u = np.linspace(0, 1, z.shape[1])[None]
    table = (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v
    return np.asarray((np.abs(z - table) > height) & (z > 0))


def on_grid(mask: Bool[ndarray, "H W"], grid: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Patches at least half of which are set."""
    import cv2

    small = cv2.resize(mask.astype(np.float32), grid[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(small >= 0.5)


def _fill(z: Float[ndarray, "H W"], passes: int = 3) -> ndarray:
    """Gaps (zeros) take the mean of their measured 3x3 neighbours, some times over."""
    import cv2

    z = z.astype(np.float64)
    for _ in range(passes):
        known = (z != 0).astype(np.float64)
        total, count = (cv2.boxFilter(x, -1, (3, 3), normalize=False) for x in (z, known))
        z = np.where(known > 0, z, total / np.maximum(count, 1))
    return np.asarray(z)
