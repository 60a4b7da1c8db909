"""Action Units from the movement of landmarks: the AU-to-mesh model solved backwards.

A clip's frames are aligned to its calm frame by the points that no muscle moves; what is left is
movement d [V 3]. With the model's displacement per Action Unit D [20 V 3], the units are the bounded
least squares

    min_a  |W^(1/2) P (D a - d)|^2 / error^2 + |a|^2 / prior^2      low <= a <= high

where P takes out what head motion could still explain and W trusts depth less. All frames of a clip are
solved together and exactly. Learned blendshapes hardly see AU4, AU9 and AU15; geometry does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int8
from numpy import ndarray

from argen.face import mesh

DEPTH_WEIGHT: Final = 0.1
"""Weight of z against x and y: depth comes from one view."""
PRIOR: Final = 0.5
"""Standard deviation of an Action Unit before anything is seen."""
MISFIT: Final = 0.004
"""Movement that the model cannot explain, per landmark, in outer-eye distances; ours, from a real smile."""
PIXEL_NOISE: Final = 0.1
"""Jitter of a landmark that a small face adds, in pixels."""
CALM_MARGIN: Final = 0.15
"""Summed activity above the calmest frame's within which a frame is as calm; blinks and noise exceed it."""
_ROUNDS: Final = 300
_ALIGNMENTS: Final = 3


def action_units_from(
    landmarks: Float[ndarray, "T 478 3"],
    neutral: Float[ndarray, "478 3"],
    start: Float[ndarray, "20"] | None = None,
    error: float | None = None,
) -> Float32[ndarray, "T 20"]:
    """Action Units 0..1 of every frame, from how its landmarks differ from `neutral`; NaN frames stay NaN.

    Both are in pixels and of one person. `start` are the units that `neutral` itself shows (default: none);
    `error` is what to expect of a landmark (default: see `expected_error`).
    """
    base = np.zeros(20) if start is None else np.asarray(start, np.float64)
    seen = np.isfinite(landmarks).all(axis=(1, 2))
    frames, rest = np.asarray(landmarks[seen], np.float64), _in_mesh_frame(neutral)
    still, displacement = list(mesh.STILL_POINTS), mesh.au_displacements().astype(np.float64)
    solved, target = np.zeros((len(frames), 20)), np.repeat(rest[None], len(frames), axis=0)
    # No point is quite still: once the units are known, heads are aligned again on where they should be.
    for _ in range(_ALIGNMENTS):
        aligned = apply(frames, *similarity(frames[:, still], target[:, still]))
        solved = _solve_units(aligned - rest, base, error or expected_error(neutral))
        target = rest + np.tensordot(solved, displacement, axes=1)
    units = np.full((len(seen), 20), np.nan, np.float32)
    units[seen] = np.clip(base + solved, 0.0, 1.0)
    return units


def expected_error(neutral: Float[ndarray, "478 3"]) -> float:
    """What to expect of one landmark's movement, in outer-eye distances, from the face's size in pixels."""
    right, left = (neutral[i].astype(np.float64) for i in mesh.OUTER_EYE_CORNERS)
    return MISFIT + PIXEL_NOISE / max(float(np.linalg.norm(left - right)), 1.0)


def reliability(error: float) -> Float32[ndarray, "20"]:
    """Per Action Unit, the share of its variance that landmark errors of this size leave to see, 0..1."""
    gram, _ = _normal_equations()
    left = np.linalg.inv(gram / error**2 + np.eye(20) / PRIOR**2)
    return np.asarray(1.0 - np.diag(left) / PRIOR**2, np.float32)


def calm_frame(landmarks: Float[ndarray, "T 478 3"], activity: Float[ndarray, "T"] | None = None) -> int:
    """Frame to measure change from: the most typical of the least active frames.

    Without `activity` all frames count as equally active. -1 where no frame has a face.
    """
    seen = np.isfinite(landmarks).all(axis=(1, 2))
    if not seen.any():
        return -1
    if activity is not None:
        seen &= activity <= activity[seen].min() + CALM_MARGIN
    quiet = np.flatnonzero(seen)
    frames, still = np.asarray(landmarks[quiet], np.float64), list(mesh.STILL_POINTS)
    aligned = apply(frames, *similarity(frames[:, still], frames[:1, still]))
    distance = np.square(aligned - np.median(aligned, axis=0)).sum(axis=(1, 2))
    return int(quiet[np.argmin(distance)])


def _in_mesh_frame(neutral: Float[ndarray, "478 3"]) -> Float64[ndarray, "478 3"]:
    """The face at rest, turned and scaled like the calm mesh."""
    carried = apply(neutral[None], *similarity(neutral[None], mesh.calm_mesh()[None]))
    return np.asarray(carried[0])


def _solve_units(
    change: Float64[ndarray, "T 478 3"], base: Float64[ndarray, "20"], error: float
) -> Float64[ndarray, "T 20"]:
    gram, columns = _normal_equations()
    right = change.reshape(len(change), -1) @ columns
    problem = BoxProblem(gram / error**2 + np.eye(20) / PRIOR**2, right / error**2, -base, 1.0 - base)
    return solve_box(problem)


