"""What goes wrong with synthetic faces, made on purpose: seven kinds, each in three strengths.

A gate is measured by what it finds, so these are made from sound clips: melting features, two regions
swapped, a blurred patch, flicker, frames that stand still, another person's face from one frame on, an eye
too many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from argen.errors import UsageError, did_you_mean

ARTEFACTS: Final = ("melt", "swap", "blur", "flicker", "frozen", "identity", "third eye")
STRENGTHS: Final = (0.5, 0.75, 1.0)  # small, middle, large

RIGHT_EYE, LEFT_EYE, MOUTH, NOSE, BROW = 159, 386, 13, 4, 9  # landmarks in the middle of each
Frames = UInt8[ndarray, "T H W 3"]
Landmarks = Float32[ndarray, "T 478 3"]


def inject(
    frames: UInt8[ndarray, "T H W 3"],
    landmarks: Float32[ndarray, "T 478 3"],
    kind: str,
    *,
    strength: float = 1.0,
    seed: int = 0,
    stranger: UInt8[ndarray, "T H W 3"] | None = None,
    stranger_landmarks: Float32[ndarray, "T 478 3"] | None = None,
) -> UInt8[ndarray, "T H W 3"]:
    """The clip with one artefact, from a frame drawn by the seed in its first half on to its end.

    `stranger` is another person's clip, needed for `identity` only. Frames without landmarks stay.
    """
    if kind not in ARTEFACTS:
        raise UsageError(f"artefact '{kind}'{did_you_mean(kind, ARTEFACTS)}")
    rng = np.random.default_rng(seed)
    start = int(rng.integers(0, max(len(frames) // 2, 1)))
    out = frames.copy()
    if kind == "frozen":
        length = max(3, round(strength * 0.5 * len(frames)))
        out[start : start + length] = frames[start]
        return out
    if kind == "identity":
        if stranger is None or stranger_landmarks is None:
            raise UsageError("artefact 'identity': needs another person's clip and its landmarks")
        return _identity(out, landmarks, stranger, stranger_landmarks, start=start, strength=strength)
    edit: Callable[..., ndarray] = _EDITS[kind]
    plan = rng.random(4)
    for t in range(start, len(out)):
        if np.isfinite(landmarks[t]).all():
            out[t] = edit(out[t], landmarks[t, :, :2], strength, plan, rng)
    return out


def _melt(
    frame: ndarray, points: ndarray, strength: float, plan: ndarray, rng: np.random.Generator
) -> ndarray:
    """Features run down and sideways in waves."""
    place = points[(MOUTH, RIGHT_EYE, LEFT_EYE, NOSE)[int(plan[0] * 4)]]
    unit = _unit(points)
    rows, columns = _grid(frame)
    fade = _disc(frame, place, 0.9 * unit)
    wave = np.sin(rows / unit * 9 + plan[1] * 6) + 0.5 * np.sin(columns / unit * 14 + plan[2] * 6)
    push = 0.22 * strength * unit * fade
    return _remap(frame, columns - push * wave, rows - push * np.abs(wave))


def _swap(
    frame: ndarray, points: ndarray, strength: float, plan: ndarray, rng: np.random.Generator
) -> ndarray:
    """Two regions change places."""
    pairs = ((MOUTH, RIGHT_EYE), (MOUTH, LEFT_EYE), (NOSE, RIGHT_EYE), (BROW, MOUTH))
    a, b = (points[i] for i in pairs[int(plan[0] * 4)])
    radius = 0.45 * strength * _unit(points)
    return _paste(_paste(frame, frame, a, b, radius), frame, b, a, radius)


def _blur(
    frame: ndarray, points: ndarray, strength: float, plan: ndarray, rng: np.random.Generator
) -> ndarray:
    """A region loses its detail."""
    import cv2

    place = points[(MOUTH, RIGHT_EYE, LEFT_EYE, NOSE)[int(plan[0] * 4)]]
    unit = _unit(points)
    soft = cv2.GaussianBlur(frame, (0, 0), max(0.12 * strength * unit, 1.0))
    return _blend(frame, soft, _disc(frame, place, (0.4 + 0.5 * strength) * unit))


def _flicker(
    frame: ndarray, points: ndarray, strength: float, plan: ndarray, rng: np.random.Generator
) -> ndarray:
    """The face brightens and darkens from frame to frame."""
    gain = 1 + strength * 0.3 * rng.choice([-1, 1]) * rng.uniform(0.5, 1)
    lit = np.clip(frame.astype(np.float32) * gain, 0, 255).astype(np.uint8)
    return _blend(frame, lit, _disc(frame, points[NOSE], 1.6 * _unit(points)))


def _third_eye(
    frame: ndarray, points: ndarray, strength: float, plan: ndarray, rng: np.random.Generator
) -> ndarray:
    """An eye appears again on the forehead or a cheek."""
    unit = _unit(points)
    offset = np.array([(plan[1] - 0.5) * 0.6, -0.45 if plan[2] < 0.5 else 0.75]) * unit
    eye = points[RIGHT_EYE if plan[0] < 0.5 else LEFT_EYE]
    place = points[BROW] + offset if offset[1] < 0 else eye + np.array([0, offset[1]])
    return _paste(frame, frame, eye, place, (0.2 + 0.25 * strength) * unit)


_EDITS: Final = {"melt": _melt, "swap": _swap, "blur": _blur, "flicker": _flicker, "third eye": _third_eye}


def _identity(
    out: ndarray, landmarks: ndarray, stranger: ndarray, theirs: ndarray, *, start: int, strength: float
) -> ndarray:
    """From one frame on the face is laid over with a stranger's, wholly or in part."""
    import cv2

    good = np.flatnonzero(np.isfinite(theirs).all(axis=(1, 2)))
    for t in range(start, len(out)):
        if not np.isfinite(landmarks[t]).all():
            continue
        s = good[t % len(good)]
        here, there = landmarks[t, :468, :2], theirs[s, :468, :2]
        move, _ = cv2.estimateAffinePartial2D(there.astype(np.float32), here.astype(np.float32))
        face = cv2.warpAffine(stranger[s], move, out.shape[2:0:-1], borderMode=cv2.BORDER_REPLICATE)
        hull = np.zeros(out.shape[1:3], np.float32)
        cv2.fillConvexPoly(hull, cv2.convexHull(here.round().astype(np.int32)), 1)
        out[t] = _blend(out[t], face, strength * cv2.GaussianBlur(hull, (0, 0), 0.05 * _unit(here)))
    return out


