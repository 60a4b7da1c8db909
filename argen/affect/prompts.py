"""Prompts: the texts of `prompts/`, or of your own folder, read and checked once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import Field, TypeAdapter

from argen import assets
from argen.affect.emotion import Emotion, Unit, load_emotions, read_prompts
from argen.config import Settings
from argen.errors import RecipeError, did_you_mean
from argen.face.action_units import ACTION_UNITS

Texts: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1)]
FILES: Final = ("emotions.yaml", "au_phrases.yaml", "captions.yaml", "vlm.yaml", "exemplars.jsonl")
PLACES: Final = frozenset(
    [
        "person",
        "face",
        "degree",
        "a_degree",
        "degree_adverb",
        "noun",
        "adjective",
        "a_adjective",
        "units",
        "one",
        "two",
        "side",
        "onset",
        "ending",
        "hold",
        "head",
        "emotion",
        "word",
        "movements",
        "examples",
        "question",
        "answer",
        "reason",
    ]
)
"""Words in braces that the texts may hold."""
KEYS: Final = {
    "onset": {"sudden", "quick", "steady", "slow"},
    "ending": {"held", "partly", "gone"},
    "head": {"still", "turns", "nods", "tilts"},
}


class Phrases(Settings):
    """How one Action Unit is said, and recognised."""

    phrases: Texts
    mentions: Texts


class Level(Settings):
    """Words for intensities below a bound."""

    below: float
    noun: Texts
    adjective: Texts
    verb: Texts


class Hold(Settings):
    """Words for lengths of time below a bound, seconds."""

    below: float
    words: Texts


class Grammar(Settings):
    """`prompts/captions.yaml`."""

    person: Texts
    face: Texts
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    openings: Texts
    still_openings: Texts
    still_movements: Texts
    still_parts: Texts
    still_verbs: Texts
    movements: Texts
    more_on_side: Texts
    only_on_side: Texts
    onset: dict[str, Texts]
    ending: dict[str, Texts]
    joins: Texts
    holds: Annotated[tuple[Hold, ...], Field(min_length=1)]
    head: dict[str, Texts]
    blinks: Texts
    no_blinks: Texts


class Questions(Settings):
    """`prompts/vlm.yaml`."""

    question: str
    again: str
    endings: dict[str, str]


@dataclass(frozen=True)
class Prompts:
    """All the texts of a run."""

    emotions: Mapping[str, Emotion]
    phrases: Mapping[str, Phrases]
    grammar: Grammar
    questions: Questions
    exemplars: Path  # read by exemplars.py
    hash: str  # twelve hex digits that change with any of the texts


@cache
def load_prompts(folder: Path | None = None) -> Prompts:
    """The texts: of each kind the file in `folder` if it is there, else ours.

    Raises RecipeError where a file is wrong, or the folder holds a file of another name.
    """
    emotions, phrases, captions, vlm, exemplars = paths = [_find(name, folder) for name in FILES]
    content = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)
    prompts = Prompts(
        load_emotions(emotions),
        read_prompts(phrases, TypeAdapter(dict[Unit, Phrases]).validate_python),
        read_prompts(captions, Grammar.model_validate),
        read_prompts(vlm, Questions.model_validate),
        exemplars,
        hashlib.sha256(content).hexdigest()[:12],
    )
    _check_keys(phrases, "", set(ACTION_UNITS), prompts.phrases)
    for section, keys in KEYS.items():
        _check_keys(captions, f"{section}.", keys, getattr(prompts.grammar, section))
    _check_keys(vlm, "endings.", KEYS["ending"], prompts.questions.endings)
    _check_places(captions, prompts.grammar)
    _check_places(vlm, prompts.questions)
    return prompts


def vocabulary(folder: Path | None = None) -> frozenset[str]:
    """Every word that a template caption can hold, apart from a label that is no known emotion.

    Captions also hold commas and full stops.
    """
    prompts = load_prompts(folder)
    texts = [
        *_strings(prompts.grammar.model_dump()),
        *(text for item in prompts.phrases.values() for text in item.phrases),
        *(text for item in prompts.emotions.values() for text in (*item.nouns.all, *item.adjectives.all)),
        *(text for item in prompts.emotions.values() for text in item.cues),
    ]
    return frozenset(re.findall(r"[a-z]+", re.sub(r"\{\w+\}", "", " ".join(texts)))) | {"an", "left", "right"}


def _find(name: str, folder: Path | None) -> Path:
    if folder is not None:
        _refuse_unknown(folder)
        if (folder / name).is_file():
            return folder / name
    return assets.find("prompts", Path(name).stem)


def _refuse_unknown(folder: Path) -> None:
    if not folder.is_dir():
        raise RecipeError(
            f"affect.prompts: {folder} is not a folder; see `argen list prompts` for what may be in it"
        )
    for path in sorted(folder.iterdir()):
        if path.suffix in {".yaml", ".yml", ".jsonl"} and path.name not in FILES:
            raise RecipeError(f"affect.prompts: {path} is not read{did_you_mean(path.name, FILES)}")


def _check_keys(path: Path, section: str, needed: set[str], given: Mapping[str, object]) -> None:
    if missing := sorted(needed - set(given)):
        raise RecipeError(f"{path}: {section}{missing[0]}: missing")


def _check_places(path: Path, texts: Settings) -> None:
    for text in _strings(texts.model_dump()):
        for place in re.findall(r"\{(.*?)\}", text):
            if place not in PLACES:
                raise RecipeError(f"{path}: '{text}': no {{{place}}}{did_you_mean(place, PLACES)}")


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)
