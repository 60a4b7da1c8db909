"""Profile: the distribution of Action Units that clips of one class reach; data-adaptive.

A class with enough training clips teaches its own: each draw is one of its clips, jittered, so that what is
rare in the class stays rare and what goes together stays together. A class with few clips takes the
prototypes of its emotion. A class with neither cannot be expanded, and the message says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.affect.emotion import Emotion, canonical, draw_units
from argen.config import AffectSettings
from argen.errors import UsageError
from argen.face.action_units import ACTION_UNITS
from argen.face.track import FaceTrack, calmest_frame

LEAST_CHANGE: Final = 0.1
"""Changes below this are a reader's noise: they are not asked for. Ours."""
LEAST_CONFIDENCE: Final = 0.2
"""A unit that the reader sees worse than this is taken from the prototype, where there is one. Ours."""


@dataclass(frozen=True)
class Profile:
    """Where the target Action Units of one class come from."""

    label: str
    source: Literal["class clips", "prototype"]
    emotion: Emotion | None
    vectors: Float32[ndarray, "N 20"]  # one apex per usable clip; unused with a prototype
    unseen: tuple[int, ...] = ()  # units that the reader hardly sees


def dataset_calm(tracks: Sequence[FaceTrack]) -> Float32[ndarray, "20"]:
    """What this reader says of faces at rest: the median over clips of their calmest frame; 0 without one."""
    frames = [track.action_units[index] for track in tracks if (index := calmest_frame(track)) >= 0]
    return np.median(frames, axis=0).astype(np.float32) if frames else np.zeros(len(ACTION_UNITS), np.float32)


def apex_units(track: FaceTrack, calm: Float32[ndarray, "20"]) -> Float32[ndarray, "20"] | None:
    """A clip's apex minus its calm, 0..1; None without a measurable frame.

    A clip that is at its apex throughout has no calm frame of its own: each unit's calm is the lesser of the
    clip's calmest frame and what is usual in the dataset.
    """
    rows = track.action_units[track.valid]
    if len(rows) == 0:
        return None
    rest = np.minimum(rows[np.argmin(rows.sum(axis=1))], calm)
    activity = np.clip(rows - rest, 0, 1).sum(axis=1)
    top = np.argsort(-activity, kind="stable")[: max(1, len(rows) // 10)]  # a mean: one frame is noise
    change = np.clip(rows[top].mean(axis=0) - rest, 0, 1)
    return np.asarray(np.where(change >= LEAST_CHANGE, change, 0), np.float32)


def make_profile(
    label: str,
    tracks: Sequence[FaceTrack],
    emotions: Mapping[str, Emotion],
    settings: AffectSettings,
    calm: Float32[ndarray, "20"] | None = None,
) -> Profile:
    """The profile of a class from its training clips. `calm` is that of the whole dataset.

    Raises UsageError for a label that is no known emotion in a class with too few measurable clips.
    """
    name = canonical(label, emotions)
    emotion = emotions[name] if name else None
    rest = dataset_calm(tracks) if calm is None else calm
    vectors = [units for track in tracks if (units := apex_units(track, rest)) is not None]
    if name != "neutral":
        vectors = [units for units in vectors if units.max() > 0]
    if len(vectors) >= settings.enough_clips:
        seen = np.mean([track.confidence for track in tracks], axis=0) >= LEAST_CONFIDENCE
        unseen = tuple(int(i) for i in np.flatnonzero(~seen)) if emotion else ()
        return Profile(label, "class clips", emotion, np.stack(vectors), unseen)
    if emotion is None:
        raise UsageError(
            f"class '{label}': no prototype for this label and only {len(vectors)} training clips with a "
            f"measurable expression, {settings.enough_clips} needed; add clips, lower affect.enough_clips, "
            f"or add '{label}' to prompts/emotions.yaml"
        )
    return Profile(label, "prototype", emotion, np.zeros((0, len(ACTION_UNITS)), np.float32))


def sample_apex(
    profile: Profile, rng: np.random.Generator, intensity: tuple[float, float] = (0.6, 1.0)
) -> Float32[ndarray, "20"]:
    """The apex of one new clip, 0..1: a real clip's units, jittered, or a draw from the prototypes.

    A real clip keeps its own intensity where that lies in the range, and moves to the nearer end where not. A
    faint emotion's range begins lower, by its prototypes' scale: neutral clips are not raised to expressions.
    """
    if profile.source == "prototype" and profile.emotion is not None:
        return draw_units(profile.emotion, rng, intensity)
    units = profile.vectors[int(rng.integers(len(profile.vectors)))].copy()
    drawn = draw_units(profile.emotion, rng, intensity) if profile.emotion and profile.unseen else None
    peak = float(units.max())
    if peak > 0:
        low, high = intensity
        least = low * profile.emotion.least_scale if profile.emotion else low
        units *= float(np.clip(peak, least, high)) / peak
    units *= rng.normal(1.0, 0.1, len(units)).astype(np.float32)
    if drawn is not None:
        units[list(profile.unseen)] = drawn[list(profile.unseen)]
    return np.asarray(np.clip(units, 0, 1), np.float32)
