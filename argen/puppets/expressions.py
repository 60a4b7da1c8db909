"""What puppets do: each emotion as a distribution over Action Units, intensities and times.

The shares follow the literature (Du, Tao & Martinez 2014, Table 1, and EMFACS-style combinations: orders
of magnitude, check before quoting); intensities, blends and the four composed emotions are ours. Neighbours
overlap on purpose, so that no classifier can be perfect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.errors import UsageError, did_you_mean
from argen.face.action_units import AU_INDEX
from argen.puppets.scene import Performance

Shares = Mapping[str, tuple[float, float]]  # unit -> (share of people, usual intensity)

PROTOTYPES: Final[Mapping[str, Sequence[Shares]]] = {
    "neutral": ({},),
    "happy": (
        {"AU12": (1.0, 0.85), "AU06": (0.7, 0.7), "AU25": (0.7, 0.6), "AU26": (0.15, 0.35),
         "AU07": (0.15, 0.4)},
        {"AU12": (1.0, 0.65), "AU06": (0.4, 0.5), "AU14": (0.2, 0.4)},
    ),
    "sad": (
        {"AU01": (0.75, 0.7), "AU04": (0.9, 0.6), "AU15": (1.0, 0.8), "AU17": (0.65, 0.6),
         "AU06": (0.25, 0.4), "AU11": (0.2, 0.4), "AU43": (0.25, 0.35)},
        {"AU01": (1.0, 0.8), "AU04": (0.6, 0.5), "AU15": (0.8, 0.7), "AU17": (0.5, 0.5),
         "AU25": (0.15, 0.3)},
    ),
    "surprise": (
        {"AU01": (1.0, 0.8), "AU02": (1.0, 0.8), "AU05": (0.7, 0.7), "AU25": (0.95, 0.7),
         "AU26": (0.85, 0.7)},
        {"AU01": (1.0, 0.8), "AU02": (1.0, 0.8), "AU05": (0.8, 0.6), "AU25": (0.3, 0.3)},
    ),
    "fear": (
        {"AU01": (1.0, 0.8), "AU02": (0.55, 0.6), "AU04": (0.9, 0.6), "AU05": (0.8, 0.8), "AU20": (0.9, 0.8),
         "AU25": (0.9, 0.6), "AU26": (0.33, 0.5)},
        {"AU01": (1.0, 0.8), "AU02": (0.7, 0.6), "AU04": (0.6, 0.5), "AU05": (0.9, 0.8), "AU25": (0.5, 0.5),
         "AU20": (0.4, 0.6)},
    ),
    "disgust": (
        {"AU09": (0.8, 0.8), "AU10": (1.0, 0.8), "AU17": (0.7, 0.6), "AU04": (0.35, 0.5), "AU07": (0.3, 0.5),
         "AU24": (0.2, 0.4), "AU25": (0.3, 0.4), "AU06": (0.15, 0.4)},
        {"AU10": (1.0, 0.8), "AU17": (0.9, 0.7), "AU04": (0.5, 0.6), "AU15": (0.2, 0.4)},
    ),
    "anger": (
        {"AU04": (1.0, 0.85), "AU07": (0.8, 0.7), "AU24": (0.8, 0.8), "AU05": (0.35, 0.5), "AU23": (0.4, 0.6),
         "AU17": (0.45, 0.5), "AU10": (0.2, 0.4)},
        {"AU04": (1.0, 0.85), "AU07": (0.7, 0.6), "AU05": (0.5, 0.6), "AU25": (0.9, 0.6), "AU26": (0.3, 0.4),
         "AU10": (0.35, 0.5), "AU09": (0.12, 0.4)},
    ),
    "contempt": ({"AU12": (0.85, 0.55), "AU14": (0.9, 0.7), "AU10": (0.15, 0.3)},),
    "anxiety": (
        {"AU01": (0.8, 0.5), "AU04": (0.8, 0.5), "AU14": (0.4, 0.4), "AU23": (0.4, 0.4), "AU28": (0.4, 0.6),
         "AU20": (0.3, 0.4)},
    ),
    "helplessness": (
        {"AU01": (1.0, 0.6), "AU04": (0.6, 0.5), "AU15": (0.8, 0.6), "AU25": (0.5, 0.3), "AU43": (0.5, 0.4)},
    ),
    "disappointment": (
        {"AU01": (0.6, 0.45), "AU04": (0.7, 0.5), "AU14": (0.5, 0.5), "AU15": (0.7, 0.5), "AU17": (0.7, 0.5),
         "AU24": (0.5, 0.5)},
    ),
}  # fmt: skip

NEIGHBOURS: Final[Mapping[str, tuple[str, ...]]] = {
    "neutral": ("sad", "contempt", "happy"), "happy": ("contempt", "surprise"),
    "sad": ("disappointment", "fear", "disgust"), "surprise": ("fear", "happy"), "fear": ("surprise", "sad"),
    "disgust": ("anger", "sad"), "anger": ("disgust", "sad"),
    "contempt": ("happy", "disgust"), "anxiety": ("fear", "sad"), "helplessness": ("sad", "anxiety"),
    "disappointment": ("sad", "helplessness"),
}  # fmt: skip

BASIC: Final = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")
MIDLINE: Final = tuple(AU_INDEX[name] for name in ("AU17", "AU24", "AU25", "AU26", "AU28", "AU43"))


@dataclass(frozen=True)
class Act:
    """A performance and the truth about it."""

    label: str
    performance: Performance
    apex: int  # frame of the strongest expression

    @property
    def units(self) -> Float32[ndarray, "20"]:
        """Action Units at the apex."""
        return np.asarray(self.performance.action_units[self.apex])


def check_emotion(label: str) -> str:
    """The label itself. Raises UsageError for one that puppets don't know, with those they do."""
    if label not in PROTOTYPES:
        raise UsageError(f"puppets: no emotion '{label}'{did_you_mean(label, PROTOTYPES)}")
    return label


