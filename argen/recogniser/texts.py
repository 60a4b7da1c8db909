"""What `prompts/` says of the classes, on three temporal levels, and which Action Units each class shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.affect.emotion import Emotion, canonical, mean_units
from argen.affect.prompts import Prompts, load_prompts
from argen.face.action_units import ACTION_UNITS

LEVELS: Final = ("clip", "phases", "windows")
NODES: Final = (1, 3, 1)  # of each level: the clip; onset, apex, offset; any window
PHASES: Final = ("onset", "apex", "offset")
SEEN: Final = 0.2  # least share of a unit in a class's prototypes for the class's texts to speak of it


@dataclass(frozen=True)
class ClassTexts:
    """Texts by level, class, node and prompt; the concepts; and the share of each concept in each class."""

    levels: tuple[tuple[tuple[tuple[str, ...], ...], ...], ...]  # [level][class][node][prompt]
    concepts: tuple[tuple[str, ...], ...]  # [unit][phrase]
    shares: Float32[ndarray, "C 20"]  # NaN rows: nothing is known of the class


def class_texts(classes: Sequence[str], prompts: int) -> ClassTexts:
    """Texts of every class, `prompts` a node. A label that is no known emotion is described by itself."""
    loaded = load_prompts()
    concepts = tuple(loaded.phrases[name].phrases for name in ACTION_UNITS)
    levels: list[list[tuple[tuple[str, ...], ...]]] = [[], [], []]
    shares = np.full((len(classes), len(ACTION_UNITS)), np.nan, np.float32)
    for number, label in enumerate(classes):
        name = canonical(label, loaded.emotions)
        emotion = loaded.emotions[name] if name else None
        if emotion is not None:
            shares[number] = mean_units(emotion)
        for level, nodes in zip(levels, _texts_of(label, emotion, loaded, prompts), strict=True):
            level.append(nodes)
    return ClassTexts(tuple(tuple(level) for level in levels), concepts, shares)


def _texts_of(
    label: str, emotion: Emotion | None, loaded: Prompts, prompts: int
) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """The nodes of each level, for one class."""
    if emotion is None:
        own = f"a person with a {label.replace('_', ' ').lower()} expression"
        return tuple(((own,) * prompts,) * nodes for nodes in NODES)
    words = [
        *(f"a person with a {word} expression" for word in emotion.adjectives.any),
        *(f"a person shows {word}" for word in emotion.nouns.any),
        *(f"a person looks {word}" for word in emotion.adjectives.mild + emotion.adjectives.strong),
    ]
    moves = _phrases(emotion, loaded)
    grammar = loaded.grammar
    faint, strong = grammar.levels[1].verb[0], grammar.levels[4].verb[0]
    gone = grammar.ending["partly"][0]
    phases = (
        _fill([f"{move} {faint}" for move in moves], prompts),
        _fill([f"{move} {strong}" for move in moves], prompts),
        _fill([f"{move}, {gone}" for move in moves], prompts),
    )
    return ((_fill(words, prompts),), phases, (_fill(moves, prompts),))


def _phrases(emotion: Emotion, loaded: Prompts) -> list[str]:
    """One phrase for each unit that the emotion shows, the surest first; calm faces have their own."""
    units = mean_units(emotion)
    order = [i for i in np.argsort(-units, kind="stable") if units[i] >= SEEN]
    phrases = [loaded.phrases[ACTION_UNITS[i]].phrases[0] for i in order]
    return phrases or [f"{part} stay at rest" for part in loaded.grammar.still_parts]


def _fill(texts: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(islice(cycle(texts), count))
