"""What the gate's checks say of real clips, so that its thresholds have an origin.

A real clip is judged as if it had been made: its own face is the source, its own movement the target. That
leaves out `requested`, `unrequested` and `expression`, which need a request; for those a clip's Action
Units are compared with themselves read a second time, from every other frame.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.config import Recipe
from argen.dataset.clip import Clip, Dataset
from argen.dataset.video import read_frames
from argen.errors import DatasetError, JobError
from argen.face import measures
from argen.face.reader import load_reader
from argen.face.track import FaceReader, FaceTrack, calmest_frame
from argen.generate.placing import place_clip

log = logging.getLogger(__name__)
FEWEST = 3
"""A clip with fewer valid frames says nothing about movement."""


@dataclass(frozen=True)
class Calibration:
    """Per check: the scores of real clips, and the threshold that rejects a given share of them."""

    scores: dict[str, list[float]]
    reject: float
    reader: str

    def threshold(self, check: str) -> float:
        """The score that the wanted share of real clips stays below."""
        return float(np.quantile(self.scores[check], self.reject))

    def as_dict(self) -> dict[str, object]:
        """For --json."""
        found = {
            name: {"threshold": round(self.threshold(name), 3), "n": len(s)}
            for name, s in self.scores.items()
        }
        return {"reader": self.reader, "reject": self.reject, "gate": found}

    def as_yaml(self) -> str:
        """A recipe's gate section, with where each number comes from."""
        lines = [
            f"# from real clips, {self.reader} reader; each check rejects {self.reject:.0%} of them",
            "gate:",
        ]
        for name, scores in self.scores.items():
            low, median = np.quantile(scores, [0, 0.5])
            origin = f"{len(scores)} clips: least {low:.2f}, median {median:.2f}"
            lines.append(f"  {name}: {self.threshold(name):.2f}  # {origin}")
        return "\n".join(lines)


def calibrate_gate(dataset: Dataset, recipe: Recipe, reject: float = 0.05, most: int = 200) -> Calibration:
    """Score at most `most` real training clips, taken in turn from the classes.

    Raises DatasetError when no clip could be scored.
    """
    reader = load_reader(recipe.face, recipe.generate.device)
    scores: dict[str, list[float]] = defaultdict(list)
    try:
        for clip in in_turn(dataset)[:most]:
            try:
                frames, track = as_generated(clip, reader, recipe)
            except JobError as error:
                log.warning("%s: passed over: %s", clip.id, error)
                continue
            for name, score in score_real(frames, track, reader.same_person).items():
                scores[name].append(score)
    finally:
        reader.close()
    if not scores:
        raise DatasetError(f"{dataset.root}: no training clip with a measurable face; see `argen scan`")
    return Calibration(dict(scores), reject, reader.name)


def as_generated(
    clip: Clip, reader: FaceReader, recipe: Recipe
) -> tuple[UInt8[ndarray, "T S S 3"], FaceTrack]:
    """A real clip at the size of generated ones and cut as they are, around its calmest face, and its track.

    Raises UnreadableClip, or NoFaceFound for a face that is too small or lies outside its frame.
    """
    made, most = recipe.generate, recipe.face.max_frames
    frames = read_frames(clip, most)
    if made.generator == "warp" or frames.shape[1:3] != (made.size, made.size):
        track = reader(frames)
        calm = calmest_frame(track)
        if calm >= 0 and np.isfinite(track.landmarks[calm]).all():
            frames = place_clip(frames, track.landmarks[calm], made.size)
        else:
            frames = read_frames(clip, most, made.size)
    return frames, reader(frames)


def score_real(frames: UInt8[ndarray, "T H W 3"], track: FaceTrack, same_person: float) -> dict[str, float]:
    """The checks of the gate on one real clip, 0..1; empty where too few frames have one face."""
    scores = {"one_face": float((track.face_count == 1).mean())}
    if track.valid.sum() < FEWEST:
        return {}
    scores["identity"] = measures.identity_score(track, track.person, same_person)
    scores["sharp"] = measures.sharpness(frames, frames[calmest_frame(track)], track)
    if track.valid.sum() < 2 * FEWEST:
        return scores
    scores["smooth"] = measures.smoothness(track)
    asked, seen = _affect_of(every_other(track, 0)), every_other(track, 1)
    scores["alive"] = measures.aliveness(seen, asked)
    scores["requested"] = measures.requested_score(seen, asked)
    scores["unrequested"] = measures.unrequested_score(seen, asked)
    scores["expression"] = measures.expression_score(seen, asked, measures.change_asked(asked))
    return scores


def every_other(track: FaceTrack, first: int) -> FaceTrack:
    """The track of every second frame, from `first`."""
    rows = slice(first, None, 2)
    return replace(
        track,
        action_units=track.action_units[rows],
        expressions=track.expressions[rows],
        identity=track.identity[rows],
        landmarks=track.landmarks[rows],
        face_count=track.face_count[rows],
    )


def _affect_of(track: FaceTrack) -> Affect:
    """A real clip's movement as if it had been asked for."""
    units = track.action_units[track.valid]
    still = np.zeros((len(units), 3), np.float32)
    return Affect("", "", "template", units, np.zeros(units.shape[1], np.float32), still, (), "class clips")


def in_turn(dataset: Dataset) -> list[Clip]:
    """Real training clips, the classes taking turns."""
    by_label: dict[str, list[Clip]] = defaultdict(list)
    for clip in dataset.train:
        if not clip.synthetic:
            by_label[clip.label].append(clip)
    return [clip for turn in zip_longest(*by_label.values()) for clip in turn if clip is not None]
