"""From moved vertices to a map of pixels: for every pixel of the result, where in the source it comes from.

Drawing the moved triangles with their source positions as colours gives the inverse map exactly, with no
search. What lies in front hides what lies behind, and a triangle that is turned over only fills gaps, so
nothing tears however far the face moves. Skin is smooth, so half the resolution is enough for it; around the
lids and the lips the map is drawn at full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32
from numpy import ndarray

from argen.errors import MissingPackage
from argen.generate.mesh_layout import Layout, Window, areas, window_around

_MARGIN: Final = 1.0  # of the picture on each side: colours must stay within 0..1, rings may lie outside
_FAR: Final = 10.0
_CAMERA: Final = np.eye(4, dtype=np.float32)

Map = tuple[Float32[ndarray, "h w"], Float32[ndarray, "h w"]]
"""Source x and y, in pixels, of every pixel of a window."""


@dataclass(frozen=True)
class Canvas:
    """A part of the picture and the triangles that ever reach it."""

    window: Window
    triangles: Int32[ndarray, "n 3"]
    facing: Bool[ndarray, "T n"]  # triangles that are not turned over
    screen: Float32[ndarray, "T V 3"]  # the vertices before the camera
    empty: Float32[ndarray, "h w 3"]  # the map where nothing moves, as colours


@dataclass(frozen=True)
class Scene:
    """All frames of a clip, ready to be drawn."""

    at_rest: Layout
    colours: Float32[ndarray, "V 3"]
    skin: Canvas
    details: tuple[Canvas, ...]


def scene(at_rest: Layout, vertices: Float32[ndarray, "T V 2"], rims: Sequence[tuple[int, ...]]) -> Scene:
    """Prepare a clip; `rims` are the vertices around which the map is drawn finely.

    Raises MissingPackage where OpenCV is older than 5, which cannot draw triangle meshes.
    """
    if not hasattr(cv2, "triangleRasterize"):
        raise MissingPackage(
            f"opencv {cv2.__version__} cannot draw meshes; pip install 'opencv-contrib-python>=5'"
        )
    low, high = vertices.min(axis=0)[at_rest.triangles], vertices.max(axis=0)[at_rest.triangles]
    facing = areas(vertices, at_rest.triangles) * at_rest.turned > 0
    details = []
    for rim in rims:
        window = window_around(vertices[:, list(rim)], 0.02 * at_rest.size, at_rest.size)
        if window is not None:
            before, after = (window.x - 1, window.y - 1), (window.x + window.width, window.y + window.height)
            near = (high.max(axis=1) >= before).all(axis=1) & (low.min(axis=1) <= after).all(axis=1)
            details.append(_canvas(at_rest, vertices, window, facing, near))
    colours = np.zeros((len(at_rest.source), 3), np.float32)
    colours[:, :2] = _to_colour(at_rest.source, at_rest.size)
    skin = _canvas(at_rest, vertices, at_rest.window, facing)
    return Scene(at_rest, colours, skin, tuple(details))


def inverse_map(scene: Scene, t: int) -> Map:
    """The map of frame `t` on the layout's window."""
    whole = scene.at_rest.window
    size = (whole.width + whole.width % 2, whole.height + whole.height % 2)
    coarse = _drawn(scene, scene.skin, t)
    result = [
        np.ascontiguousarray(cv2.resize(channel, size)[: whole.height, : whole.width]) for channel in coarse
    ]
    for detail in scene.details:
        top, left = detail.window.y - whole.y, detail.window.x - whole.x
        rows, columns = slice(max(top, 0), None), slice(max(left, 0), None)
        for channel, drawn in zip(result, _drawn(scene, detail, t), strict=True):
            fine = drawn[max(-top, 0) :, max(-left, 0) :]
            target = channel[rows, columns][: fine.shape[0], : fine.shape[1]]
            target[:] = fine[: target.shape[0], : target.shape[1]]
    return result[0], result[1]


def _canvas(
    at_rest: Layout,
    vertices: Float32[ndarray, "T V 2"],
    window: Window,
    facing: Bool[ndarray, "T N"],
    near: Bool[ndarray, "N"] | None = None,
) -> Canvas:
    """A coarse canvas for all triangles, or a fine one for those `near` its window."""
    step = 2 if near is None else 1
    width, height = ((length + step - 1) // step for length in (window.width, window.height))
    across, down = (
        np.arange(count) * step + start + (step - 1) / 2
        for count, start in ((width, window.x), (height, window.y))
    )
    x, y = np.meshgrid(_to_colour(across, at_rest.size), _to_colour(down, at_rest.size))
    # The camera looks down -z with y up; half the canvas' height is one unit at distance one.
    screen = np.full((*vertices.shape[:2], 3), -1, np.float32)
    centre = np.array([window.x - 0.5 + width * step / 2, window.y - 0.5 + height * step / 2], np.float32)
    screen[..., :2] = (vertices - centre) * np.array([2, -2], np.float32) / (step * height)
    screen *= at_rest.depth[:, None]
    return Canvas(
        window,
        at_rest.triangles if near is None else at_rest.triangles[near],
        facing if near is None else facing[:, near],
        screen,
        np.dstack([x, y, np.zeros_like(x)]).astype(np.float32),
    )


def _drawn(scene: Scene, canvas: Canvas, t: int) -> Map:
    """The map of one frame on one canvas."""
    drawn = canvas.empty.copy()
    depth = np.full(drawn.shape[:2], _FAR, np.float32)
    facing = canvas.facing[t]
    _draw(drawn, depth, canvas.screen[t], scene.colours, canvas.triangles[facing])
    if not facing.all():
        _draw(drawn, depth, 1.5 * canvas.screen[t], scene.colours, canvas.triangles[~facing])
    x, y = cv2.extractChannel(drawn, 0), cv2.extractChannel(drawn, 1)
    scale, offset = scene.at_rest.size * (1 + 2 * _MARGIN), scene.at_rest.size * _MARGIN
    x *= scale
    x -= offset
    y *= scale
    y -= offset
    return x, y


def _draw(
    canvas: Float32[ndarray, "h w 3"],
    depth: Float32[ndarray, "h w"],
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


def _to_colour(points: ndarray, size: int) -> ndarray:
    return np.asarray((points / size + _MARGIN) / (1 + 2 * _MARGIN))
