"""Square face crops, steady over a clip, from the landmarks of any face reader."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image

from argen.dataset.exporting.media import Crop
from argen.face.track import FaceReader

MARGIN = 0.15
"""Added on each side of the landmarks' box, as a share of its longer side: hair and chin stay in."""


def face_crop(reader: FaceReader, size: int) -> Crop:
    """A crop to `size` x `size` around the face; the middle square of a clip in which no face is found."""

    def crop(frames: UInt8[ndarray, "T H W 3"]) -> UInt8[ndarray, "T S S 3"]:
        return cut(frames, face_box(reader(frames).landmarks, frames.shape[1], frames.shape[2]), size)

    return crop


def face_box(landmarks: Float32[ndarray, "T N 3"], height: int, width: int) -> tuple[float, float, float]:
    """Centre x, centre y and side in pixels of one square for the whole clip: medians over its frames."""
    seen = landmarks[np.isfinite(landmarks[..., :2]).all(axis=(1, 2))]
    if len(seen) == 0:
        return width / 2, height / 2, float(min(height, width))
    low, high = seen[..., :2].min(axis=1), seen[..., :2].max(axis=1)
    centre = np.median((low + high) / 2, axis=0)
    side = float(np.median((high - low).max(axis=1))) * (1 + 2 * MARGIN)
    return float(centre[0]), float(centre[1]), side


def cut(
    frames: UInt8[ndarray, "T H W 3"], box: tuple[float, float, float], size: int
) -> UInt8[ndarray, "T S S 3"]:
    """Every frame's square, scaled; what lies outside the frame repeats its edge."""
    x, y, side = box
    half = side / 2
    pad = int(np.ceil(max(0.0, half - x, half - y, x + half - frames.shape[2], y + half - frames.shape[1])))
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge") if pad else frames
    corners = (x - half + pad, y - half + pad, x + half + pad, y + half + pad)
    scaled = [
        Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC, box=_inside(corners, frame))
        for frame in padded
    ]
    return np.stack([np.asarray(image, np.uint8) for image in scaled])


def _inside(
    corners: tuple[float, float, float, float], frame: UInt8[ndarray, "H W 3"]
) -> tuple[float, float, float, float]:
    height, width = frame.shape[:2]
    left, top, right, bottom = corners
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
