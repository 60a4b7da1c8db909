"""The written exemplars: as many as promised, varied, and true to the units they claim."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from argen import assets
from argen.affect.captions import check_caption, load_prompts
from argen.affect.describe import Describer, Wish
from argen.affect.exemplars import Written, written_exemplars
from argen.config import AffectSettings
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


BOREDOM = """
boredom:
  labels: [boredom, bored]
  nouns: {any: [boredom]}
  adjectives: {any: [bored]}
  cues: [as if the lecture never ends]
  prototypes: [{source: composed, units: {AU43: 1, AU15: 1}}]
"""


def test_your_own_prompts_overrule_ours_file_by_file(tmp_path: Path):
    ours = assets.find("prompts", "emotions").read_text(encoding="utf-8")
    (tmp_path / "emotions.yaml").write_text(ours + BOREDOM)
    describer = Describer(AffectSettings(prompts=tmp_path))
    wish = Wish("Bored", np.zeros((8, 8, 3), np.uint8), np.zeros(20, np.float32), "s", 1, 16, 16.0)
    caption = describer.describe(wish).caption
    assert "bored" in caption
    assert "as if the lecture never ends" in caption
    assert load_prompts(tmp_path).hash != load_prompts().hash
    assert load_prompts(tmp_path).grammar == load_prompts().grammar


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("captions", "{person} shows", "{persn} shows", "no {persn}; did you mean 'person'?"),
        ("captions", "  slow: [", "  slowly: [", "onset.slow: missing"),
        ("captions", "person: [a person, the person, someone, one person]", "person: []", "person: "),
        ("au_phrases", "AU43:", "AU45:", "no Action Unit 'AU45'"),
        ("vlm", "{reason}", "{why}", "no {why}"),
    ],
)
def test_a_wrong_text_is_named_before_anything_is_made(tmp_path: Path, name, old, new, said):
    text = assets.find("prompts", name).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / f"{name}.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(RecipeError, match=rf"{name}\.yaml: ") as caught:
        load_prompts(tmp_path)
    assert said in str(caught.value)


def test_a_missing_unit_a_misnamed_file_and_a_missing_folder_are_named(tmp_path: Path):
    text = assets.find("prompts", "au_phrases").read_text(encoding="utf-8")
    (tmp_path / "au_phrases.yaml").write_text(text[: text.index("AU43:")])
    with pytest.raises(RecipeError, match="AU43: missing"):
        load_prompts(tmp_path)
    (tmp_path / "emotion.yaml").write_text("")
    with pytest.raises(RecipeError, match=r"emotion\.yaml is not read; did you mean 'emotions\.yaml'"):
        load_prompts(tmp_path)
    with pytest.raises(RecipeError, match="is not a folder"):
        load_prompts(tmp_path / "nowhere")
