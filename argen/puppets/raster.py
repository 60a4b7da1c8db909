"""A small rasteriser in numpy: which triangle each pixel of a batch of frames shows, and where in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numpy import ndarray

EDGE = np.float32(1e-4)  # how far outside a triangle, in barycentric weight, still counts as inside


@dataclass(frozen=True)
class Fragments:
    """The covered pixels: flat index into [T, H, W], flat row of the vertex of each corner, weights."""

    pixels: Int64[ndarray, "P"]
    triangles: Int64[ndarray, "P"]  # index into the triangle list
    corners: Int32[ndarray, "P 3"]  # index into vertices flattened over frames
    weights: Float32[ndarray, "P 3"]


def rasterise(
    points: Float32[ndarray, "T N 3"],
    triangles: Int32[ndarray, "F 3"],
    bias: Float32[ndarray, "F"],
    height: int,
    width: int,
) -> Fragments:
    """Painter's algorithm over T frames at once: far triangles first, back faces dropped.

    `points` are x right and y down in pixels, z towards the viewer; `bias` is added to a triangle's depth.
    """
    frames, vertices = points.shape[:2]
    corner = points[:, triangles]  # T F 3 3
    x, y = corner[..., 0], corner[..., 1]
    area = (x[..., 1] - x[..., 0]) * (y[..., 2] - y[..., 0]) - (x[..., 2] - x[..., 0]) * (
        y[..., 1] - y[..., 0]
    )
    left, right = _least(x), -_least(-x)
    top, bottom = _least(y), -_least(-y)
    seen = (area < -1e-4) & (right >= 0) & (left <= width) & (bottom >= 0) & (top <= height)
    depth = corner[..., 2].sum(-1) / 3 + bias
    frame, triangle = np.nonzero(seen)
    order = np.lexsort((depth[seen], frame))
    frame, triangle = frame[order], triangle[order]
    top, bottom = top[frame, triangle], bottom[frame, triangle]
    x, y, area = x[frame, triangle], y[frame, triangle], area[frame, triangle]
    plane = _planes(x, y, area)
    front = _front(plane, (top, bottom), frame, (frames, height, width))
    pixels = np.flatnonzero(front >= 0)
    winner = front[pixels]
    row = (pixels // width).astype(np.int32)
    u = (pixels - row * width).astype(np.float32) + np.float32(0.5)
    v = (row % height).astype(np.float32) + np.float32(0.5)
    a = plane[winner]
    weights = np.empty((len(pixels), 3), np.float32)
    weights[:, 1] = a[:, 0] * u + a[:, 1] * v + a[:, 2]
    weights[:, 2] = a[:, 3] * u + a[:, 4] * v + a[:, 5]
    weights[:, 0] = 1 - weights[:, 1] - weights[:, 2]
    rows = triangles[triangle] + (frame * vertices).astype(np.int32)[:, None]
    return Fragments(pixels, triangle[winner], rows[winner], weights)


def _least(values: ndarray) -> ndarray:
    return np.asarray(np.minimum(np.minimum(values[..., 0], values[..., 1]), values[..., 2]))


def _planes(x: ndarray, y: ndarray, area: ndarray) -> Float32[ndarray, "K 6"]:
    """Barycentric weights of corners 1 and 2 as affine functions of the pixel."""
    inverse = 1 / area
    a1, b1 = (y[:, 2] - y[:, 0]) * inverse, (x[:, 0] - x[:, 2]) * inverse
    a2, b2 = (y[:, 0] - y[:, 1]) * inverse, (x[:, 1] - x[:, 0]) * inverse
    c1 = -(a1 * x[:, 0] + b1 * y[:, 0])
    c2 = -(a2 * x[:, 0] + b2 * y[:, 0])
    return np.stack([a1, b1, c1, a2, b2, c2], axis=1).astype(np.float32)


def _front(
    plane: ndarray, ends: tuple[ndarray, ndarray], frame: ndarray, shape: tuple[int, int, int]
) -> Int32[ndarray, "P"]:
    """Rank of the nearest triangle at each pixel, -1 where none; ranks rise with nearness.

    Each triangle is cut into rows, from the first of its `ends` to the second, and a row is a run of pixels.
    """
    frames, height, width = shape
    top = np.clip(np.ceil(ends[0] - 0.5), 0, height).astype(np.int32)
    bottom = np.clip(np.floor(ends[1] - 0.5), -1, height - 1).astype(np.int32)
    rows = np.maximum(bottom + 1 - top, 0)
    rank = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
    row = _counted(rows) + top[rank]
    left, right = _run(plane, rank, row.astype(np.float32) + np.float32(0.5), width)
    length = np.maximum(right + 1 - left, 0)
    first = (frame.astype(np.int32)[rank] * height + row) * width + left
    front = np.full(frames * height * width, -1, np.int32)
    # Pixels repeat in rising rank, and the last one written stays.
    front[np.repeat(first, length) + _counted(length)] = np.repeat(rank, length)
    return front


def _run(
    plane: ndarray, rank: Int32[ndarray, "R"], v: Float32[ndarray, "R"], width: int
) -> tuple[Int32[ndarray, "R"], Int32[ndarray, "R"]]:
    """First and last pixel of each row `v` of triangle `rank`, last before first where there is none.

    Each weight a u + b v + c >= -EDGE bounds u from one side, by an affine function of v.
    """
    a, b, c = np.moveaxis(plane.reshape(-1, 2, 3), (2, 1), (0, 1))
    a = np.concatenate([a, -a.sum(axis=0, keepdims=True)])
    a[np.abs(a) < 1e-9] = 1e-9
    b = np.concatenate([b, -b.sum(axis=0, keepdims=True)])
    c = np.concatenate([c, 1 - c.sum(axis=0, keepdims=True)])
    low, high = np.full(len(rank), -0.5, np.float32), np.full(len(rank), width - 0.5, np.float32)
    for opens, slope, offset in zip(a > 0, -b / a, -(c + EDGE) / a, strict=True):
        bound = slope[rank] * v + offset[rank]
        low = np.maximum(low, np.where(opens[rank], bound, -np.inf))
        high = np.minimum(high, np.where(opens[rank], np.inf, bound))
    left = np.clip(np.ceil(low - np.float32(0.5)), 0, width)
    right = np.clip(np.floor(high - np.float32(0.5)), -1, width - 1)
    return left.astype(np.int32), right.astype(np.int32)


def _counted(lengths: Int32[ndarray, "R"]) -> Int32[ndarray, "N"]:
    """0 .. n-1 for each of the lengths, one after another."""
    ends = np.cumsum(lengths, dtype=np.int32)
    counted = np.arange(ends[-1] if len(ends) else 0, dtype=np.int32)
    return np.asarray(counted - np.repeat(ends - lengths, lengths))
