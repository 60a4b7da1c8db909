"""Profiles: a class teaches its own Action Units where it has enough clips."""

from __future__ import annotations

import numpy as np
import pytest

from argen.affect.emotion import load_emotions
from argen.affect.profile import apex_units, dataset_calm, make_profile, sample_apex
from argen.config import AffectSettings
from argen.errors import UsageError
from argen.face.action_units import AU_INDEX, au_vector
from tests.affect.measured import still_track, track

SETTINGS = AffectSettings(enough_clips=5)
NOSE = {"AU09": 0.8, "AU10": 0.5}
LID = {"AU43": 0.7, "AU15": 0.6}


def test_enough_clips_overrule_the_prototype():
    profile = make_profile("disgust", [track(LID)] * 5, load_emotions(), SETTINGS)
    assert profile.source == "class clips"
    drawn = np.mean([sample_apex(profile, np.random.default_rng(i)) for i in range(50)], axis=0)
    assert set(np.flatnonzero(drawn > 0.2)) == {AU_INDEX["AU43"], AU_INDEX["AU15"]}


def test_few_clips_take_the_prototype():
    profile = make_profile("Disgusted", [track(LID)] * 4, load_emotions(), SETTINGS)
    assert profile.source == "prototype"
    drawn = np.mean([sample_apex(profile, np.random.default_rng(i)) for i in range(50)], axis=0)
    assert drawn[AU_INDEX["AU43"]] == 0
    assert drawn[AU_INDEX["AU10"]] > 0.3


def test_a_label_without_prototype_learns_from_its_clips_or_says_why_not():
    profile = make_profile("Ek", [track(NOSE)] * 5, load_emotions(), SETTINGS)
    assert profile.emotion is None
    with pytest.raises(UsageError, match=r"class 'Ek': no prototype .* only 4 .* 5 needed; add clips"):
        make_profile("Ek", [track(NOSE)] * 4, load_emotions(), SETTINGS)


def test_clips_without_a_face_or_an_expression_do_not_count():
    blind = still_track(np.full((10, 20), np.nan))
    dead = track({})
    with pytest.raises(UsageError, match="only 2 training clips"):
        make_profile("Ek", [blind, dead, blind, track(NOSE), track(NOSE)], load_emotions(), SETTINGS)


def test_the_distribution_is_kept_and_not_its_mean():
    """Two ways of showing one label never melt into a third that nobody shows."""
    profile = make_profile("disgust", [track(NOSE)] * 5 + [track(LID)] * 5, load_emotions(), SETTINGS)
    drawn = np.stack([sample_apex(profile, np.random.default_rng(i)) for i in range(300)])
    nose, lid = drawn[:, AU_INDEX["AU09"]] > 0.2, drawn[:, AU_INDEX["AU43"]] > 0.2
    assert not (nose & lid).any()
    assert nose.mean() == pytest.approx(0.5, abs=0.1)
    assert np.unique(drawn, axis=0).shape == drawn.shape


def test_a_persons_resting_face_is_no_expression():
    """A reader that says 0.3 of every unit at rest does not put 0.3 into the target."""
    biased = track(NOSE, calm=0.15)
    units = apex_units(biased, dataset_calm([biased]))
    np.testing.assert_allclose(units, au_vector(NOSE), atol=0.1)


def test_a_clip_at_its_apex_throughout_is_measured_against_the_dataset():
    """FERV39k has such clips: apex minus its own calmest frame would be nothing."""
    apex = still_track(np.tile(au_vector(NOSE), (8, 1)))
    calm = dataset_calm([track({}), track({}), apex])
    np.testing.assert_allclose(apex_units(apex, calm), au_vector(NOSE))


def test_one_still_picture_is_a_clip():
    picture = still_track(au_vector(NOSE)[None])
    np.testing.assert_allclose(apex_units(picture, np.zeros(20, np.float32)), au_vector(NOSE))


def test_intensity_moves_into_the_range_and_no_further():
    weak, fair = track({"AU12": 0.3}), track({"AU12": 0.7})
    for source, middle in ((weak, 0.6), (fair, 0.7)):
        profile = make_profile("happy", [source] * 5, load_emotions(), SETTINGS)
        peaks = [sample_apex(profile, np.random.default_rng(i), (0.6, 0.9)).max() for i in range(100)]
        assert np.mean(peaks) == pytest.approx(middle, abs=0.06)


def test_units_that_the_reader_cannot_see_come_from_the_prototype():
    blind = track({"AU12": 0.8}, confidence=0.0)
    profile = make_profile("happy", [blind] * 5, load_emotions(), SETTINGS)
    assert len(profile.unseen) == 20
    drawn = np.mean([sample_apex(profile, np.random.default_rng(i)) for i in range(100)], axis=0)
    assert drawn[AU_INDEX["AU25"]] > 0.3


def test_neutral_clips_teach_that_nothing_moves():
    profile = make_profile("Neutral", [track({})] * 6, load_emotions(), SETTINGS)
    assert profile.source == "class clips"
    assert sample_apex(profile, np.random.default_rng(0)).max() == 0


def test_what_a_neutral_clip_lets_slip_is_not_raised_to_an_expression():
    profile = make_profile("neutral", [track({"AU02": 0.12})] * 6, load_emotions(), SETTINGS)
    peaks = [sample_apex(profile, np.random.default_rng(i), (0.6, 1.0)).max() for i in range(50)]
    assert np.mean(peaks) == pytest.approx(0.12, abs=0.03)


def test_draws_repeat_with_the_generator():
    profile = make_profile("disgust", [track(NOSE)] * 6, load_emotions(), SETTINGS)
    once, again = (sample_apex(profile, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
