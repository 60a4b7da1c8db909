"""Which of several faces a track is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

REACH: Final = 1.5
"""Face widths that a face may have moved since it was last seen; farther away is somebody else."""


@dataclass(frozen=True)
class FaceBox:
    """A face somewhere in a frame; `index` says which one, in whatever the caller counts."""

    index: int
    left: float
    top: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """In square pixels."""
        return self.width * self.height

    def distance(self, other: FaceBox) -> float:
        """Between the centres, in pixels."""
        across = self.left + self.width / 2 - other.left - other.width / 2
        down = self.top + self.height / 2 - other.top - other.height / 2
        return float((across**2 + down**2) ** 0.5)


def follow_one_face(frames: Sequence[Sequence[FaceBox]]) -> list[FaceBox | None]:
    """The largest face of the first frame that has one, and then the one nearest to where it was last.

    None where the face is away, also when others are there.
    """
    last: FaceBox | None = None
    followed: list[FaceBox | None] = []
    for faces in frames:
        face = _next(faces, last)
        followed.append(face)
        last = face or last
    return followed


def _next(faces: Sequence[FaceBox], last: FaceBox | None) -> FaceBox | None:
    if not faces:
        return None
    if last is None:
        return max(faces, key=lambda face: face.area)
    nearest = min(faces, key=last.distance)
    return nearest if last.distance(nearest) <= REACH * max(last.width, last.height) else None
