"""Exemplars: descriptions with Action Units, retrieved for a job; written ones and the training clips."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from pydantic import Field, ValidationError

from argen import assets
from argen.affect.captions import describe_units
from argen.affect.emotion import Emotion, Share, Unit, canonical
from argen.affect.index import NeighbourIndex
from argen.affect.prompts import Prompts
from argen.config import Settings
from argen.dataset.clip import Clip, Split
from argen.errors import DatasetError, RecipeError
from argen.face.action_units import au_vector


class Written(Settings):
    """One line of `prompts/exemplars.jsonl`."""

    id: str
    label: str
    text: str
    cue: str
    units: dict[Unit, Share] = Field(default_factory=dict)
    intensity: Literal["faint", "slight", "moderate", "marked", "strong", "extreme"]
    onset: Literal["sudden", "quick", "steady", "slow"]
    side: Literal["both", "left", "right"] = "both"
    age: str = ""


@dataclass(frozen=True)
class Exemplar:
    """What one clip, written or real, looks like."""

    id: str
    label: str
    text: str
    units: Float32[ndarray, "20"] = field(compare=False)
    cue: str = ""  # the situation a written one names
    subject: str = ""  # of a real clip
    split: Split = "train"


def written_exemplars(path: Path | None = None) -> tuple[Exemplar, ...]:
    """The bank of `prompts/exemplars.jsonl`. Raises RecipeError with file and line."""
    where = path or assets.find("prompts", "exemplars")
    exemplars = []
    for number, line in enumerate(where.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = Written.model_validate(json.loads(line))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise RecipeError(f"{where}:{number}: {key}: {first['msg']} (got {first['input']!r})") from error
        except json.JSONDecodeError as error:
            raise RecipeError(f"{where}:{number}: not JSON: {error.msg}") from error
        exemplars.append(Exemplar(item.id, item.label, item.text, au_vector(item.units), item.cue))
    return tuple(exemplars)


def clip_exemplar(clip: Clip, units: Float32[ndarray, "20"], prompts: Prompts | None = None) -> Exemplar:
    """A training clip as an exemplar, described from its measured units."""
    text = f"{clip.label.replace('_', ' ')}: {describe_units(units, prompts)}"
    return Exemplar(f"clip:{clip.id}", clip.label, text, units, subject=clip.subject, split=clip.split)


class ExemplarBank:
    """All exemplars of a run; a held-out clip cannot get in."""

    def __init__(self, exemplars: Iterable[Exemplar], emotions: Mapping[str, Emotion] | None = None) -> None:
        self._emotions = emotions
        self._exemplars = sorted(exemplars, key=lambda exemplar: exemplar.id)
        held_out = [exemplar for exemplar in self._exemplars if exemplar.split != "train"]
        if held_out:
            raise DatasetError(
                f"exemplars: {held_out[0].id} is of the {held_out[0].split} split ({len(held_out)} such); "
                "give training clips only"
            )
        self._classes = _numbers(self.class_of(exemplar.label) for exemplar in self._exemplars)
        self._subjects = _numbers(exemplar.subject for exemplar in self._exemplars)
        self._index = NeighbourIndex(
            np.array([exemplar.units for exemplar in self._exemplars], np.float32).reshape(-1, 20),
            np.array([self._classes[self.class_of(e.label)] for e in self._exemplars], np.int64),
            np.array([self._subjects[exemplar.subject] for exemplar in self._exemplars], np.int64),
        )

    def __len__(self) -> int:
        return len(self._exemplars)

    def class_of(self, label: str) -> str:
        """Labels of one emotion, however spelt, are one class; any other label is its own."""
        return canonical(label, self._emotions) or label

    def retrieve(
        self, label: str, units: Float32[ndarray, "20"], count: int, exclude_subject: str | None = None
    ) -> tuple[Exemplar, ...]:
        """The `count` exemplars of a label nearest to `units`, fewer if few; none of `exclude_subject`."""
        kind = self._classes.get(self.class_of(label), -1)
        # Written exemplars are of nobody: the empty subject is never excluded.
        subject = self._subjects.get(exclude_subject) if exclude_subject else None
        rows: Sequence[int] = self._index.search(units, kind, count, subject).tolist()
        return tuple(self._exemplars[row] for row in rows)


def _numbers(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)))}
