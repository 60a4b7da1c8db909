"""What a measured clip is worth, as plain numbers in 0..1: shared by the gate and the rewards.

Every function takes what was measured once (a FaceTrack) and what was asked for (an Affect), passes
over rows of NaN, and answers 0 where nothing could be measured. The half-way constants are ours, set on
synthetic curves; `argen gate calibrate` says what real clips reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.face.action_units import AU_INDEX
from argen.face.track import FaceTrack

ASKED: Final = 0.1
"""Least change of an Action Unit, 0..1, that counts as asked for."""
STRAY: Final = 0.2
"""Root mean square movement of the Action Units not asked for at which their score is one half."""
JERK: Final = {"action units": 0.08, "landmarks": 0.02}
"""Mean second difference at which a still clip's smoothness is one half; landmarks in eye distances."""
STILL: Final = 0.01
"""Target motion, standard deviation of Action Units, below which stillness is what was asked for."""
OVERSHARP: Final = 1.5
"""Edge energy against the source above which more is worse: grids and ringing look sharp."""
WARP: Final = 0.06
"""Residual of the rigid points, in eye distances, at which the geometry score is one half."""
RIGID: Final = (33, 263, 133, 362, 168, 6, 197, 195, 5, 1, 98, 327)
"""Points that expressions hardly move: corners of the eyes, bridge, tip and wings of the nose."""
EYES: Final = (33, 263)
"""Outer eye corners among MediaPipe's 478 points: the face's unit of length."""


def identity_score(track: FaceTrack, person: Float32[ndarray, "D"], same_person: float) -> float:
    """How much the clip's worst half looks like `person`: 1 same, 0.5 at distance `same_person`, 0..1.

    `person` is a unit embedding of the same reader; distances are Euclidean.
    """
    rows = track.identity[np.isfinite(track.identity).all(axis=1)]
    if len(rows) == 0 or not np.isfinite(person).all():
        return 0.0
    distance = np.linalg.norm(rows - person, axis=1)
    return _worst_half(_halving(distance / same_person))


def change_asked(affect: Affect) -> Float32[ndarray, "20"]:
    """Action Units at the target's apex minus those at its start, -1..1."""
    return np.asarray(affect.trajectory[affect.apex] - affect.trajectory[0], np.float32)


def change_seen(track: FaceTrack, affect: Affect) -> Float32[ndarray, "20"]:
    """Action Units seen around the target's apex minus those at the clip's start, -1..1; NaN if unseen."""
    start = _median_near(track, 0.0)
    apex = _median_near(track, affect.apex / max(len(affect.trajectory) - 1, 1))
    return np.asarray(apex - start, np.float32)


def requested_score(track: FaceTrack, affect: Affect) -> float:
    """Share of the asked Action Unit change that is seen, 0..1; 1 if nothing visible was asked for.

    Units weigh by how much of them was asked for and how well the reader sees them; too much is not less.
    """
    asked, seen = change_asked(affect), change_seen(track, affect)
    if not np.isfinite(seen).all():
        return 0.0
    weight = np.where(np.abs(asked) >= ASKED, np.abs(asked) * track.confidence, 0.0)
    if weight.sum() == 0:
        return 1.0
    share = np.clip(seen / np.where(weight > 0, asked, 1.0), 0.0, 1.0)
    return float((weight * share).sum() / weight.sum())


def unrequested_score(track: FaceTrack, affect: Affect) -> float:
    """How still the Action Units stay that the target never moves, 0..1: 1 none moved, 0.5 at `STRAY`."""
    seen = change_seen(track, affect)
    if not np.isfinite(seen).all():
        return 0.0
    moves = np.abs(affect.trajectory - affect.trajectory[0]).max(axis=0) >= ASKED
    weight = np.where(moves, 0.0, track.confidence)
    if weight.sum() == 0:
        return 1.0
    stray = float(np.sqrt((weight * seen**2).sum() / weight.sum()))
    return float(_halving(stray / STRAY))


