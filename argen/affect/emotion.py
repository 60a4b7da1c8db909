"""Emotion: what a label is called and what it looks like in Action Units (`prompts/emotions.yaml`)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np
import yaml
from jaxtyping import Float32
from numpy import ndarray
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from argen import assets
from argen.config import Settings
from argen.errors import RecipeError, did_you_mean
from argen.face.action_units import ACTION_UNITS, AU_INDEX, au_vector


def known_unit(name: str) -> str:
    """The name itself, if it is one of the twenty Action Units; else ValueError with the nearest."""
    if name not in AU_INDEX:
        raise ValueError(f"no Action Unit '{name}'{did_you_mean(name, ACTION_UNITS)}")
    return name


Share = Annotated[float, Field(ge=0, le=1)]
Unit = Annotated[str, AfterValidator(known_unit)]
OPPOSED: Final = (("AU24", "AU25"), ("AU24", "AU26"), ("AU05", "AU43"))
"""Pairs that one face cannot show at once; of a drawn pair the weaker goes."""
FILLER: Final = frozenset({"class", "emotion", "expression", "expressions", "face", "faces", "label"})
Model = TypeVar("Model")


class Words(Settings):
    """Words for one emotion: for any strength, for mild forms only, for strong forms only."""

    any: tuple[str, ...]
    mild: tuple[str, ...] = ()
    strong: tuple[str, ...] = ()

    def at(self, intensity: float) -> tuple[str, ...]:
        """The words that fit an intensity of 0..1."""
        return self.any + (self.mild if intensity < 0.36 else self.strong if intensity >= 0.7 else ())

    @property
    def all(self) -> tuple[str, ...]:
        """Every word, whatever the strength."""
        return self.any + self.mild + self.strong


class Prototype(Settings):
    """One published or composed combination: the share of people who show each unit."""

    source: Literal["du2014", "emfacs", "composed"]
    units: dict[Unit, Share]
    weight: float = Field(1.0, gt=0)
    scale: float = Field(1.0, gt=0, le=1)
    most: dict[Unit, Share] = Field(default_factory=dict)


class Emotion(Settings):
    """One entry of `prompts/emotions.yaml`."""

    labels: Annotated[tuple[str, ...], AfterValidator(lambda labels: tuple(map(_letters, labels)))]
    nouns: Words
    adjectives: Words
    cues: tuple[str, ...]
    prototypes: tuple[Prototype, ...]
    one_sided: bool = False

    @property
    def composed(self) -> bool:
        """Whether no published prototype stands behind it."""
        return all(prototype.source == "composed" for prototype in self.prototypes)

    @property
    def least_scale(self) -> float:
        """Apex intensity of its faintest prototype, relative to the recipe's range."""
        return min(prototype.scale for prototype in self.prototypes)


def read_prompts(path: Path, check: Callable[[object], Model]) -> Model:
    """A YAML file of `prompts/` as a checked value. Raises RecipeError with every mistake, one a line."""
    try:
        return check(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        lines = [f"{path}: {_place(item)}: {item['msg']} (got {item['input']!r})" for item in error.errors()]
        raise RecipeError("\n".join(lines)) from error


@cache
def load_emotions(path: Path | None = None) -> Mapping[str, Emotion]:
    """Canonical name -> emotion. Raises RecipeError where the file is wrong."""
    where = path or assets.find("prompts", "emotions")
    emotions = read_prompts(where, TypeAdapter(dict[str, Emotion]).validate_python)
    owner: dict[str, str] = {}
    for name, emotion in emotions.items():
        if not emotion.prototypes:
            raise RecipeError(f"{where}: {name}.prototypes: give at least one")
        for word in {*emotion.nouns.all, *emotion.adjectives.all, *emotion.labels}:
            if owner.setdefault(word, name) != name:
                raise RecipeError(f"{where}: '{word}' is a word of both {owner[word]} and {name}; keep one")
    return emotions


def canonical(label: str, emotions: Mapping[str, Emotion] | None = None) -> str | None:
    """The canonical emotion of a dataset's label ("Disgusted", "05_disgust"), or None if it is not one.

    The names are those of `EXPRESSIONS`, and contempt, anxiety, helplessness and disappointment.
    """
    known = load_emotions() if emotions is None else emotions
    letters = _letters(label)
    words = [word for word in letters.split() if word not in FILLER]
    found = {_named(word, known) for word in words}
    return _named(letters, known) or (found.pop() if len(found) == 1 else None)


def draw_units(
    emotion: Emotion, rng: np.random.Generator, intensity: tuple[float, float]
) -> Float32[ndarray, "20"]:
    """One person's apex: a prototype by weight, its units by their shares, intensities within the range."""
    weights = np.array([prototype.weight for prototype in emotion.prototypes])
    prototype = emotion.prototypes[int(rng.choice(len(weights), p=weights / weights.sum()))]
    strength = rng.uniform(*intensity) * prototype.scale
    drawn = {
        name: min(strength * rng.uniform(0.75, 1.0), prototype.most.get(name, 1.0))
        for name, share in prototype.units.items()
        if rng.random() < share
    }
    return _settle(au_vector(drawn))


def mean_units(emotion: Emotion) -> Float32[ndarray, "20"]:
    """What the emotion looks like on average at full intensity: shares times scales, over its prototypes."""
    total = sum(prototype.weight for prototype in emotion.prototypes)
    mean = np.zeros(len(ACTION_UNITS), np.float32)
    for prototype in emotion.prototypes:
        for name, share in prototype.units.items():
            height = min(prototype.scale, prototype.most.get(name, 1.0))
            mean[AU_INDEX[name]] += share * height * prototype.weight / total
    return mean


def _settle(units: Float32[ndarray, "20"]) -> Float32[ndarray, "20"]:
    for one, other in OPPOSED:
        a, b = AU_INDEX[one], AU_INDEX[other]
        if min(units[a], units[b]) > 0:
            units[a if units[a] < units[b] else b] = 0
    return units


def _named(letters: str, emotions: Mapping[str, Emotion]) -> str | None:
    return next((name for name, emotion in emotions.items() if letters in (name, *emotion.labels)), None)


def _letters(label: str) -> str:
    text = unicodedata.normalize("NFKC", label)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold()  # "HappyFace" is two words
    return " ".join(re.findall(r"[^\W\d_]+", text))


def _place(item: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in item["loc"])
