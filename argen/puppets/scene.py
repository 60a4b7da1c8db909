"""What a puppet does, and what is around it: performance, light, camera, background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray


@dataclass(frozen=True)
class Performance:
    """What a puppet does in a clip."""

    action_units: Float32[ndarray, "T 20"]
    asymmetry: Float32[ndarray, "20"]
    pose: Float32[ndarray, "T 3"]  # yaw, pitch, roll in degrees
    gaze: Float32[ndarray, "T 2"]  # right and up, -1..1


@dataclass(frozen=True)
class Scene:
    """What is around a puppet: light, camera, background."""

    light: Float32[ndarray, "3"]  # towards the light, unit length
    light_colour: Float32[ndarray, "3"]  # around 1
    ambient: float  # 0..1
    scale: float  # half-width of the face as a share of the picture's width
    centre: Float32[ndarray, "2"]  # of the face, as a share of the picture
    background: int  # seed


@dataclass(frozen=True)
class Drawing:
    """A drawn clip and where its mesh went."""

    frames: UInt8[ndarray, "T H W 3"]
    landmarks: Float32[ndarray, "T 478 3"]  # pixels, z towards the viewer negative


def sample_scene(rng: np.random.Generator, wild: float = 0.0) -> Scene:
    """Light, framing and background; `wild` 0..1 makes them harder."""
    turn = np.clip(rng.normal(0, 0.5 + 0.3 * wild), -1.2, 1.2)
    lift = np.clip(rng.normal(0.5, 0.25 + 0.2 * wild), -0.4, 1.1)
    light = np.array([np.sin(turn), np.sin(lift), np.cos(turn) * np.cos(lift)])
    warm = rng.normal(0, 0.03 + 0.05 * wild)
    level = rng.uniform(1.02, 1.18) * (1 - 0.45 * wild * rng.random())
    return Scene(
        light=(light / np.linalg.norm(light)).astype(np.float32),
        light_colour=(level * np.array([1 + warm, 1.0, 1 - warm])).astype(np.float32),
        ambient=float(rng.uniform(0.48, 0.66)),
        scale=float(rng.uniform(0.305, 0.35) * (1 + 0.06 * wild * rng.normal())),
        centre=(np.array([0.5, 0.49]) + rng.normal(0, 0.012 + 0.025 * wild, 2)).astype(np.float32),
        background=int(rng.integers(2**31)),
    )
