"""Where the face goes: a square crop of the source frame, so that every clip shows a face of like size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.errors import NoFaceFound

ROOM: Final = 1.9
"""Side of the crop in face heights: hair and shoulders stay in, as in the field's datasets."""
LEAST_ROOM: Final = 1.25
"""A frame that is tighter than this around its face is continued beyond its border."""
LEAST_FACE: Final = 16
"""Pixels of face height below which there is nothing to move."""


@dataclass(frozen=True)
class Placed:
    """The crop, resized, and the landmarks on it."""

    frame: UInt8[ndarray, "S S 3"]
    landmarks: Float32[ndarray, "478 3"]  # pixels of `frame`; z in the same unit


@dataclass(frozen=True)
class Square:
    """Where a frame is cut, in its pixels; it may reach beyond the border, which is then repeated."""

    x: int
    y: int
    side: int

    def cut(self, frame: UInt8[ndarray, "H W 3"], size: int) -> UInt8[ndarray, "S S 3"]:
        """The square of `frame`, resized to `size`."""
        cut = _cut(frame, self.x, self.y, self.side)
        filter_ = cv2.INTER_AREA if self.side > size else cv2.INTER_CUBIC
        resized = cut if self.side == size else cv2.resize(cut, (size, size), interpolation=filter_)
        return np.ascontiguousarray(resized)


def place(frame: UInt8[ndarray, "H W 3"], landmarks: Float32[ndarray, "478 3"], size: int) -> Placed:
    """Cut a square around the face and resize it to `size`; never distorted. Raises as `square_around`."""
    square = square_around(frame.shape[:2], landmarks)
    moved = np.asarray(landmarks, np.float64) - [square.x, square.y, 0]
    scale = size / square.side
    moved[:, :2] = (moved[:, :2] + 0.5) * scale - 0.5
    moved[:, 2] *= scale
    return Placed(square.cut(frame, size), moved.astype(np.float32))


def place_clip(
    frames: UInt8[ndarray, "T H W 3"], landmarks: Float32[ndarray, "478 3"], size: int
) -> UInt8[ndarray, "T S S 3"]:
    """All frames cut by the one square that `place` cuts around these landmarks. Raises as it does."""
    square = square_around(frames.shape[1:3], landmarks)
    return np.stack([square.cut(frame, size) for frame in frames])


def square_around(shape: tuple[int, ...], landmarks: Float32[ndarray, "478 3"]) -> Square:
    """The square around a face in a frame of `shape` (height, width).

    It is moved and shrunk to stay inside the frame, which for a square frame tight around a face
    means the whole frame; only where not even the face with a margin fits, border pixels are repeated.
    Raises NoFaceFound if landmarks are missing, outside the frame or too close together.
    """
    points = np.asarray(landmarks[:468], np.float64)
    if not np.isfinite(points).all():
        raise NoFaceFound("source frame: no face landmarks; choose a frame with one visible face")
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    height, width = shape
    if (high < 0).any() or (low > [width, height]).any():
        raise NoFaceFound("source frame: the landmarks lie outside it; were they read on this frame?")
    face = float((high - low).max())
    if face < LEAST_FACE:
        raise NoFaceFound(
            f"source frame: the face is {face:.0f} pixels high; at least {LEAST_FACE} are needed"
        )
    side = round(min(face * ROOM, max(min(height, width), face * LEAST_ROOM)))
    x, y = (
        _start(centre, side, length) for centre, length in zip((low + high) / 2, (width, height), strict=True)
    )
    return Square(x, y, side)


def _start(centre: float, side: int, length: int) -> int:
    """First pixel of the crop along one axis: inside the frame where it fits, else around the face."""
    start = round(centre - side / 2)
    if side <= length:
        return min(max(start, 0), length - side)
    return min(max(start, length - side), 0)


def _cut(frame: UInt8[ndarray, "H W 3"], x: int, y: int, side: int) -> UInt8[ndarray, "side side 3"]:
    height, width = frame.shape[:2]
    inside = frame[max(y, 0) : y + side, max(x, 0) : x + side]
    before, after = max(-y, 0), max(y + side - height, 0)
    left, right = max(-x, 0), max(x + side - width, 0)
    if before or after or left or right:
        inside = cv2.copyMakeBorder(inside, before, after, left, right, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(inside)
