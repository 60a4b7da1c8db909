"""Clips and tracks as a reader would give them, with known Action Units."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from argen.dataset.clip import Clip, Split
from argen.face.action_units import au_vector
from argen.face.track import FaceTrack


def track(units: dict[str, float], frames: int = 20, calm: float = 0.0, confidence: float = 1.0) -> FaceTrack:
    """A clip that rises evenly from rest (every unit at `calm`) to `units` on top of it."""
    rise = np.linspace(0, 1, frames, dtype=np.float32)[:, None]
    return still_track(np.clip(calm + rise * au_vector(units), 0, 1), confidence)


def still_track(rows: np.ndarray, confidence: float = 1.0) -> FaceTrack:
    """A track of given Action Units [T, 20]."""
    frames = len(rows)
    return FaceTrack(
        action_units=np.asarray(rows, np.float32),
        expressions=np.full((frames, 7), 1 / 7, np.float32),
        identity=np.ones((frames, 1), np.float32),
        landmarks=np.zeros((frames, 478, 3), np.float32),
        face_count=np.ones(frames, np.int64),
        confidence=np.full(20, confidence, np.float32),
        reader="known",
    )


def clip(name: str, label: str, subject: str = "", split: Split = "train") -> Clip:
    """A clip that nobody opens."""
    return Clip(f"{split}/{label}/{name}", label, split, Path(name), "video", subject or name)
