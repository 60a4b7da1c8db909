"""Trajectory: Action Units, asymmetry and head pose over the frames of one clip.

Times are orders of magnitude from the literature on spontaneous expressions (Ekman & Rosenberg, *What the
Face Reveals*: check before quoting): onset 0.2 to 0.7 s, slower offset, units 0.1 to 0.3 s apart, 10 to 20
blinks a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from argen.config import AffectSettings
from argen.face.action_units import ACTION_UNITS, AU_INDEX

REST: Final = 0.15
"""A source's unit below this, if not asked for, stays: a resting face's or a reader's bias. Ours."""
LONGEST_END: Final = 4.0  # seconds that an expression may stay at the end of a clip
WIDE: Final = 0.4  # AU05 above this: eyes wide, no blink
MIDLINE: Final = tuple(AU_INDEX[name] for name in ("AU25", "AU26", "AU28", "AU17", "AU24", "AU43"))


@dataclass(frozen=True)
class Timing:
    """Knots of an intensity curve: times in seconds, rising; levels, 0 the source, 1 the target."""

    times: Float[ndarray, "K"]
    levels: Float[ndarray, "K"]


def make_trajectory(
    apex_units: Float32[ndarray, "20"],
    source_units: Float32[ndarray, "20"],
    *,
    frames: int,
    fps: float,
    rng: np.random.Generator,
    settings: AffectSettings,
    one_sided: bool = False,
) -> tuple[Float32[ndarray, "{frames} 20"], Float32[ndarray, "20"], Float32[ndarray, "{frames} 3"]]:
    """(Action Units [T, 20], asymmetry [20], pose [T, 3]) of one clip; frame 0 is the source as it is.

    Works from 2 to thousands of frames: a clip too short for an onset of natural length gets a shorter one,
    and reaches its apex in at least one frame.
    """
    source = np.clip(np.nan_to_num(source_units, nan=0.0), 0, 1).astype(np.float32)
    target = np.maximum(np.clip(apex_units, 0, 1), np.minimum(source, REST)).astype(np.float32)
    seconds = np.arange(frames) / fps
    timing = _draw_timing(frames, fps, rng)
    curves = _minimum_jerk(seconds, _jitter(timing, fps, rng), timing.levels)
    trajectory = (source + (target - source) * curves).astype(np.float32)
    trajectory[0] = source
    asymmetry = _draw_asymmetry(rng, one_sided)
    pose = _draw_pose(seconds, settings.head_motion, rng)
    if settings.blinks:
        apex = round(timing.times[2] * fps)
        _add_blinks(trajectory, fps, apex, rng)
    return np.clip(trajectory, 0, 1), asymmetry, pose


def _draw_timing(frames: int, fps: float, rng: np.random.Generator) -> Timing:
    """Episodes of rise, hold and fall that fill the clip; the last may end at its apex."""
    last = (frames - 1) / fps
    delay = min(rng.uniform(0, 0.4), 0.15 * last)
    top = max(1, min(round((delay + rng.uniform(0.3, 0.9)) * fps), round(0.6 * (frames - 1)))) / fps
    times, levels = [0.0, min(delay, top / 2), top], [0.0, 0.0, 1.0]
    while True:
        hold = times[-1] + np.exp(rng.uniform(np.log(0.3), np.log(2.5)))
        fall = hold + rng.uniform(0.6, 1.8)
        ends_high = rng.random() < 0.4 and last - hold < LONGEST_END
        if ends_high or fall > last:
            break
        rest = float(rng.choice([0.0, rng.uniform(0.1, 0.5)]))
        again = fall + rng.uniform(0.5, 3.0)
        times += [hold, fall]
        levels += [levels[-1], rest]
        if again + 0.9 > last:
            break
        times += [again, again + rng.uniform(0.3, 0.9)]
        levels += [rest, float(rng.uniform(0.7, 1.0))]
    return Timing(np.array(times), np.array(levels))