def _unit(points: Float[ndarray, "V 2"]) -> float:
    """Distance of the outer eye corners, pixels."""
    return float(np.linalg.norm(points[263] - points[33]))


def _grid(frame: ndarray) -> tuple[ndarray, ndarray]:
    rows, columns = np.indices(frame.shape[:2])
    return np.asarray(rows, np.float32), np.asarray(columns, np.float32)


def _disc(frame: ndarray, place: ndarray, radius: float) -> Float32[ndarray, "H W"]:
    """1 in the middle, 0 beyond the radius, soft between."""
    rows, columns = _grid(frame)
    distance = np.hypot(rows - place[1], columns - place[0])
    return np.asarray(np.clip(2 - 2 * distance / radius, 0, 1), np.float32)


def _paste(frame: ndarray, source: ndarray, take: ndarray, put: ndarray, radius: float) -> ndarray:
    """What lies at `take` in the source, at `put`."""
    rows, columns = _grid(frame)
    moved = _remap(source, columns + np.float32(take[0] - put[0]), rows + np.float32(take[1] - put[1]))
    return _blend(frame, moved, _disc(frame, put, radius))


def _blend(frame: ndarray, other: ndarray, weight: ndarray) -> ndarray:
    mixed = frame + weight[..., None] * (other.astype(np.float32) - frame)
    return np.asarray(np.clip(mixed, 0, 255).round().astype(np.uint8))


def _remap(frame: ndarray, x: ndarray, y: ndarray) -> ndarray:
    import cv2

    where = (x.astype(np.float32), y.astype(np.float32))
    return np.asarray(cv2.remap(frame, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
