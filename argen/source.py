"""What clips are made from: a training clip's calm frame, measured once, and how it is cut."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.dataset.clip import Clip
from argen.dataset.fingerprint import fingerprint
from argen.dataset.video import read_frames
from argen.errors import UnreadableClip
from argen.face.cache import load_track, save_track, track_name
from argen.face.track import FaceReader, FaceTrack
from argen.generate.placing import place

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The calm frame of a training clip, from which clips are made."""

    clip: Clip
    frame_index: int
    frame: UInt8[ndarray, "H W 3"]
    landmarks: Float32[ndarray, "478 3"]
    action_units: Float32[ndarray, "20"]
    person: Float32[ndarray, "D"]


def measured(clip: Clip, most: int | None, reader: FaceReader, cache: Path | None) -> FaceTrack:
    """What a reader sees in at most so many frames of a clip: measured once, then read from the cache."""
    if cache is None:
        return reader(read_frames(clip, most))
    path = cache / "tracks" / track_name(f"{fingerprint(clip)} {most}", reader.name, reader.weights)
    if path.exists():
        try:
            return load_track(path)
        except UnreadableClip as error:  # the machine lost its power while it was written
            log.warning("%s; measured again", error)
    track = reader(read_frames(clip, most))
    save_track(path, track)
    return track


def as_placed(
    source: Source, size: int, *, whole: bool
) -> tuple[UInt8[ndarray, "H W 3"], Float32[ndarray, "478 3"]]:
    """The source as clips begin from it and its landmarks, so that they are compared at one scale.

    `whole`: as it is, where it has the clip's size; else cut around the face, where there are landmarks.
    """
    if (whole and len(source.frame) == size) or not np.isfinite(source.landmarks).all():
        return source.frame, source.landmarks
    placed = place(source.frame, source.landmarks, size)
    return placed.frame, placed.landmarks


def around_face(
    frame: UInt8[ndarray, "H W 3"], landmarks: Float32[ndarray, "478 3"], margin: float = 0.5
) -> UInt8[ndarray, "h w 3"]:
    """The square around a face that lies in the frame; the whole frame where there are no landmarks."""
    if not np.isfinite(landmarks).all():
        return frame
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    side = min(round(float((high - low).max()) * (1 + 2 * margin)), *frame.shape[:2])
    middle = (low + high) / 2
    left = int(np.clip(middle[0] - side / 2, 0, frame.shape[1] - side))
    top = int(np.clip(middle[1] - side / 2, 0, frame.shape[0] - side))
    return np.ascontiguousarray(frame[top : top + side, left : left + side])
