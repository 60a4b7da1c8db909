"""Folds and shading: what moving pixels cannot show.

A fold is a dark line with light flanks, drawn on the source's skin so that it moves with it. How deep it is
follows from how much the mesh is pressed together across it. Broad shading follows the mesh's normals under
light from above. The places, widths and depths are ours, set by eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray
from scipy.sparse import csr_matrix, diags_array

from argen.face import mesh
from argen.generate.mesh_layout import Window, window_around

Point = tuple[int, int, float]
"""Between two vertices: first, second, and how far from the first to the second."""


@dataclass(frozen=True)
class Fold:
    """One fold: its lines, half width in outer-eye distances, depth, and the pairs of vertices across it."""

    lines: tuple[tuple[Point, ...], ...]
    width: float
    depth: float  # darkest change of log intensity
    across: tuple[tuple[int, int], ...]
    full: float  # compression, 0..1, at which the fold is at its deepest
    mirrored: bool = True


def _at(*vertices: int) -> tuple[Point, ...]:
    return tuple((vertex, vertex, 0.0) for vertex in vertices)


def _row(lower: tuple[int, ...], upper: tuple[int, ...], share: float) -> tuple[Point, ...]:
    return tuple((a, b, share) for a, b in zip(lower, upper, strict=True))


_BROW, _HAIRLINE = (63, 105, 66, 107, 9), (54, 103, 67, 109, 10)
# Places are on the subject's right; a mirrored fold has a twin on the left that is pressed on its own.
FOLDS: Final = {
    "nasolabial": Fold(
        (_at(129, 203, 206, 216, 212),), 0.024, 0.36, ((203, 36), (206, 205), (61, 50), (129, 243)), 0.24
    ),
    "glabella": Fold(
        (((9, 107, 0.35), (8, 55, 0.5), (168, 193, 0.45)), ((107, 66, 0.1), (55, 107, 0.3), (55, 221, 0.2))),
        0.02, 0.24, ((55, 285), (107, 336)), 0.28,
    ),
    "forehead": Fold(
        (_row(_BROW, _HAIRLINE, 0.38), _row(_BROW, _HAIRLINE, 0.58), _row(_BROW, _HAIRLINE, 0.76)),
        0.018, 0.2, ((107, 109), (105, 103)), 0.2,
    ),
    "nose": Fold(
        (((6, 122, 0.4), (122, 188, 0.5), (217, 188, 0.6)),
         ((197, 196, 0.5), (174, 196, 0.5), (217, 174, 0.2))),
        0.024, 0.15, ((129, 243),), 0.18,
    ),
    "crow's feet": Fold(
        (((130, 226, 0.6), (35, 113, 0.7), (124, 156, 0.5)),
         ((130, 226, 0.9), (31, 35, 0.6), (143, 111, 0.3)),
         ((25, 226, 0.7), (31, 228, 0.3), (111, 117, 0.5))),
        0.014, 0.16, ((33, 117), (130, 111)), 0.22,
    ),
    "under the eye": Fold(
        (_at(226, 31, 228, 229, 230, 231, 232),), 0.018, 0.16, ((145, 118), (33, 117)), 0.2
    ),
    "chin": Fold((((43, 106, 0.5), (83, 182, 0.5), (18, 18, 0.0), (313, 406, 0.5), (273, 335, 0.5)),),
        0.03, 0.24, ((61, 199), (291, 199)), 0.14, mirrored=False,
    ),
}  # fmt: skip

_SHALLOW: Final = 0.03
_COARSE: Final = 6  # pixels of the source to one of the coarse grid
_GLOW: Final = 0.06  # how far a vertex' brightness reaches, in outer-eye distances
_LIGHT: Final = np.array([0.0, -0.55, -0.83])  # from above, in front
_SHADING: Final = 0.45  # share of the full change of the normals' shading


@dataclass(frozen=True)
class Relief:
    """What can change the brightness of one face, on the window of the source that holds it."""

    window: Window
    folds: Float32[ndarray, "K P"]  # change of intensity by each fold at its deepest
    glow: Float32[ndarray, "468 G"]  # from brightness per vertex to a coarse grid over the window
    grid: tuple[int, int]  # rows and columns of that grid


def relief(points: Float32[ndarray, "468 2"], size: int, deepest: Float32[ndarray, "K"]) -> Relief | None:
    """Prepare a face; folds that never get deep are not drawn. None if the face is outside the picture."""
    unit = float(np.linalg.norm(np.subtract(*points[list(mesh.OUTER_EYE_CORNERS)])))
    window = window_around(points, 0.03 * unit, size)
    if window is None:
        return None
    places = [(fold, side) for fold in FOLDS.values() for side in ((0, 1) if fold.mirrored else (0,))]
    folds = np.zeros((len(places), window.height, window.width), np.float32)
    local = points - np.array([window.x, window.y], np.float32)
    for (fold, side), deep, field in zip(places, deepest, folds, strict=True):
        if deep > _SHALLOW:
            _draw(fold, [_places(line, local, side) for line in fold.lines], unit, field)
    rows, columns = (max(length // _COARSE, 2) for length in (window.height, window.width))
    across = _bumps(local[:, 0], columns, window.width, _GLOW * unit)
    down = _bumps(local[:, 1], rows, window.height, _GLOW * unit)
    weights = (down[:, :, None] * across[:, None]).reshape(len(points), -1)
    glow = (weights / np.maximum(weights.sum(axis=0), 1e-3)).astype(np.float32)
    return Relief(window, folds.reshape(len(places), -1), glow, (rows, columns))


def _bumps(
    places: Float32[ndarray, "n"], count: int, length: int, reach: float
) -> Float32[ndarray, "n count"]:
    """How near each place is to each of `count` cells along a `length`, as a Gaussian."""
    centres = (np.arange(count) + 0.5) * length / count - 0.5
    return np.asarray(np.exp(-((centres - places[:, None]) ** 2) / (2 * reach**2)), np.float32)


def depths(relief: Float32[ndarray, "T 468 3"], rest: Float32[ndarray, "468 3"]) -> Float32[ndarray, "T K"]:
    """How deep each fold is in each frame, 0..1, from how the mesh is pressed together across it."""
    mirror = mesh.mirror_index()
    columns = []
    for fold in FOLDS.values():
        for side in (0, 1) if fold.mirrored else (0,):
            pairs = np.array(fold.across, np.int64)
            first, second = (mirror[pairs] if side else pairs).T
            before = np.linalg.norm(rest[first] - rest[second], axis=1)
            after = np.linalg.norm(relief[:, first] - relief[:, second], axis=2)
            pressed = np.maximum(1 - after / np.maximum(before, 1e-6), 0.0)
            strongest = np.sort(pressed, axis=1)[:, -2:].mean(axis=1)
            columns.append(1 - np.exp(-((strongest / fold.full) ** 1.5) * 1.5))
    return np.stack(columns, axis=1).astype(np.float32)


def shading(
    relief: Float32[ndarray, "T 468 3"], rest: Float32[ndarray, "468 3"]
) -> Float32[ndarray, "T 468"]:
    """Change of brightness per vertex, about -0.3..0.3, as the skin turns towards or away from the light."""
    change = _normals(relief) @ _LIGHT - _normals(rest[None]) @ _LIGHT
    for _ in range(2):
        change = change @ _neighbours().T
    return np.asarray(np.clip(_SHADING * change * _lit(), -0.3, 0.3), np.float32)


def _places(line: tuple[Point, ...], points: Float32[ndarray, "468 2"], side: int) -> Float64[ndarray, "n 2"]:
    first, second = (np.array([point[k] for point in line]) for k in (0, 1))
    share = np.array([point[2] for point in line])[:, None]
    if side:
        mirror = mesh.mirror_index()
        first, second = mirror[first], mirror[second]
    return np.asarray(points[first] * (1 - share) + points[second] * share, np.float64)


def _draw(
    fold: Fold, lines: list[Float64[ndarray, "n 2"]], unit: float, field: Float32[ndarray, "h w"]
) -> None:
    """Dark core, light flanks, fading towards the ends of each line."""
    sigma = max(fold.width * unit, 0.55)
    limits = field.shape[::-1]
    for line in lines:
        dense = _curve(line, 0.8 * sigma).astype(np.float32)
        low = np.clip(np.floor(dense.min(axis=0) - 5 * sigma), 0, limits).astype(int)
        high = np.clip(np.ceil(dense.max(axis=0) + 5 * sigma) + 1, 0, limits).astype(int)
        if (high <= low).any():
            continue
        box = slice(low[1], high[1]), slice(low[0], high[0])
        x, y = (np.arange(low[k], high[k], dtype=np.float32)[:, None] - dense[:, k] for k in (0, 1))
        squared = (x * x)[None] + (y * y)[:, None]
        nearest = squared.argmin(axis=2)
        distance = np.sqrt(squared.min(axis=2)) / sigma
        along = nearest / (len(dense) - 1)
        fade = np.sin(np.pi * along) ** 0.8
        core = 0.75 * np.exp(-0.5 * distance**2) + 0.55 * np.exp(-0.5 * (distance / 2) ** 2)
        core -= 0.35 * np.exp(-0.5 * (distance / 2.4) ** 2)
        field[box] = np.minimum(field[box], 0) - core * fade * fold.depth


def _curve(line: Float64[ndarray, "n 2"], apart: float) -> Float64[ndarray, "m 2"]:
    """A smooth curve near the points, sampled every `apart` pixels."""
    for _ in range(2):  # Chaikin's corner cutting
        inner = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], axis=1)
        line = np.concatenate([line[:1], inner.reshape(-1, 2), line[-1:]])
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    dense = np.linspace(0, along[-1], max(int(along[-1] / apart), 2) + 1)
    return np.stack([np.interp(dense, along, line[:, k]) for k in (0, 1)], axis=1)


def _normals(shape: Float32[ndarray, "T 468 3"]) -> Float64[ndarray, "T 468 3"]:
    """Unit normals towards the viewer, area-weighted."""
    faces = mesh.triangles()
    a, b, c = (shape[:, faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    total = np.stack([_gather() @ across[:, :, axis].T for axis in range(3)], axis=-1).swapaxes(0, 1)
    total *= np.where(total[..., 2:] > 0, -1.0, 1.0)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=2, keepdims=True), 1e-9))


@lru_cache(maxsize=1)
def _gather() -> csr_matrix:
    """Sparse sum over the triangles at each vertex, [468, 898]."""
    faces = mesh.triangles()
    columns = np.repeat(np.arange(len(faces)), 3)
    return csr_matrix((np.ones(faces.size), (faces.ravel(), columns)), shape=(468, len(faces)))


@lru_cache(maxsize=1)
def _neighbours() -> csr_matrix:
    """Sparse average over a vertex and its neighbours, [468, 468]."""
    touching = _gather() @ _gather().T
    return csr_matrix(diags_array(1 / np.asarray(touching.sum(axis=1)).ravel()) @ touching)


@lru_cache(maxsize=1)
def _lit() -> Float64[ndarray, "468"]:
    """Where shading applies: not on lips and lids, whose skin slides rather than bends."""
    calm = mesh.calm_mesh()[:468, :2].astype(np.float64)
    rims = [*mesh.OUTER_LIPS, *mesh.INNER_LIPS, *mesh.RIGHT_EYE, *mesh.LEFT_EYE]
    distance = np.linalg.norm(calm[:, None] - calm[rims][None], axis=2).min(axis=1)
    edge = np.linalg.norm(calm[:, None] - calm[list(mesh.FACE_OVAL)][None], axis=2).min(axis=1)
    return np.asarray(np.clip(distance / 0.08, 0, 1) * np.clip(edge / 0.15, 0, 1))