def expression_score(track: FaceTrack, affect: Affect, toward: Float32[ndarray, "20"]) -> float:
    """Movement from start to apex along the label's direction: 0.5 none, 1 as far as the target, 0 away.

    `toward` is a change of Action Units of any length; a zero direction (a neutral label) scores 0.5.
    """
    seen = change_seen(track, affect)
    if not np.isfinite(seen).all():
        return 0.0
    length = float(np.sqrt((track.confidence * toward**2).sum()))
    if length < 1e-6:
        return 0.5
    along = track.confidence * toward / length
    far_enough = max(abs(float(along @ change_asked(affect))), ASKED)
    return 0.5 + 0.5 * float(np.clip(along @ seen / far_enough, -1.0, 1.0))


def trajectory_score(track: FaceTrack, affect: Affect) -> float:
    """How closely the Action Units follow the target over time, 0..1: 0 a still face or worse, 1 exactly.

    Both as changes from their starts; the clip may have another number of frames than the target.
    """
    seen = track.action_units[track.valid] - _median_near(track, 0.0)
    if len(seen) < 2 or not np.isfinite(seen).all():
        return 0.0
    times = np.flatnonzero(track.valid) / max(len(track) - 1, 1)
    grid = np.linspace(0, 1, len(affect.trajectory))
    change = affect.trajectory - affect.trajectory[0]
    asked = np.stack([np.interp(times, grid, curve) for curve in change.T], axis=1)
    still = float((track.confidence * asked**2).sum())
    if still < 1e-6:
        return 1.0
    return float(np.clip(1 - (track.confidence * (seen - asked) ** 2).sum() / still, 0.0, 1.0))


def geometry_score(track: FaceTrack) -> float:
    """How rigid the points stay that no expression moves, 0..1: 0.5 at `WARP` eye distances of residual.

    Each frame is fitted to the first by a similarity, so that the head may move; 0 without landmarks.
    """
    points = track.landmarks[:, RIGID, :2].astype(float)
    points = points[np.isfinite(points).all(axis=(1, 2))]
    if len(points) < 2:
        return 0.0
    unit = max(float(np.linalg.norm(points[0, 0] - points[0, 1])), 1e-6)
    residuals = np.array([_similarity_residual(points[0], other) for other in points[1:]]) / unit
    return _worst_half(_halving(residuals / WARP))


def smoothness(track: FaceTrack) -> float:
    """How little the clip jerks, 0..1: the worse of its Action Unit curves and its landmark paths.

    Mean second difference against a floor (what a still, real face measures) plus half the mean motion, so
    a fast expression is not punished and a flickering one is. Blinks don't count. 0.5 at the limit.
    """
    curves = np.delete(track.action_units, AU_INDEX["AU43"], axis=1)
    scores = [_smooth(curves, track.valid, JERK["action units"])]
    points = _in_eye_distances(track)
    if np.isfinite(points).all(axis=1).sum() >= 3:
        scores.append(_smooth(points, track.valid, JERK["landmarks"]))
    return min(scores)


def aliveness(track: FaceTrack, affect: Affect) -> float:
    """Motion of the Action Units against the target's, 0..1: a frozen face scores 0, so does noise alone.

    1 where the target itself is still.
    """
    wanted = _motion(affect.trajectory, track.confidence)
    if wanted < STILL:
        return 1.0
    return float(np.clip(_motion(track.action_units[track.valid], track.confidence) / wanted, 0.0, 1.0))


def sharpness(
    frames: UInt8[ndarray, "T H W 3"], source: UInt8[ndarray, "h w 3"], track: FaceTrack | None = None
) -> float:
    """Edge energy of the clip's blurriest half against the source's, 0..1; in the face where `track` has it.

    Sharper than the source is 1 up to `OVERSHARP` and falls beyond.
    """
    import cv2

    height, width = frames.shape[1:3]
    reference = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
    boxes = [_face_box(track, i, height, width) for i in range(len(frames))]
    box = next((box for box in boxes if box is not None), (slice(None), slice(None)))
    wanted = max(_edges(reference[box]), 1e-6)
    ratio = np.array([_edges(frame[own or box]) for frame, own in zip(frames, boxes, strict=True)]) / wanted
    return _worst_half(np.minimum(np.minimum(ratio, 1.0), OVERSHARP / np.maximum(ratio, 1e-6)))


def _halving(ratio: ndarray | float) -> ndarray:
    return np.asarray(0.5 ** (np.asarray(ratio, float) ** 2))


