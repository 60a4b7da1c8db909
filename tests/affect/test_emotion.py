"""Emotions: labels, prototypes, and that a drawn apex looks like its own emotion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.affect.emotion import OPPOSED, canonical, draw_units, load_emotions, mean_units
from argen.errors import RecipeError
from argen.face.action_units import AU_INDEX, EXPRESSIONS

EMOTIONS = load_emotions()
MAFW = ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
MAFW += ["contempt", "anxiety", "helplessness", "disappointment"]


def test_the_eleven_are_there_and_the_basic_ones_are_named_as_readers_name_them():
    assert len(EMOTIONS) == 11
    assert set(EXPRESSIONS) < set(EMOTIONS)
    assert {canonical(label) for label in MAFW} == set(EMOTIONS)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Disgusted", "disgust"),
        ("disgust", "disgust"),
        ("Angry", "anger"),
        ("anger ", "anger"),
        ("HAPPINESS", "happy"),
        ("HappyFace", "happy"),
        ("05_disgust", "disgust"),
        ("sad (class 2)", "sad"),
        ("surprised expression", "surprise"),
        ("Fe", "fear"),
        ("no_emotion", "neutral"),
        ("ｆｅａｒ", "fear"),  # full-width letters are the same letters
        ("Ek", None),
        ("boredom", None),
        ("happily surprised", None),
        ("not happy", None),
        ("angry / disgust", None),
        ("7", None),
        ("", None),
    ],
)
def test_labels_as_datasets_spell_them(label: str, name: str | None):
    assert canonical(label) == name


@given(st.sampled_from(sorted(EMOTIONS)), st.sampled_from([str.upper, str.title, str.lower]))
def test_case_does_not_matter(name: str, change):
    for label in EMOTIONS[name].labels:
        assert canonical(change(label)) == name


@given(st.text(max_size=20))
def test_any_text_is_a_label(label: str):
    assert canonical(label) in {None, *EMOTIONS}


@pytest.mark.parametrize("name", EMOTIONS)
def test_a_drawn_apex_is_nearest_to_its_own_prototype(name: str):
    rng = np.random.default_rng(1)
    drawn = np.stack([draw_units(EMOTIONS[name], rng, (0.6, 1.0)) for _ in range(150)])
    distances = {
        other: np.linalg.norm(drawn - 0.75 * mean_units(emotion), axis=1)
        for other, emotion in EMOTIONS.items()
    }
    assert min(distances, key=lambda other: distances[other].mean()) == name
    nearest = np.array(list(distances))[np.argmin(list(distances.values()), axis=0)]
    assert (nearest == name).mean() > 0.85


@pytest.mark.parametrize("name", EMOTIONS)
def test_shares_and_intensities_are_those_of_the_file(name: str):
    emotion, rng = EMOTIONS[name], np.random.default_rng(2)
    drawn = np.stack([draw_units(emotion, rng, (0.6, 1.0)) for _ in range(1000)])
    weights = sum(prototype.weight for prototype in emotion.prototypes)
    opposed = {unit for pair in OPPOSED for unit in pair}
    for unit, column in AU_INDEX.items():
        share = sum(p.weight * p.units.get(unit, 0) / weights for p in emotion.prototypes)
        if unit not in opposed:
            assert (drawn[:, column] > 0).mean() == pytest.approx(share, abs=0.06)
    assert drawn.max() <= 1
    for prototype in emotion.prototypes:
        for unit, most in prototype.most.items():
            assert drawn[:, AU_INDEX[unit]].max() <= most


def test_no_face_presses_and_parts_its_lips():
    rng = np.random.default_rng(3)
    for emotion in EMOTIONS.values():
        for _ in range(100):
            units = draw_units(emotion, rng, (0.6, 1.0))
            assert all(min(units[AU_INDEX[a]], units[AU_INDEX[b]]) == 0 for a, b in OPPOSED)


def test_the_range_of_intensity_is_kept():
    rng = np.random.default_rng(4)
    peaks = [draw_units(EMOTIONS["disgust"], rng, (0.2, 0.3)).max() for _ in range(200)]
    assert max(peaks) <= 0.3
    assert min(peaks) >= 0.2 * 0.75


def test_composed_prototypes_are_marked():
    composed = {name for name, emotion in EMOTIONS.items() if emotion.composed}
    assert composed == {"neutral", "anxiety", "helplessness", "disappointment"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("disgust: {labels: [x]}", "disgust.nouns"),
        ("- a list", "dictionary"),
        ("a: [", "not YAML"),
        (
            "x: {labels: [x], nouns: {any: [y]}, adjectives: {any: [z]}, cues: [], "
            "prototypes: [{source: composed, units: {AU4: 1}}]}",
            "no Action Unit 'AU4'; did you mean 'AU",
        ),
        (
            "x: &e {labels: [x], nouns: {any: [y]}, adjectives: {any: [z]}, cues: [], "
            "prototypes: [{source: composed, units: {AU04: 1}}]}\nw: *e",
            "a word of both",
        ),
    ],
)
def test_a_wrong_file_is_named_with_the_place(tmp_path: Path, text: str, said: str):
    path = tmp_path / "emotions.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"emotions\.yaml") as caught:
        load_emotions(path)
    assert said in str(caught.value)
