"""Classic video augmentation: one draw a clip, the same for all its frames, so that motion stays motion."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

SHIFT, SCALE, TURN = 0.08, 0.12, 8.0  # of the side, around 1, degrees
LIGHT, CONTRAST = 0.15, 0.2
ERASE = 0.3  # largest side of the erased patch, as a share; half of the clips have one


def augmented(frames: UInt8[ndarray, "T H W 3"], rng: np.random.Generator) -> UInt8[ndarray, "T H W 3"]:
    """Mirror, small turn, shift and scale, light and contrast, one erased patch."""
    height, width = frames.shape[1:3]
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), float(rng.uniform(-TURN, TURN)), float(rng.uniform(1 - SCALE, 1 + SCALE))
    )
    turn[:, 2] += rng.uniform(-SHIFT, SHIFT, 2) * (width, height)
    moved = np.stack(
        [cv2.warpAffine(frame, turn, (width, height), borderMode=cv2.BORDER_REFLECT) for frame in frames]
    )
    if rng.random() < 0.5:
        moved = moved[:, :, ::-1]
    gain, lift = rng.uniform(1 - CONTRAST, 1 + CONTRAST), rng.uniform(-LIGHT, LIGHT) * 255
    lit = np.clip((moved.astype(np.float32) - 127.5) * gain + 127.5 + lift, 0, 255).astype(np.uint8)
    return _erased(lit, rng)


def _erased(frames: UInt8[ndarray, "T H W 3"], rng: np.random.Generator) -> UInt8[ndarray, "T H W 3"]:
    if rng.random() < 0.5:
        return frames
    height, width = frames.shape[1:3]
    tall, wide = (int(side * rng.uniform(0.1, ERASE)) for side in (height, width))
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    frames[:, top : top + tall, left : left + wide] = rng.integers(256, size=3)
    return frames
