import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.face.action_units import ACTION_UNITS, AU_INDEX, EXPRESSIONS, au_vector
from argen.face.expression import PROTOTYPES, expressions_of, units_of_blendshapes


@pytest.mark.parametrize("name", list(PROTOTYPES))
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_a_prototype_is_its_own_expression(name: str, strength: float):
    row = expressions_of(strength * au_vector(PROTOTYPES[name])[None])[0]
    assert EXPRESSIONS[int(row.argmax())] == name
    assert row.max() > 0.6


def test_a_calm_face_is_neutral():
    row = expressions_of(np.zeros((1, 20)))[0]
    assert EXPRESSIONS[int(row.argmax())] == "neutral"
    assert row[0] > 0.7


@given(st.integers(0, 2**32 - 1))
def test_probabilities_are_probabilities(seed: int):
    units = np.random.default_rng(seed).uniform(0, 1, (4, 20))
    rows = expressions_of(units)
    assert ((rows >= 0) & (rows <= 1)).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", list(PROTOTYPES))
def test_more_of_an_expression_is_never_less_likely(name: str):
    steps = np.linspace(0, 1, 21)[:, None] * au_vector(PROTOTYPES[name])
    assert (np.diff(expressions_of(steps)[:, EXPRESSIONS.index(name)]) >= -1e-6).all()


def test_unknown_stays_unknown_and_alone():
    units = np.zeros((3, 20))
    units[1] = np.nan
    rows = expressions_of(units)
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[[0, 2]]).all()


def test_blendshapes_of_a_calm_face_say_nothing():
    calm = {"browInnerUp": 0.2, "eyeSquintLeft": 0.6, "eyeSquintRight": 0.6, "eyeBlinkLeft": 0.3}
    assert not units_of_blendshapes(calm).any()
    assert not units_of_blendshapes({}).any()


def test_blendshapes_of_a_smile_say_so():
    units = units_of_blendshapes({"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9})
    assert units[AU_INDEX["AU12"]] > 0.8
    assert units[AU_INDEX["AU06"]] > 0.4


@given(st.integers(0, 2**32 - 1))
def test_units_of_blendshapes_are_shares(seed: int):
    names = ("browInnerUp", "jawOpen", "mouthPressLeft", "eyeBlinkRight", "mouthRollLower")
    scores = dict(zip(names, np.random.default_rng(seed).uniform(0, 1, 5).tolist(), strict=True))
    units = units_of_blendshapes(scores)
    assert units.shape == (len(ACTION_UNITS),)
    assert ((units >= 0) & (units <= 1)).all()
