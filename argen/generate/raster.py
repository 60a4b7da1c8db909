"""From moved vertices to a map of pixels: for every pixel of the result, where in the source it comes from.

The mesh is the face, strips across the eye and mouth openings, and rings around the face that follow its
outline less and less until they stand still. Drawing the moved triangles with their source positions as
colours gives the inverse map exactly, with no search; a triangle that is turned over is not drawn, and
what lies in front hides what lies behind, so nothing tears however far the face moves.
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

from argen.errors import MissingPackage
from argen.face import mesh
from argen.generate.motion import EYE_CORNERS, LIP_CORNERS, LOWER_LIDS, LOWER_LIP, UPPER_LIDS, UPPER_LIP

# Distance of each ring from the outline, in face heights, and how far it follows expression and head pose.
_RINGS: Final = ((0.08, 0.6, 0.9), (0.18, 0.25, 0.65), (0.32, 0.06, 0.3), (0.5, 0.0, 0.0))
_MARGIN: Final = 1.0  # of the picture on each side: colours must stay within 0..1, rings may lie outside
_DEPTH_SPAN: Final = 0.02  # so small that perspective is far below a pixel, large enough to order
_FAR: Final = 10.0
_CAMERA: Final = np.eye(4, dtype=np.float32)


@dataclass(frozen=True)
class Layout:
    """The mesh of one clip, at rest."""

    size: int
    source: Float32[ndarray, "V 2"]
    depth: Float32[ndarray, "V"]  # 1 nearest, larger farther
    triangles: Int32[ndarray, "N 3"]  # strips, face, rings
    inner: int  # so many of them are strips and face
    turned: Float32[ndarray, "N"]  # which way round each triangle is in the source
    colours: Float32[ndarray, "V 3"]
    coarse: Float32[ndarray, "h h 3"]  # the map where nothing moves, as colours, at half the resolution
    still: UInt8[ndarray, "size size"]  # 255 beyond the last ring, where nothing moves


def layout(points: Float32[ndarray, "468 3"], size: int) -> Layout:
    """Mesh, rings and strips for a face whose skin vertices are at `points` on a picture of `size`.

    Raises MissingPackage where OpenCV is older than 5, which cannot draw triangle meshes.
    """
    if not hasattr(cv2, "triangleRasterize"):
        raise MissingPackage(
            f"opencv {cv2.__version__} cannot draw meshes; pip install 'opencv-contrib-python>=5'"
        )
    outline = points[list(mesh.FACE_OVAL)]
    centre = outline[:, :2].mean(axis=0)
    height = float(np.ptp(outline[:, 1]))
    outward = outline[:, :2] - centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-6
    rings = [outline[:, :2] + reach * height * outward for reach, _, _ in _RINGS]
    source = np.concatenate([points[:, :2], *rings]).astype(np.float32)
    triangles = np.concatenate([_strips(), mesh.triangles(), _ring_triangles()]).astype(np.int32)
    z = (points[:, 2] - points[:, 2].min()) / max(float(np.ptp(points[:, 2])), 1e-6)
    depth = np.concatenate([z, *[np.full(36, 1.2 + k) for k in range(len(_RINGS))]])
    still = np.full((size, size), 255, np.uint8)
    cv2.fillPoly(still, [np.round(rings[-1] * 16).astype(np.int32)], 0, cv2.LINE_8, 4)
    return Layout(
        size,
        source,
        (1 + _DEPTH_SPAN * depth / depth.max()).astype(np.float32),
        triangles,
        len(triangles) - len(_ring_triangles()),
        _orientation(source, triangles),
        np.column_stack([_to_colour(source, size), np.full(len(source), 0.5)]).astype(np.float32),
        _coarse_grid(size),
        still,
    )


def with_rings(
    moved: Float32[ndarray, "T 468 2"], skull: Float32[ndarray, "T 468 2"], at_rest: Layout
) -> Float32[ndarray, "T V 2"]:
    """Positions of all vertices of the layout: the rings follow the outline, smoothed along it."""
    oval = list(mesh.FACE_OVAL)
    carried = skull[:, oval]
    expression = _smooth_around(moved[:, oval] - at_rest.source[oval] - carried)
    start = len(mesh.FACE_OVAL)
    rings = [
        at_rest.source[468 + k * start : 468 + (k + 1) * start] + follow * expression + turn * carried
        for k, (_, follow, turn) in enumerate(_RINGS)
    ]
    return np.concatenate([moved, *rings], axis=1).astype(np.float32)


def inverse_map(
    at_rest: Layout, vertices: Float32[ndarray, "V 2"], light: Float32[ndarray, "V"]
) -> tuple[Float32[ndarray, "S S"], Float32[ndarray, "S S"], Float32[ndarray, "S S"]]:
    """Source x, source y in pixels, and `light` (near 0) drawn from the vertices, for every pixel.

    Around the face, where all is smooth, half the resolution is enough.
    """
    size = at_rest.size
    facing = _areas(vertices[None], at_rest.triangles)[0] * at_rest.turned > 0
    colours = at_rest.colours.copy()
    colours[:, 2] += light
    half = (size + 1) // 2
    coarse, coarse_depth = at_rest.coarse.copy(), np.full((half, half), _FAR, np.float32)
    screen = _screen((vertices + 0.5) / 2 - 0.5, at_rest.depth, half)
    _draw(coarse, coarse_depth, screen, colours, at_rest.triangles[facing])
    fine = cv2.resize(coarse, (2 * half, 2 * half), interpolation=cv2.INTER_LINEAR)
    fine, depth = np.ascontiguousarray(fine[:size, :size]), np.full((size, size), _FAR, np.float32)
    inner, facing = at_rest.triangles[: at_rest.inner], facing[: at_rest.inner]
    screen = _screen(vertices, at_rest.depth, size)
    _draw(fine, depth, screen, colours, inner[facing])
    if not facing.all():  # what is turned over only fills gaps
        _draw(fine, depth, 1.5 * screen, colours, inner[~facing])
    return _unpacked(fine, at_rest)


def _screen(
    points: Float32[ndarray, "V 2"], depth: Float32[ndarray, "V"], size: int
) -> Float32[ndarray, "V 3"]:
    """Camera coordinates of points on a picture, each at its depth."""
    half = size / 2
    screen = np.full((len(points), 3), -1, np.float32)
    screen[:, :2] = (points + 0.5 - half) * np.array([1 / half, -1 / half], np.float32)
    screen *= depth[:, None]
    return screen


def _draw(
    canvas: Float32[ndarray, "S S 3"],
    depth: Float32[ndarray, "S S"],
    screen: Float32[ndarray, "V 3"],
    colours: Float32[ndarray, "V 3"],
    triangles: Int32[ndarray, "N 3"],
) -> None:
    """Draw triangles onto a canvas, where they are nearer than its depth."""
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    cv2.triangleRasterize(
        screen[:, None], triangles[:, None], colours[:, None], canvas, depth,
        _CAMERA, np.pi / 2, 0.1, 2 * _FAR, settings,
    )  # fmt: skip


def _unpacked(
    drawn: Float32[ndarray, "S S 3"], at_rest: Layout
) -> tuple[Float32[ndarray, "S S"], Float32[ndarray, "S S"], Float32[ndarray, "S S"]]:
    """Colours back to pixels and light, exact where nothing moves."""
    size = at_rest.size
    x, y, shade = cv2.split(drawn)
    scale, offset = size * (1 + 2 * _MARGIN), size * _MARGIN
    x *= scale
    x -= offset
    y *= scale
    y -= offset
    shade -= 0.5
    for channel, exact in zip((x, y, shade), _grid(size), strict=True):
        cv2.copyTo(exact, at_rest.still, channel)
    return x, y, shade


def _coarse_grid(size: int) -> Float32[ndarray, "h h 3"]:
    along = np.arange((size + 1) // 2) * 2 + 0.5
    x, y = np.meshgrid(along, along)
    return np.dstack([_to_colour(x, size), _to_colour(y, size), np.full_like(x, 0.5)]).astype(np.float32)


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[Float32[ndarray, "S S"], Float32[ndarray, "S S"], Float32[ndarray, "S S"]]:
    """Every pixel's own x and y, and no light."""
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    return np.ascontiguousarray(x), np.ascontiguousarray(y), np.zeros_like(x)


