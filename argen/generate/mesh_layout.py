"""The mesh of one clip: the face, strips across the eye and mouth openings, and rings around the face.

The rings follow the outline less and less until they stand still: no edge tears, the background is steady.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy import ndarray

from argen.face import mesh
from argen.generate.motion import EYE_CORNERS, LIP_CORNERS, LOWER_LIDS, LOWER_LIP, UPPER_LIDS, UPPER_LIP

# Distance of each ring from the outline, in face heights, and how far it follows expression and head pose.
RINGS: Final = ((0.08, 0.55, 0.85), (0.2, 0.15, 0.45), (0.38, 0.0, 0.0))
_DEPTH_SPAN: Final = 0.02  # so small that perspective is far below a pixel, large enough to order


@dataclass(frozen=True)
class Window:
    """A rectangle of the picture."""

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


@dataclass(frozen=True)
class Layout:
    """The mesh of one clip, at rest."""

    size: int  # of the picture
    window: Window  # all that may move
    source: Float32[ndarray, "V 2"]
    depth: Float32[ndarray, "V"]  # 1 nearest, larger farther
    triangles: Int32[ndarray, "N 3"]
    turned: Float32[ndarray, "N"]  # which way round each triangle is in the source
    still: UInt8[ndarray, "h w"]  # 255 where nothing in the window moves: beyond the last ring


def lay_out(points: Float32[ndarray, "468 3"], size: int) -> Layout:
    """Mesh, rings and strips for a face whose skin vertices are at `points` on a picture of `size`."""
    outline = points[list(mesh.FACE_OVAL)]
    centre = outline[:, :2].mean(axis=0)
    height = float(np.ptp(outline[:, 1]))
    outward = outline[:, :2] - centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-6
    rings = [outline[:, :2] + reach * height * outward for reach, _, _ in RINGS]
    source = np.concatenate([points[:, :2], *rings]).astype(np.float32)
    triangles = np.concatenate([_strips(), mesh.triangles(), _ring_triangles()]).astype(np.int32)
    z = (points[:, 2] - points[:, 2].min()) / max(float(np.ptp(points[:, 2])), 1e-6)
    depth = np.concatenate([z, *[np.full(len(outline), 1.2 + k) for k in range(len(RINGS))]])
    window = window_around(rings[-1], 1.0, size) or Window(0, 0, size, size)
    still = np.full((size, size), 255, np.uint8)
    cv2.fillPoly(still, [np.round(rings[-1] * 16).astype(np.int32)], 0, cv2.LINE_8, 4)
    return Layout(
        size,
        window,
        source,
        (1 + _DEPTH_SPAN * depth / depth.max()).astype(np.float32),
        triangles,
        _orientation(source, triangles),
        np.ascontiguousarray(still[window.slices]),
    )


def with_rings(
    moved: Float32[ndarray, "T 468 2"], skull: Float32[ndarray, "T 468 2"], at_rest: Layout
) -> Float32[ndarray, "T V 2"]:
    """Positions of all vertices of the layout: the rings follow the outline, smoothed along it."""
    oval = list(mesh.FACE_OVAL)
    carried = skull[:, oval]
    expression = _smooth_around(moved[:, oval] - at_rest.source[oval] - carried)
    count = len(oval)
    rings = [
        at_rest.source[468 + k * count : 468 + (k + 1) * count] + follow * expression + turn * carried
        for k, (_, follow, turn) in enumerate(RINGS)
    ]
    return np.concatenate([moved, *rings], axis=1).astype(np.float32)


def window_around(points: Float32[ndarray, "*n 2"], margin: float, size: int) -> Window | None:
    """The part of the picture that holds all points and a margin; None where they are all outside.

    It starts at even pixels, so that a map at half the resolution fits on it.
    """
    flat = points.reshape(-1, 2)
    low = np.clip(np.floor((flat.min(axis=0) - margin) / 2) * 2, 0, size).astype(int)
    high = np.clip(np.ceil(flat.max(axis=0) + margin) + 1, 0, size).astype(int)
    if (high - low < 4).any():
        return None
    return Window(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))


def areas(points: Float32[ndarray, "T V 2"], triangles: Int32[ndarray, "N 3"]) -> Float32[ndarray, "T N"]:
    """Twice the signed area of every triangle."""
    a, b, c = (points[:, triangles[:, k]] for k in range(3))
    ab, ac = b - a, c - a
    return np.asarray(ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0], np.float32)


def _orientation(source: Float32[ndarray, "V 2"], triangles: Int32[ndarray, "N 3"]) -> Float32[ndarray, "N"]:
    """Which way round a triangle is in the source; strips, flat where lids or lips are shut, as made."""
    turned = np.sign(areas(source[None], triangles)[0])
    turned[: len(_strips())] = 1
    return np.asarray(turned, np.float32)


@lru_cache(maxsize=1)
def _strips() -> Int32[ndarray, "N 3"]:
    """Triangles between the lids and between the lips."""
    chains = [
        (EYE_CORNERS[0], UPPER_LIDS[0], LOWER_LIDS[0]),
        (EYE_CORNERS[1][::-1], UPPER_LIDS[1][::-1], LOWER_LIDS[1][::-1]),
        (LIP_CORNERS, UPPER_LIP[0], LOWER_LIP[0]),
    ]
    triangles: list[tuple[int, int, int]] = []
    for ends, above, below in chains:  # from the subject's right to the left
        upper, lower = (ends[0], *above, ends[1]), (ends[0], *below, ends[1])
        for i in range(len(upper) - 1):
            triangles += [(upper[i], upper[i + 1], lower[i + 1]), (upper[i], lower[i + 1], lower[i])]
    return np.array([corners for corners in triangles if len(set(corners)) == 3], np.int32)


@lru_cache(maxsize=1)
def _ring_triangles() -> Int32[ndarray, "N 3"]:
    """Triangles between the outline and the first ring, and between each ring and the next."""
    count = len(mesh.FACE_OVAL)
    chains = [np.array(mesh.FACE_OVAL), *(468 + k * count + np.arange(count) for k in range(len(RINGS)))]
    quads = [
        np.stack([inner, np.roll(inner, -1), np.roll(outer, -1), outer], axis=1)
        for inner, outer in pairwise(chains)
    ]
    quad = np.concatenate(quads)
    return np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]).astype(np.int32)


def _smooth_around(move: Float32[ndarray, "T K 2"]) -> Float32[ndarray, "T K 2"]:
    """Average over neighbours on the closed outline."""
    return np.asarray((np.roll(move, 1, axis=1) + np.roll(move, -1, axis=1)) / 4 + move / 2, np.float32)