def sample_units(
    label: str, rng: np.random.Generator, difficulty: float = 0.5, strength: float | None = None
) -> tuple[Float32[ndarray, "20"], Float32[ndarray, "20"]]:
    """Apex intensities and asymmetry of one showing of an emotion; harder: fainter, more often blended.

    `strength` multiplies the usual intensities; by default it is drawn, up to 1.2, lower when harder.
    """
    if strength is None:
        strength = rng.uniform(1.0 - 0.75 * np.clip(difficulty, 0, 1), 1.2)
    units = _draw(label, rng) * strength
    if rng.random() < 0.35 * difficulty:
        other = _draw(str(rng.choice(NEIGHBOURS[label])), rng)
        units = np.maximum(units, other * rng.uniform(0.2, 0.7) * min(strength, 1.0))
    stray = (rng.random(20) < 0.06 * difficulty) * rng.uniform(0.05, 0.4, 20)
    stray[AU_INDEX["AU43"]] = 0
    units = np.clip(np.maximum(units, stray), 0, 1)
    side = rng.choice([-1.0, 1.0])
    lean = side * rng.gamma(1.0, 0.1, 20)
    if label == "contempt" and rng.random() < 0.85:
        lean = side * rng.uniform(0.6, 1.0, 20)
    lean[list(MIDLINE)] = 0
    return units.astype(np.float32), np.clip(lean, -1, 1).astype(np.float32)


def _draw(label: str, rng: np.random.Generator) -> ndarray:
    choices = PROTOTYPES[check_emotion(label)]
    weights = np.array([0.65, 0.35][: len(choices)])
    units = np.zeros(20)
    for name, (share, usual) in choices[int(rng.choice(len(choices), p=weights / weights.sum()))].items():
        if rng.random() < share:
            units[AU_INDEX[name]] = usual * np.exp(rng.normal(0, 0.2))
    return units


def act(
    label: str,
    rng: np.random.Generator,
    frames: int,
    fps: float = 16.0,
    difficulty: float = 0.5,
    *,
    start: str | None = None,
    strength: float | None = None,
) -> Act:
    """One clip of one emotion, from the state `start` (an emotion, default: a calm face)."""
    units, lean = sample_units(label, rng, difficulty, strength)
    rest = _resting_face(rng, difficulty)
    source = (
        rest if start in {None, "neutral"} else np.maximum(rest, sample_units(str(start), rng, difficulty)[0])
    )
    curves = _curves(frames, fps, rng)
    target = np.maximum(units, rest)
    course = source + (target - source) * curves
    if rng.random() < 0.12 + 0.2 * difficulty:
        _speak(course, fps, rng)
    change = np.abs(course - course[0]).sum(axis=1)
    apex = int(np.argmax(change)) if change.max() > 0 else frames - 1
    _blink(course, fps, apex, rng)
    performance = Performance(
        np.clip(course, 0, 1).astype(np.float32),
        lean,
        _sway(frames, fps, rng),
        _look_around(frames, fps, rng),
    )
    return Act(label, performance, apex)