def _worst_half(scores: Sequence[float] | ndarray) -> float:
    ordered = np.sort(np.asarray(scores, float))
    return float(ordered[: (len(ordered) + 1) // 2].mean())


def _median_near(track: FaceTrack, where: float) -> ndarray:
    """Median Action Units of the three valid frames nearest to a place in the clip, 0 start .. 1 end.

    Only frames within a tenth of the clip (and at least two frames) count; NaN if none is valid.
    """
    place = where * (len(track) - 1)
    distance = np.where(track.valid, np.abs(np.arange(len(track)) - place), np.inf)
    nearest = np.argsort(distance, kind="stable")[:3]
    nearest = nearest[distance[nearest] <= max(2.0, len(track) / 10)]
    if len(nearest) == 0:
        return np.full(20, np.nan)
    return np.asarray(np.median(track.action_units[nearest], axis=0))


def _runs(curves: ndarray, valid: Bool[ndarray, "T"]) -> tuple[ndarray, ndarray]:
    """First and second differences over frames that follow each other and are all measured."""
    valid = valid & np.isfinite(curves).all(axis=1)
    pairs, triples = valid[1:] & valid[:-1], valid[2:] & valid[1:-1] & valid[:-2]
    return np.diff(curves, axis=0)[pairs], np.diff(curves, n=2, axis=0)[triples]


def _smooth(curves: ndarray, valid: Bool[ndarray, "T"], floor: float) -> float:
    if len(curves) < 3:
        return 1.0 if valid.any() else 0.0
    steps, jerks = _runs(curves.astype(float), valid)
    if len(jerks) == 0:
        return 0.0
    jerk = np.sqrt((jerks**2).mean(axis=1)).mean()
    motion = np.sqrt((steps**2).mean(axis=1)).mean()
    return float(_halving(jerk / (floor + 0.5 * motion)))


def _in_eye_distances(track: FaceTrack) -> ndarray:
    points = track.landmarks[:, :, :2].astype(float)
    eyes = np.linalg.norm(points[:, EYES[0]] - points[:, EYES[1]], axis=1)
    unit = np.median(eyes[np.isfinite(eyes)]) if np.isfinite(eyes).any() else np.nan
    return np.asarray(points.reshape(len(points), -1) / max(unit, 1e-6))


def _motion(curves: ndarray, confidence: Float32[ndarray, "20"]) -> float:
    """Standard deviation over time, measurement noise taken off; weighted over units."""
    if len(curves) < 2 or confidence.sum() == 0:
        return 0.0
    curves = curves.astype(float)
    if len(curves) < 5:
        return float(np.sqrt((confidence * curves.var(axis=0)).sum() / confidence.sum()))
    smooth = (curves[2:] + curves[1:-1] + curves[:-2]) / 3
    # White noise of variance v gives second differences of variance 6v and leaves v/3 after smoothing.
    noise = np.median(np.diff(curves, n=2, axis=0) ** 2, axis=0) / 0.455 / 6
    energy = np.maximum(smooth.var(axis=0) - noise / 3 * 1.5, 0.0)
    return float(np.sqrt((confidence * energy).sum() / confidence.sum()))


def _similarity_residual(reference: ndarray, points: ndarray) -> float:
    """Root mean square distance after the best rotation, scale and shift of `points`."""
    a, b = reference - reference.mean(axis=0), points - points.mean(axis=0)
    left, right = a @ np.array([1, 1j]), b @ np.array([1, 1j])  # the plane as complex numbers
    turn = np.vdot(right, left) / max(float(np.vdot(right, right).real), 1e-12)
    return float(np.sqrt((np.abs(left - turn * right) ** 2).mean()))


def _face_box(track: FaceTrack | None, index: int, height: int, width: int) -> tuple[slice, slice] | None:
    if track is None or index >= len(track) or not np.isfinite(track.landmarks[index, :, :2]).all():
        return None
    x, y = track.landmarks[index, :, 0], track.landmarks[index, :, 1]
    left, right = max(int(x.min()), 0), min(int(x.max()) + 1, width)
    top, bottom = max(int(y.min()), 0), min(int(y.max()) + 1, height)
    if right - left < 8 or bottom - top < 8:
        return None
    return slice(top, bottom), slice(left, right)


def _edges(image: UInt8[ndarray, "h w 3"]) -> float:
    """Standard deviation of the Laplacian of the grey image, grey levels."""
    grey = image.astype(float) @ np.array([0.299, 0.587, 0.114])
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.std())