def _jitter(timing: Timing, fps: float, rng: np.random.Generator) -> Float[ndarray, "20 K"]:
    """Each unit's own times: later to start, earlier at the apex, later or earlier after it.

    At `timing.times[2]`, the common apex, every unit is at its target.
    """
    common = timing.times
    gaps = np.diff(common, append=common[-1] + 1.0)
    reach = np.minimum(np.minimum(gaps, np.roll(gaps, 1)), 0.6) / 2.5
    times = common + rng.uniform(-1, 1, (len(ACTION_UNITS), len(common))) * reach
    spread = 0.9 * min(0.3, (common[2] - common[1]) / 2)
    times[:, 0] = 0.0
    times[:, 1] = common[1] + rng.uniform(0, spread, len(times))
    earliest = times[:, 1] + 0.25 / fps
    times[:, 2] = np.clip(common[2] - rng.uniform(0, spread, len(times)), earliest, common[2])
    times[:, 3:] = np.maximum(times[:, 3:], common[2])
    return np.maximum.accumulate(times, axis=1)


def _minimum_jerk(
    seconds: Float[ndarray, "T"], times: Float[ndarray, "20 K"], levels: Float[ndarray, "K"]
) -> Float[ndarray, "T 20"]:
    """The smoothest curves that rest at each knot: 10 x^3 - 15 x^4 + 6 x^5 (Flash & Hogan 1985)."""
    curve = np.zeros((len(seconds), len(times)))
    for k, step in enumerate(np.diff(levels)):
        x = np.clip((seconds[:, None] - times[:, k]) / np.maximum(times[:, k + 1] - times[:, k], 1e-9), 0, 1)
        curve += step * x**3 * (10 - 15 * x + 6 * x**2)
    return np.clip(curve, 0, 1)


def _draw_asymmetry(rng: np.random.Generator, one_sided: bool) -> Float32[ndarray, "20"]:
    """Both halves nearly alike and the same half stronger throughout, or all on one half."""
    side = rng.choice([-1.0, 1.0])
    usual = side * rng.gamma(1.0, 0.1) * rng.uniform(0.3, 1.7, len(ACTION_UNITS))
    values = side * rng.uniform(0.65, 1.0, len(ACTION_UNITS)) if one_sided else usual
    values[list(MIDLINE)] = 0.0
    return np.asarray(np.clip(values, -1, 1), np.float32)


def _draw_pose(
    seconds: Float[ndarray, "T"], largest: float, rng: np.random.Generator
) -> Float32[ndarray, "T 3"]:
    """Slow sways of yaw, pitch and roll in degrees, from 0; no angle beyond `largest`."""
    waves = rng.uniform(0.05, 0.35, (3, 3))  # Hz; three waves for each of three angles
    phases = rng.uniform(0, 2 * np.pi, (3, 3))
    sway = np.sin(2 * np.pi * waves * seconds[:, None, None] + phases).sum(axis=1)
    sway -= sway[:1]
    size = largest * rng.uniform(0.2, 1.0, 3)
    # The divisor is the bound of the sum, not its peak in this clip: a short clip moves little.
    return np.asarray(sway / 6.0 * size, np.float32)


def _add_blinks(
    trajectory: Float32[ndarray, "T 20"], fps: float, apex: int, rng: np.random.Generator
) -> None:
    """Close AU43 10 to 20 times a minute for 0.1 to 0.4 s; never in frame 0, at the apex or wide-eyed."""
    frames, closed = len(trajectory), AU_INDEX["AU43"]
    gap = 60 / rng.uniform(10, 20)
    start = rng.exponential(gap)
    while start < frames / fps:
        length = rng.uniform(0.1, 0.4)
        inside = np.arange(max(1, int(start * fps)), min(frames, int((start + length) * fps) + 1))
        wide = (trajectory[inside, AU_INDEX["AU05"]] > WIDE).any()
        if not wide and not (abs(inside - apex) <= 0.1 * fps + 1).any():
            x = (inside / fps - start) / length
            lid = np.clip(np.minimum(x / 0.35, (1 - x) / 0.65), 0, 1)  # closes faster than it opens
            trajectory[inside, closed] = np.maximum(trajectory[inside, closed], lid)
        start += length + 0.5 + rng.exponential(max(gap - length - 0.5, 0.1))
