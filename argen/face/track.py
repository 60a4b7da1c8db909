"""FaceTrack: everything measured on one clip, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from numpy import ndarray


@dataclass(frozen=True)
class FaceTrack:
    """What one reader saw in the T frames of one clip; rows of frames without a usable face are NaN.

    When a frame has several faces, the values are those of the face that continues the track (the
    largest at its start), and `face_count` says how many there were.
    """

    action_units: Float32[ndarray, "T 20"]  # 0..1
    expressions: Float32[ndarray, "T 7"]  # probabilities in the order of EXPRESSIONS
    identity: Float32[ndarray, "T D"]  # unit length; NaN also where a reader skipped the frame
    landmarks: Float32[ndarray, "T 478 3"]  # pixels: x right, y down, z towards the viewer negative
    face_count: Int[ndarray, "T"]
    confidence: Float32[ndarray, "20"]  # 0..1, how well this reader sees each Action Unit
    reader: str
    weights: Mapping[str, str] = field(default_factory=dict)  # file name -> sha256

    @property
    def valid(self) -> Bool[ndarray, "T"]:
        """Frames with exactly one face that could be measured."""
        return np.asarray((self.face_count == 1) & np.isfinite(self.action_units).all(axis=1))

    @property
    def person(self) -> Float32[ndarray, "D"]:
        """Mean identity embedding of the clip, unit length; NaN if no frame has one."""
        rows = self.identity[np.isfinite(self.identity).all(axis=1)]
        if len(rows) == 0:
            return np.full(self.identity.shape[1], np.nan, np.float32)
        mean = rows.mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)

    def __len__(self) -> int:
        return len(self.face_count)


@runtime_checkable
class FaceReader(Protocol):
    """A measuring backend. Loaded once, called per clip, deterministic, closed at the end."""

    name: str
    weights: Mapping[str, str]
    same_person: float
    """Euclidean distance of unit identity embeddings below which two faces are one person."""

    def __call__(
        self, frames: UInt8[ndarray, "T H W 3"], first_units: Float32[ndarray, "20"] | None = None
    ) -> FaceTrack:
        """Measure every frame.

        `first_units` are the Action Units that frame 0 is known to show: a reader that sees movement only
        measures from there, and not from the calmest frame that it finds.
        """
        ...

    def close(self) -> None:
        """Release native resources."""
        ...


def calmest_frame(track: FaceTrack) -> int:
    """Index of the valid frame with the least Action Unit activity; -1 if no frame is valid."""
    activity = np.where(track.valid, np.nan_to_num(track.action_units, nan=9.0).sum(axis=1), np.inf)
    best = int(np.argmin(activity)) if len(activity) else -1
    return best if best >= 0 and np.isfinite(activity[best]) else -1
