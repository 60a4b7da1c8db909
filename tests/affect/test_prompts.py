"""The written exemplars: as many as promised, varied, and true to the units they claim."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from argen import assets
from argen.affect.captions import check_caption, load_prompts
from argen.affect.exemplars import Written, written_exemplars
from argen.errors import RecipeError
from argen.face.action_units import au_vector

LINES = assets.find("prompts", "exemplars").read_text(encoding="utf-8").splitlines()
WRITTEN = [Written.model_validate(json.loads(line)) for line in LINES]
EMOTIONS = load_prompts().emotions


def test_there_are_two_hundred_over_all_emotions():
    assert len(WRITTEN) >= 200
    counts = Counter(item.label for item in WRITTEN)
    assert set(counts) == set(EMOTIONS)
    assert min(counts.values()) >= 15


def test_none_is_there_twice():
    assert len({item.id for item in WRITTEN}) == len(WRITTEN)
    assert len({item.text for item in WRITTEN}) == len(WRITTEN)


def test_they_vary_in_all_that_was_promised():
    for label in EMOTIONS:
        mine = [item for item in WRITTEN if item.label == label]
        assert len({item.onset for item in mine}) >= 3
        assert len({item.age for item in mine if item.age}) >= 5
        assert len({item.cue for item in mine}) == len(EMOTIONS[label].cues)
        assert len({item.side for item in mine}) >= 2
        assert len({item.intensity for item in mine}) >= (2 if label == "neutral" else 4)
        assert len({tuple(item.text.split()[:2]) for item in mine}) >= 12  # they do not all begin alike


@pytest.mark.parametrize("item", WRITTEN, ids=lambda item: item.id)
def test_each_says_what_its_units_do_and_names_no_other_emotion(item: Written):
    assert item.cue in EMOTIONS[item.label].cues
    for unit in item.units:
        text = f"{EMOTIONS[item.label].nouns.any[0]}, {item.text}"
        assert check_caption(text, item.label, au_vector({unit: 0.9})) is None, unit
    if item.label != "neutral":
        assert item.units


def test_the_intensity_word_is_that_of_the_strongest_unit():
    names = ("faint", "slight", "moderate", "marked", "strong", "extreme")
    bounds = [level.below for level in load_prompts().grammar.levels]
    for item in WRITTEN:
        peak = max(item.units.values(), default=0)
        index = next(i for i, bound in enumerate(bounds) if peak < bound)
        assert abs(names.index(item.intensity) - index) <= 1  # units not told in the text were taken out


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "not JSON"), ('{"id": "a"}', "label"), (LINES[0].replace("AU04", "AU4"), "no Action Unit 'AU4'")],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str):
    path = tmp_path / "exemplars.jsonl"
    path.write_text(f"{LINES[0]}\n{line}\n")
    with pytest.raises(RecipeError, match=r"exemplars\.jsonl:2: ") as caught:
        written_exemplars(path)
    assert said in str(caught.value)
