"""A small rasteriser in numpy: which triangle each pixel of a batch of frames shows, and where in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numpy import ndarray

BUCKETS = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    10,
    12,
    15,
    19,
    24,
    32,
    48,
    80,
    128,
    256,
    1024,
)  # side of the square of pixels tried for a triangle


@dataclass(frozen=True)
class Fragments:
    """The covered pixels: flat index into [T, H, W], flat row of the vertex of each corner, weights."""

    pixels: Int64[ndarray, "P"]
    triangles: Int64[ndarray, "P"]  # index into the triangle list
    corners: Int64[ndarray, "P 3"]  # index into vertices flattened over frames
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
    box = np.stack([left, top, right, bottom])[:, frame, triangle]
    x, y, area = x[frame, triangle], y[frame, triangle], area[frame, triangle]
    plane = _planes(x, y, area)
    front = _front(plane, box, frame, (frames, height, width))
    pixels = np.flatnonzero(front >= 0)
    winner = front[pixels]
    u = (pixels % width).astype(np.float32) + 0.5
    v = ((pixels // width) % height).astype(np.float32) + 0.5
    a = plane[winner]
    w1 = a[:, 0] * u + a[:, 1] * v + a[:, 2]
    w2 = a[:, 3] * u + a[:, 4] * v + a[:, 5]
    weights = np.stack([1 - w1 - w2, w1, w2], axis=1)
    which = triangle[winner]
    rows = triangles[which].astype(np.int64) + (frame[winner] * vertices)[:, None]
    return Fragments(pixels, which, rows, weights.astype(np.float32))


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


def _front(plane: ndarray, box: ndarray, frame: ndarray, shape: tuple[int, int, int]) -> Int32[ndarray, "P"]:
    """Rank of the nearest triangle at each pixel, -1 where none; ranks rise with nearness."""
    frames, height, width = shape
    x0 = np.clip(np.ceil(box[0] - 0.5), 0, width - 1).astype(np.int32)
    y0 = np.clip(np.ceil(box[1] - 0.5), 0, height - 1).astype(np.int32)
    side = np.maximum(np.floor(box[2] - 0.5) - x0, np.floor(box[3] - 0.5) - y0).astype(np.int32) + 1
    front = np.full(frames * height * width, -1, np.int32)
    smallest = 0
    for bucket in BUCKETS:
        ranks = np.flatnonzero((side > smallest) & (side <= bucket)).astype(np.int32)
        smallest = bucket
        if len(ranks):
            corner = np.stack([x0[ranks], y0[ranks], frame[ranks].astype(np.int32)])
            _paint(front, ranks, plane[ranks], corner, (bucket, height, width))
    return front


def _paint(
    front: Int32[ndarray, "P"], ranks: ndarray, plane: ndarray, corner: ndarray, shape: tuple[int, int, int]
) -> None:
    """Try each triangle on a square of pixels whose left, top and frame are `corner`."""
    (x0, y0, frame), (side, height, width) = corner, shape
    step = np.arange(side, dtype=np.int32)
    offset = np.arange(side, dtype=np.float32) + np.float32(0.5)
    u = x0[:, None] + offset
    v = y0[:, None] + offset
    w1 = (plane[:, 0:1] * u + plane[:, 2:3])[:, None, :] + (plane[:, 1:2] * v)[:, :, None]
    w2 = (plane[:, 3:4] * u + plane[:, 5:6])[:, None, :] + (plane[:, 4:5] * v)[:, :, None]
    inside = (w1 >= -1e-4) & (w2 >= -1e-4) & (w1 + w2 <= 1.0001)
    inside &= (x0[:, None] + step < width)[:, None, :] & (y0[:, None] + step < height)[:, :, None]
    hit = np.flatnonzero(inside)
    one = side * side
    k, rest = hit // one, hit % one
    pixel = (frame[k] * height + y0[k] + rest // side) * width + x0[k] + rest % side
    layer = np.full(front.shape, -1, np.int32) if len(pixel) * 4 > len(front) else None
    rank = ranks[k]
    if layer is None:
        keep = rank > front[pixel]  # pixels repeat in rising rank, so the last one written is the nearest
        front[pixel[keep]] = rank[keep]
        return
    layer[pixel] = rank
    np.maximum(front, layer, out=front)