def _resting_face(rng: np.random.Generator, difficulty: float) -> ndarray:
    """Nobody's calm face is all zeros."""
    rest = (rng.random(20) < 0.15) * rng.uniform(0.0, 0.12 + 0.12 * difficulty, 20)
    rest[[AU_INDEX["AU43"], AU_INDEX["AU26"], AU_INDEX["AU28"]]] = 0
    return np.asarray(rest)


def _curves(frames: int, fps: float, rng: np.random.Generator) -> Float32[ndarray, "T 20"]:
    """Onset, apex, offset per unit: 0 the start, 1 the apex. Units of one expression start a little apart."""
    last = (frames - 1) / fps
    begin = rng.uniform(0, 0.15 * last)
    rise = min(rng.uniform(0.2, 0.7), 0.55 * last)
    hold = np.exp(rng.uniform(np.log(0.25), np.log(2.0)))
    fall = rng.uniform(0.5, 1.5)
    low = rng.choice([0.0, rng.uniform(0.1, 0.6)])
    spread = min(0.12, 0.25 * rise)
    start = begin + rng.uniform(0, spread, 20)
    length = rise * rng.uniform(0.8, 1.1, 20)
    leave = begin + rise + spread + hold + rng.uniform(0, 0.15, 20)
    seconds = np.arange(frames)[:, None] / fps
    up = _smooth((seconds - start) / length)
    down = _smooth((seconds - leave) / (fall * rng.uniform(0.9, 1.2, 20)))
    return np.asarray((up * (1 - (1 - low) * down)).astype(np.float32))


def _smooth(x: ndarray) -> ndarray:
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * x * (10 - 15 * x + 6 * x * x))


def _speak(course: ndarray, fps: float, rng: np.random.Generator) -> None:
    """Speech-like noise of lips and jaw, 3 to 6 syllables a second."""
    seconds = np.arange(len(course)) / fps
    phase, rate = rng.uniform(0, 2 * np.pi, 3), rng.uniform(3, 6)
    talk = np.clip(
        np.sin(2 * np.pi * rate * seconds + phase[0]) + 0.5 * np.sin(7.1 * seconds + phase[1]), 0, 1
    )
    amount = rng.uniform(0.15, 0.45)
    course[:, AU_INDEX["AU25"]] = np.maximum(course[:, AU_INDEX["AU25"]], amount * talk)
    course[:, AU_INDEX["AU26"]] = np.maximum(course[:, AU_INDEX["AU26"]], 0.6 * amount * talk)


def _blink(course: ndarray, fps: float, apex: int, rng: np.random.Generator) -> None:
    """10 to 20 blinks a minute of 0.1 to 0.4 s; none in frame 0 or at the apex."""
    gap = 60 / rng.uniform(10, 20)
    at = rng.exponential(gap)
    while at < len(course) / fps:
        length = rng.uniform(0.12, 0.4)
        x = (np.arange(len(course)) / fps - at) / length
        lid = np.clip(1.3 * np.minimum(x / 0.35, (1 - x) / 0.65), 0, 1)
        lid[[0, apex]] = 0
        course[:, 19] = np.maximum(course[:, 19], lid)
        at += length + rng.exponential(gap)


def _sway(frames: int, fps: float, rng: np.random.Generator) -> Float32[ndarray, "T 3"]:
    """Where the head is turned (degrees) and how it moves in the clip."""
    usual = rng.normal(0, [7.0, 4.0, 3.0])
    seconds = np.arange(frames)[:, None] / fps
    wave = np.sin(2 * np.pi * rng.uniform(0.1, 0.5, 3) * seconds + rng.uniform(0, 2 * np.pi, 3))
    return np.asarray((usual + (wave - wave[0]) * rng.uniform(0.2, 2.5, 3)).astype(np.float32))


def _look_around(frames: int, fps: float, rng: np.random.Generator) -> Float32[ndarray, "T 2"]:
    gaze = np.repeat(rng.normal(0, 0.25, (1, 2)), frames, axis=0)
    if rng.random() < 0.25:
        gaze[int(rng.integers(1, frames)) :] += rng.normal(0, 0.3, 2)
    return np.clip(gaze, -1, 1).astype(np.float32)