def similarity(
    moving: Float[ndarray, "T V 3"], fixed: Float[ndarray, "#T V 3"]
) -> tuple[Float64[ndarray, "T"], Float64[ndarray, "T 3 3"], Float64[ndarray, "T 3"]]:
    """Scale, rotation and shift that carry each `moving` nearest to `fixed` (Umeyama 1991)."""
    source, target = np.asarray(moving, np.float64), np.asarray(fixed, np.float64)
    source_mean, target_mean = source.mean(axis=1), target.mean(axis=1)
    centred = source - source_mean[:, None]
    covariance = np.swapaxes(target - target_mean[:, None], 1, 2) @ centred
    left, strengths, right = np.linalg.svd(covariance)
    sign = np.ones_like(strengths)
    sign[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))  # a rotation, never a reflection
    turn = (left * sign[:, None]) @ right
    scale = (strengths * sign).sum(axis=1) / np.maximum(np.square(centred).sum(axis=(1, 2)), 1e-12)
    shift = target_mean - scale[:, None] * np.einsum("tij,tj->ti", turn, source_mean)
    return scale, turn, shift


def apply(
    points: Float[ndarray, "T V 3"],
    scale: Float64[ndarray, "T"],
    turn: Float64[ndarray, "T 3 3"],
    shift: Float64[ndarray, "T 3"],
) -> Float64[ndarray, "T V 3"]:
    """Carry points by a similarity."""
    turned = np.asarray(points, np.float64) @ np.swapaxes(turn, 1, 2)
    return np.asarray(scale[:, None, None] * turned + shift[:, None])


@dataclass(frozen=True)
class BoxProblem:
    """Minimise x G x / 2 - r x over low <= x <= high, for every row r of `right`; G positive definite."""

    gram: Float64[ndarray, "N N"]
    right: Float64[ndarray, "T N"]
    low: Float64[ndarray, "N"]
    high: Float64[ndarray, "N"]


def solve_box(problem: BoxProblem) -> Float64[ndarray, "T N"]:
    """Exact minimisers, all rows at once.

    Block principal pivoting (Judice & Pires 1994): guess which bounds hold, solve the rest, flip every
    wrong guess; once that stops helping, flip only the last wrong one, which cannot cycle.
    """
    count, size = problem.right.shape
    held = np.zeros((count, size), np.int8)  # -1 at low, 0 free, 1 at high
    fewest, patience = np.full(count, size + 1), np.full(count, 3)
    x = _solve_free(problem, held)
    for _ in range(_ROUNDS):
        wrong, guess = _wrong_guesses(problem, held, x)
        number = wrong.sum(axis=1)
        if not number.any():
            break
        patience = np.where(number < fewest, 3, patience - 1)
        fewest = np.minimum(fewest, number)
        last = np.arange(size) == (size - 1 - wrong[:, ::-1].argmax(axis=1))[:, None]
        held = np.where(wrong & (last | (patience >= 0)[:, None]), guess, held).astype(np.int8)
        x = _solve_free(problem, held)
    return np.asarray(np.clip(x, problem.low, problem.high))


def _solve_free(problem: BoxProblem, held: Int8[ndarray, "T N"]) -> Float64[ndarray, "T N"]:
    free = held == 0
    fixed = np.where(held < 0, problem.low, np.where(held > 0, problem.high, 0.0))
    matrix = np.where(free[:, :, None] & free[:, None, :], problem.gram, 0.0)
    diagonal = np.arange(len(problem.gram))
    matrix[:, diagonal, diagonal] = np.where(free, np.diag(problem.gram), 1.0)
    known = np.where(free, problem.right - fixed @ problem.gram, fixed)
    return np.asarray(np.linalg.solve(matrix, known[..., None])[..., 0])


def _wrong_guesses(
    problem: BoxProblem, held: Int8[ndarray, "T N"], x: Float64[ndarray, "T N"]
) -> tuple[Bool[ndarray, "T N"], Int8[ndarray, "T N"]]:
    """Free values outside the box, and held ones that pull inwards; and what each should be instead."""
    slope = x @ problem.gram - problem.right
    slack = 1e-9 * (1.0 + np.abs(problem.right))
    below = (held == 0) & (x < problem.low - 1e-12)
    above = (held == 0) & (x > problem.high + 1e-12)
    released = ((held < 0) & (slope < -slack)) | ((held > 0) & (slope > slack))
    guess = np.where(below, -1, np.where(above, 1, 0)).astype(np.int8)
    return np.asarray(below | above | released), guess


@lru_cache(maxsize=1)
def _normal_equations() -> tuple[Float64[ndarray, "20 20"], Float64[ndarray, "F 20"]]:
    """D'P'WPD, and the columns that turn a flat change d into D'P'WPd; W per axis, P no head motion."""
    weight = np.sqrt(np.array([1.0, 1.0, DEPTH_WEIGHT]) / len(mesh.calm_mesh()))
    design = (mesh.au_displacements() * weight).reshape(20, -1).T.astype(np.float64)
    motion = (mesh.similarity_directions(mesh.calm_mesh()) * weight).reshape(7, -1).T
    basis, _ = np.linalg.qr(motion.astype(np.float64))
    design -= basis @ (basis.T @ design)
    flat_weight = np.tile(weight, len(mesh.calm_mesh()))
    return design.T @ design, design * flat_weight[:, None]
