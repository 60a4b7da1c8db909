"""The `wild` domain: what cameras, hands and codecs do to a face."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray


def roughen(
    frames: UInt8[ndarray, "T H W 3"], rng: np.random.Generator, strength: float = 1.0
) -> UInt8[ndarray, "T H W 3"]:
    """Occlusion, blur, low light, sensor noise and compression, each now and then; `strength` is 0..1."""
    clip = frames.copy()
    if rng.random() < 0.25 * strength:
        _occlude(clip, rng)
    if rng.random() < 0.45 * strength:
        width = float(rng.uniform(0.4, 1.2) * frames.shape[1] / 64)
        clip = np.stack([cv2.GaussianBlur(frame, (0, 0), width) for frame in clip])
    if rng.random() < 0.40 * strength:
        gain, gamma = rng.uniform(0.45, 0.9), rng.uniform(0.9, 1.4)
        table = 255 * gain * (np.arange(256) / 255) ** gamma
        clip = table.astype(np.uint8)[clip]
    if rng.random() < 0.5 * strength:
        noise = rng.normal(0, rng.uniform(2, 9), clip.shape)
        clip = np.clip(clip + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.6 * strength:
        clip = _compress(clip, int(rng.integers(25, 80)))
    return clip


def _occlude(clip: UInt8[ndarray, "T H W 3"], rng: np.random.Generator) -> None:
    """Something in front of the lower or a side part of the face: a hand, a cup, a microphone."""
    size = clip.shape[1]
    centre = rng.uniform([0.15, 0.55], [0.85, 0.95]) * size
    axes = rng.uniform(0.08, 0.2, 2) * size
    colour = tuple(float(c) for c in rng.uniform(30, 220) + rng.normal(0, 20, 3))
    drift = rng.normal(0, 0.004 * size, 2)
    angle = float(rng.uniform(0, 180))
    for index, frame in enumerate(clip):
        x, y = centre + drift * index
        cv2.ellipse(frame, (round(float(x)), round(float(y))), (round(float(axes[0])), round(float(axes[1]))),
                    angle, 0, 360, colour, -1, cv2.LINE_AA)  # fmt: skip


def _compress(clip: UInt8[ndarray, "T H W 3"], quality: int) -> UInt8[ndarray, "T H W 3"]:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    coded = [cv2.imencode(".jpg", frame, flags)[1] for frame in clip]
    return np.stack([np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR)) for code in coded])
