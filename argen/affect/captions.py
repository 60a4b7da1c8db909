"""Captions from a grammar (`prompts/captions.yaml`, `au_phrases.yaml`), and the check of any caption.

The words come from what the clip is to do: the strongest units and their intensities, which half of the
face, how fast the onset, how long the hold. The choices among wordings come from the job's own generator,
so the same job gives the same caption and two jobs, as good as always, different ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.affect.emotion import canonical
from argen.affect.prompts import Grammar, Level, Phrases, Prompts, load_prompts, vocabulary
from argen.face.action_units import ACTION_UNITS, AU_INDEX

__all__ = [
    "Motion",
    "check_caption",
    "describe_units",
    "level_of",
    "load_prompts",
    "mentioned_units",
    "read_motion",
    "vocabulary",
    "with_article",
    "write_caption",
]

MOST_UNITS: Final = 4  # units that one caption mentions
LEAST_UNIT: Final = 0.15  # below this a unit is not worth a word
LONGEST: Final = 120  # words; text encoders cut what is longer


@dataclass(frozen=True)
class Motion:
    """What a caption tells of a trajectory."""

    units: Float32[ndarray, "20"]  # at the apex, 0..1
    asymmetry: Float32[ndarray, "20"]
    onset: str  # "sudden", "quick", "steady", "slow"
    ending: str  # "held", "partly", "gone"
    hold: float  # seconds near the apex
    head: str  # "still", "turns", "nods", "tilts"
    blinks: bool

    @property
    def intensity(self) -> float:
        """Mean of the units that reach half of the strongest."""
        return float(self.units[self.units >= self.units.max() / 2].mean())


def read_motion(
    trajectory: Float32[ndarray, "T 20"],
    asymmetry: Float32[ndarray, "20"],
    pose: Float32[ndarray, "T 3"],
    fps: float,
) -> Motion:
    """Timing, head and blinks of a trajectory, as the words of a caption need them."""
    closed = AU_INDEX["AU43"]
    change = np.abs(np.delete(trajectory - trajectory[0], closed, axis=1)).sum(axis=1)
    apex = int(np.argmax(change))
    level = change / max(float(change[apex]), 1e-6)
    rise = max(1, apex - int(np.flatnonzero(level[: apex + 1] < 0.1)[-1])) / fps
    below = np.flatnonzero(level[apex:] < 0.8)
    hold = (int(below[0]) if len(below) else len(level) - apex) / fps
    names = ("sudden", "quick", "steady", "slow")
    onset = names[int(np.searchsorted([0.25, 0.45, 0.75], rise, side="right"))]
    ending = "held" if level[-1] > 0.8 else "partly" if level[-1] > 0.25 else "gone"
    swing = np.abs(pose).max(axis=0)
    head = ("turns", "nods", "tilts")[int(np.argmax(swing))] if swing.max() >= 0.5 else "still"
    blinks = bool((trajectory[:, closed] - trajectory[apex, closed]).max() > 0.4)
    return Motion(trajectory[apex], asymmetry, onset, ending, hold, head, blinks)


def write_caption(
    label: str, motion: Motion, cues: Sequence[str], rng: np.random.Generator, prompts: Prompts | None = None
) -> str:
    """One caption in lower case; `cues` are the situations that the retrieved exemplars offer."""
    prompts = prompts or load_prompts()
    grammar, name = prompts.grammar, canonical(label, prompts.emotions)
    still = name == "neutral" or motion.units.max() < LEAST_UNIT
    opening = _pick(grammar.still_openings if still else grammar.openings, rng)
    cue = _pick(cues, rng) if cues else ""
    units = [] if still else mentioned_units(motion.units)
    if units:
        moves = _pick(grammar.movements, rng).format(units=_list_units(units, motion, rng, prompts))
    else:
        moves = _tell_rest(rng, grammar)
    parts = [
        _fill_opening(opening, label, motion.intensity, rng, prompts) + (f", {cue}" if cue else ""),
        moves,
        "" if still else _tell_time(motion, rng, grammar),
        _tell_head(motion, rng, grammar),
    ]
    return ". ".join(part for part in parts if part) + "."


def mentioned_units(units: Float32[ndarray, "20"]) -> list[int]:
    """The units that a caption mentions: up to four, strongest first, none below a third of the strongest."""
    floor = max(LEAST_UNIT, float(units.max()) / 3)
    return [int(i) for i in np.argsort(-units, kind="stable")[:MOST_UNITS] if units[i] >= floor]


def describe_units(units: Float32[ndarray, "20"], prompts: Prompts | None = None) -> str:
    """A plain list of what moves, always in the same words: "the nose wrinkles strongly, ..."."""
    prompts = prompts or load_prompts()
    words = [
        f"{prompts.phrases[ACTION_UNITS[i]].phrases[0]} {_level(float(units[i]), prompts.grammar).verb[0]}"
        for i in mentioned_units(units)
    ]
    return ", ".join(words) or "nothing in the face moves"


def level_of(intensity: float, prompts: Prompts | None = None) -> int:
    """Which of the levels of `captions.yaml` an intensity (0..1) is, 0 the faintest."""
    grammar = (prompts or load_prompts()).grammar
    return grammar.levels.index(_level(intensity, grammar))


def check_caption(
    caption: str, label: str, units: Float32[ndarray, "20"], prompts: Prompts | None = None
) -> str | None:
    """Why a caption does not fit its target, in words for the record and for asking again; None if it fits.

    It names the label's emotion, says what the strongest units do (at most three, from half the strongest
    on), and names no other emotion.
    """
    prompts = prompts or load_prompts()
    text = " ".join(caption.lower().split())
    words = re.findall(r"[^\W\d_]+", text)
    if not words:
        return "it is empty"
    if len(words) > LONGEST:
        return f"it has {len(words)} words, more than {LONGEST}"
    name = canonical(label, prompts.emotions)
    spelt = " ".join(label.lower().replace("_", " ").split())
    if not any(_has(text, word) for word in {spelt, *_names(name, prompts)}):
        return f"it does not name the emotion '{label}'"
    others = text.replace(spelt, " ")  # "sadly disgusted" may be a label: its words are then no other emotion
    for other in set(prompts.emotions) - {name, "neutral"}:  # any face may start from neutral
        wrong = [word for word in _names(other, prompts) if _has(others, word)]
        if wrong:
            return f"it says '{wrong[0]}', which is {other}, not '{label}'"
    strongest = [i for i in mentioned_units(units)[:3] if units[i] >= units.max() / 2]
    for index in strongest if name != "neutral" else []:
        phrases = prompts.phrases[ACTION_UNITS[index]]
        if not _mentions(text, phrases):
            return f"it does not say that {phrases.phrases[0]}"
    return None


def _fill_opening(
    opening: str, label: str, intensity: float, rng: np.random.Generator, prompts: Prompts
) -> str:
    grammar = prompts.grammar
    level = _level(intensity, grammar)
    noun, adjective = _label_words(label, intensity, rng, prompts)
    degree = _pick(level.noun, rng)
    return opening.format(
        person=_pick(grammar.person, rng),
        face=_pick(grammar.face, rng),
        degree=degree,
        a_degree=with_article(degree),
        degree_adverb=_pick(level.adjective, rng),
        noun=noun,
        adjective=adjective,
        a_adjective=with_article(adjective),
    )


def _label_words(label: str, intensity: float, rng: np.random.Generator, prompts: Prompts) -> tuple[str, str]:
    name = canonical(label, prompts.emotions)
    if name is None:
        word = " ".join(label.lower().replace("_", " ").split())
        return word, word
    emotion = prompts.emotions[name]
    return _pick(emotion.nouns.at(intensity), rng), _pick(emotion.adjectives.at(intensity), rng)


def _list_units(units: list[int], motion: Motion, rng: np.random.Generator, prompts: Prompts) -> str:
    """Clauses in a shuffled order, a side after the units that lean to one."""
    clauses = []
    for index in rng.permutation(units):
        clause = _pick(prompts.phrases[ACTION_UNITS[index]].phrases, rng)
        clause += " " + _pick(_level(float(motion.units[index]), prompts.grammar).verb, rng)
        lean = float(motion.asymmetry[index])
        if abs(lean) >= 0.25:
            sides = prompts.grammar.only_on_side if abs(lean) >= 0.75 else prompts.grammar.more_on_side
            clause += _pick(sides, rng).format(side="left" if lean > 0 else "right")
        clauses.append(clause)
    return ", ".join(clauses[:-1]) + (" and " if len(clauses) > 1 else "") + clauses[-1]


def _tell_rest(rng: np.random.Generator, grammar: Grammar) -> str:
    parts = [grammar.still_parts[i] for i in rng.permutation(len(grammar.still_parts))[:4]]
    one = f"{parts[0]} and {parts[1]} {_pick(grammar.still_verbs, rng)}"
    two = f"{parts[2]} and {parts[3]} {_pick(grammar.still_verbs, rng)}"
    return _pick(grammar.still_movements, rng).format(one=one, two=two)


def _tell_time(motion: Motion, rng: np.random.Generator, grammar: Grammar) -> str:
    words = next(hold.words for hold in grammar.holds if motion.hold < hold.below)
    ending = _pick(grammar.ending[motion.ending], rng).format(hold=_pick(words, rng))
    return _pick(grammar.joins, rng).format(onset=_pick(grammar.onset[motion.onset], rng), ending=ending)


def _tell_head(motion: Motion, rng: np.random.Generator, grammar: Grammar) -> str:
    frame = _pick(grammar.blinks if motion.blinks else grammar.no_blinks, rng)
    return frame.format(head=_pick(grammar.head[motion.head], rng))


def _level(intensity: float, grammar: Grammar) -> Level:
    return next((level for level in grammar.levels if intensity < level.below), grammar.levels[-1])


def _pick(items: Sequence[str], rng: np.random.Generator) -> str:
    return items[int(rng.integers(len(items)))]


def with_article(word: str) -> str:
    """The word after "a" or "an": the embedded checkpoint has read nothing else."""
    return f"{'an' if word[:1] in tuple('aeiou') else 'a'} {word}"


def _names(name: str | None, prompts: Prompts) -> tuple[str, ...]:
    if name is None:
        return ()
    emotion = prompts.emotions[name]
    return (name, *emotion.nouns.all, *emotion.adjectives.all)


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def _mentions(text: str, phrases: Phrases) -> bool:
    plain = text.replace("eyebrow", "brow").replace("eyelid", "lid")
    sentences = [re.findall(r"[a-z]+", part) for part in re.split(r"[.;!?]", plain)]
    return any(
        all(any(word.startswith(stem) for word in sentence) for stem in line.split())
        for sentence in sentences
        for line in phrases.mentions
    )