def _to_colour(points: ndarray, size: int) -> ndarray:
    return np.asarray((points / size + _MARGIN) / (1 + 2 * _MARGIN))


def _areas(points: Float32[ndarray, "T V 2"], triangles: Int32[ndarray, "N 3"]) -> Float32[ndarray, "T N"]:
    """Twice the signed area of every triangle."""
    a, b, c = (points[:, triangles[:, k]] for k in range(3))
    ab, ac = b - a, c - a
    return np.asarray(ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0], np.float32)


def _orientation(source: Float32[ndarray, "V 2"], triangles: Int32[ndarray, "N 3"]) -> Float32[ndarray, "N"]:
    """Which way round a triangle is in the source; strips, flat where lids or lips are shut, as made."""
    turned = np.sign(_areas(source[None], triangles)[0])
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
    chains = [np.array(mesh.FACE_OVAL), *(468 + k * count + np.arange(count) for k in range(len(_RINGS)))]
    quads = [
        np.stack([inner, np.roll(inner, -1), np.roll(outer, -1), outer], axis=1)
        for inner, outer in pairwise(chains)
    ]
    quad = np.concatenate(quads)
    return np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]).astype(np.int32)


def _smooth_around(move: Float32[ndarray, "T K 2"]) -> Float32[ndarray, "T K 2"]:
    """Average over neighbours on the closed outline."""
    return np.asarray((np.roll(move, 1, axis=1) + np.roll(move, -1, axis=1)) / 4 + move / 2, np.float32)
