"""Captions: what they say is what the clip is to do, they do not repeat, and a wrong one is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.affect.captions import (
    Motion,
    check_caption,
    describe_units,
    load_prompts,
    mentioned_units,
    read_motion,
    vocabulary,
    write_caption,
)
from argen.affect.emotion import draw_units
from argen.affect.trajectory import make_trajectory
from argen.config import AffectSettings
from argen.face.action_units import ACTION_UNITS, AU_INDEX, au_vector

PROMPTS = load_prompts()
NOSE = au_vector({"AU09": 0.9, "AU10": 0.8, "AU17": 0.5})
EVEN = np.zeros(20, np.float32)
GOOD = "A disgusted face: the nose wrinkles, the upper lip rises and the chin pushes up."


def motion(units=NOSE, **changes) -> Motion:
    plain = {
        "asymmetry": EVEN,
        "onset": "quick",
        "ending": "held",
        "hold": 1.0,
        "head": "still",
        "blinks": False,
    }
    return Motion(units=units, **(plain | changes))


def drawn(name: str, seed: int) -> Motion:
    emotion, rng = PROMPTS.emotions[name], np.random.default_rng(seed)
    trajectory, asymmetry, pose = make_trajectory(
        draw_units(emotion, rng, (0.6, 1.0)),
        EVEN,
        frames=32,
        fps=16.0,
        rng=rng,
        settings=AffectSettings(),
        one_sided=emotion.one_sided,
    )
    return read_motion(trajectory, asymmetry, pose, 16.0)


def caption(name: str, seed: int, told: Motion | None = None) -> str:
    rng = np.random.default_rng([seed, 9])
    return write_caption(name, told or drawn(name, seed), PROMPTS.emotions[name].cues[:4], rng)


def test_the_phrases_cover_the_twenty_units():
    assert set(PROMPTS.phrases) == set(ACTION_UNITS)
    assert all(item.phrases and item.mentions for item in PROMPTS.phrases.values())


def test_every_phrase_is_recognised_as_its_unit():
    for unit, item in PROMPTS.phrases.items():
        units = au_vector({unit: 0.8})
        for phrase in item.phrases:
            assert check_caption(f"a disgusted face. {phrase} a lot.", "disgust", units) is None, phrase


@pytest.mark.parametrize("name", PROMPTS.emotions)
def test_captions_pass_their_own_check_and_stay_within_the_vocabulary(name: str):
    words = vocabulary()
    for seed in range(30):
        told = drawn(name, seed)
        text = caption(name, seed, told)
        assert check_caption(text, name, told.units) is None
        assert set(re.findall(r"[^\s,.]+", text)) <= words
        assert len(text.split()) <= 90


def test_two_thousand_captions_of_one_class_are_all_different():
    """Contempt has the fewest units and so the fewest wordings."""
    assert len({caption("contempt", seed) for seed in range(2000)}) == 2000


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMPTS.emotions)
def test_twenty_thousand_captions_hardly_ever_repeat(name: str):
    assert len({caption(name, seed) for seed in range(20_000)}) >= 19_998


def test_the_same_generator_gives_the_same_caption():
    assert caption("fear", 3) == caption("fear", 3)


def test_strength_is_worded_from_faint_to_extreme():
    said = {}
    for level, strength in zip(PROMPTS.grammar.levels, (0.17, 0.3, 0.5, 0.6, 0.8, 1.0), strict=True):
        told = motion(au_vector({"AU09": strength}))
        texts = [caption("disgust", seed, told) for seed in range(30)]
        said[strength] = texts
        assert all(any(word in text for word in level.verb) for text in texts)
    assert not any("extreme" in text for text in said[0.3])
    assert any("distaste" in text for text in said[0.17])
    assert any("revulsion" in text or "loathing" in text for text in said[1.0])


def test_the_side_is_said_where_there_is_one():
    left = EVEN.copy()
    left[AU_INDEX["AU09"]] = 0.9
    only = [caption("disgust", seed, motion(asymmetry=left)) for seed in range(20)]
    more = [caption("disgust", seed, motion(asymmetry=-left / 3)) for seed in range(20)]
    none = [caption("disgust", seed, motion()) for seed in range(20)]
    assert all("only on the left" in text or "left side alone" in text for text in only)
    assert all("right" in text for text in more)
    assert not any("left" in text or "right" in text for text in none)


@pytest.mark.parametrize("onset", ["sudden", "quick", "steady", "slow"])
@pytest.mark.parametrize("ending", ["held", "partly", "gone"])
def test_timing_is_said(onset: str, ending: str):
    text = caption("disgust", 1, motion(onset=onset, ending=ending))
    assert any(words in text for words in PROMPTS.grammar.onset[onset])
    stems = [words.split("{")[0] for words in PROMPTS.grammar.ending[ending]]
    assert any(stem in text for stem in stems)


def test_motion_is_read_from_the_trajectory():
    rise = np.zeros((40, 20), np.float32)
    rise[8:20, 6] = np.linspace(0, 0.9, 12)
    rise[20:, 6] = 0.9
    still = np.zeros((40, 3), np.float32)
    held = read_motion(rise, EVEN, still, 40.0)
    assert (held.onset, held.ending, held.head, held.blinks) == ("quick", "held", "still", False)
    back = rise.copy()
    back[30:] = 0
    back[34, AU_INDEX["AU43"]] = 1.0
    nod = still.copy()
    nod[:, 1] = np.linspace(0, 3, 40)
    gone = read_motion(back, EVEN, nod, 40.0)
    assert (gone.ending, gone.head, gone.blinks) == ("gone", "nods", True)
    assert gone.hold == pytest.approx(11 / 40)


@given(st.integers(0, 10_000), st.sampled_from(sorted(PROMPTS.emotions)))
def test_a_caption_mentions_what_it_targets(seed: int, name: str):
    told = drawn(name, seed)
    text = caption(name, seed, told)
    for index in [] if name == "neutral" else mentioned_units(told.units):
        assert any(phrase in text for phrase in PROMPTS.phrases[ACTION_UNITS[index]].phrases)


def test_a_label_without_prototype_is_named_as_it_is():
    text = write_caption("Ek_2", motion(), [], np.random.default_rng(0))
    assert "ek 2" in text
    assert check_caption(text, "Ek_2", NOSE) is None


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        (GOOD, "disgust", None),
        (GOOD.upper(), "Disgusted", None),
        ("Strong revulsion: nose scrunched, upper lip curled, chin raised.", "disgust", None),
        ("Disgust. Her eyebrows stay; the nose is crinkled, upper lip up, chin pushed up.", "disgust", None),
        ("The nose wrinkles, the upper lip rises and the chin pushes up.", "disgust", "does not name"),
        (GOOD + " She is happy.", "disgust", "says 'happy', which is happy"),
        (GOOD + " Then fear.", "disgust", "says 'fear'"),
        ("A disgusted face: the upper lip rises, the chin pushes up.", "disgust", "the nose wrinkles"),
        ("A disgusted face with a wrinkled nose.", "disgust", "the upper lip rises"),
        ("disgusted nose. upper wrinkle. lip rises. chin up", "disgust", "does not say that the nose"),
        ("From a calm rest: " + GOOD, "disgust", None),
        (GOOD.replace("disgusted", "sadly disgusted"), "Sadly_Disgusted", None),
        (GOOD.replace("disgusted", "sadly disgusted") + " Rage.", "Sadly_Disgusted", "says 'rage'"),
        (GOOD, "Ek", "does not name the emotion 'Ek'"),
        ("", "disgust", "empty"),
        ("�� \n …", "disgust", "empty"),
        (GOOD + " and so on" * 50, "disgust", "more than 120"),
        ("disgustedly wrinkles nose, upper lip, chin up", "disgust", "does not name"),
    ],
)
def test_what_the_check_says(text: str, label: str, reason: str | None):
    found = check_caption(text, label, NOSE)
    assert found is None if reason is None else reason in (found or "")


@pytest.mark.parametrize("label", ["", "_", "{noun}", "a/b", "Wut über alles"])
def test_any_label_can_be_worded(label: str):
    text = write_caption(label, motion(), ["as if"], np.random.default_rng(0))
    assert check_caption(text, label, NOSE) is None


@given(st.text(max_size=200))
def test_the_check_takes_any_text(text: str):
    assert check_caption(text, "disgust", NOSE) is None or check_caption(text, "disgust", NOSE)


def test_units_are_described_in_the_order_of_their_strength():
    assert describe_units(NOSE).startswith("the nose wrinkles extremely, the upper lip rises strongly")
    assert describe_units(EVEN) == "nothing in the face moves"


def test_no_word_belongs_to_two_emotions():
    for name, emotion in PROMPTS.emotions.items():
        for word in (*emotion.nouns.all, *emotion.adjectives.all):
            text = f"{word}: the nose wrinkles, the upper lip rises, the chin pushes up"
            assert (check_caption(text, name, NOSE)) is None


def test_the_vocabulary_is_plain_words():
    words = vocabulary()
    assert all(re.fullmatch(r"[a-z]+", word) for word in words)
    assert {"disgust", "nose", "wrinkles", "strongly", "left", "an"} <= words
    assert len(words) < 700
