"""Intervals: against the recogniser's own bootstrap, and by what must hold of any."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argen.errors import UsageError
from argen.gain.statistics import Resamples, closed, common, difference, mean_recalls, score
from argen.recogniser.predict import Predictions
from argen.recogniser.scores import paired_bootstrap, uar, war

CLASSES = ("anger", "disgust", "happy")


def run(skill, seed, clips=90, people=30):
    rng = np.random.default_rng([seed, 1])
    truth = np.arange(clips) % 3
    said = np.where(rng.random(clips) < skill, truth, (truth + 1) % 3)
    rows = np.eye(3, dtype=np.float32)[said]
    ids = tuple(f"c{i}" for i in range(clips))
    return Predictions(
        ids, tuple(f"p{i % people}" for i in range(clips)), tuple(CLASSES[t] for t in truth), rows, CLASSES
    )


def arm(skill, *seeds):
    return {seed: run(skill, seed + round(1000 * skill)) for seed in seeds}


def test_a_difference_agrees_with_the_recognisers_own_bootstrap():
    better, worse = arm(0.8, 0, 1, 2), arm(0.6, 0, 1, 2)
    draws = Resamples(better[0])
    for metric, function in (("uar", uar), ("war", war)):
        mine = difference(draws, better, worse, metric)
        theirs = paired_bootstrap(list(better.values()), list(worse.values()), function, draws=2000)
        assert mine.value == pytest.approx(theirs[0])
        assert (mine.low, mine.high) == pytest.approx(theirs[1:], abs=0.02)


def test_what_must_hold_of_a_share():
    base, top = arm(0.5, 0, 1), arm(0.9, 0, 1)
    draws = Resamples(base[0])
    assert closed(draws, base, base, top).value == 0
    whole = closed(draws, top, base, top)
    assert (whole.value, whole.low, whole.high) == (1, 1, 1)
    assert np.isnan(closed(draws, top, base, base).value)  # no distance, no share


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(1, 4), st.integers(0, 99))
def test_an_interval_holds_its_value_and_an_arm_equals_itself(skill, seeds, start):
    runs = {seed: run(skill, start + seed) for seed in range(seeds)}
    draws = Resamples(runs[0], draws=300)
    found = score(draws, runs)
    assert 0 <= found.low <= found.value + 0.05
    assert found.value - 0.05 <= found.high <= 1
    same = difference(draws, runs, runs)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    expected = np.mean([uar(r.truth, r.said, 3) for r in runs.values()])
    assert found.value == pytest.approx(expected)


def test_seeds_count_more_uncertainty_than_people_alone():
    wild = {0: run(0.9, 0), 1: run(0.3, 1)}
    one = {0: run(0.6, 0)}
    draws = Resamples(one[0])
    assert score(draws, wild).high - score(draws, wild).low > score(draws, one).high - score(draws, one).low


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_luck_of_few_seeds_is_not_understated(seeds):
    """Over many experiments the drawn means spread as the means of as many new seeds would."""
    rng = np.random.default_rng(seeds)
    draws = Resamples(run(0.5, 0), draws=1)
    drawn = []
    for turn in range(3000):
        draws._rng_seed = turn
        luck = rng.normal(size=(seeds, 1))
        value, moved = draws.averaged(np.repeat(luck, 2, axis=1))
        assert value == pytest.approx(luck.mean())
        drawn.append(moved - value)
    assert np.var(drawn) == pytest.approx(1 / seeds, rel=0.15)


def test_the_recognisers_own_bootstrap_is_stretched_alike():
    """With every clip of one person only the seeds vary: two that differ by d spread from -d/√2 to d/√2."""
    alone = [replace(run(skill, 1), subjects=("p",) * 90) for skill in (0.4, 0.9)]
    same = [replace(run(0.5, 1), subjects=("p",) * 90)] * 2
    each = [uar(one.truth, one.said, 3) for one in alone]
    value, low, high = paired_bootstrap(alone, same, uar, draws=400)
    half = (each[1] - each[0]) / 2 * np.sqrt(2)
    assert (value - low, high - value) == pytest.approx((half, half))
    assert paired_bootstrap(alone[0], same[0], uar, draws=100)[1:] == pytest.approx(
        (each[0] - 0.5,) * 2, abs=0.2
    )


def test_only_common_seeds_are_compared():
    left, right = arm(0.8, 0, 1, 2), arm(0.6, 1, 2)
    assert common(left, right) == [1, 2]
    draws = Resamples(left[0])
    expected = difference(draws, {s: left[s] for s in (1, 2)}, right)
    assert difference(draws, left, right) == expected
    with pytest.raises(UsageError, match="common seed"):
        difference(draws, arm(0.8, 0), arm(0.6, 1))


def test_rows_in_another_order_are_the_same_run():
    first = run(0.7, 3)
    order = np.random.default_rng(0).permutation(len(first.ids)).tolist()
    draws = Resamples(first)
    assert difference(draws, {0: first}, {0: first.take(order)}).high == 0


def test_war_of_an_even_test_split_is_weighted_by_what_naturally_occurs():
    runs = arm(0.7, 0)
    plain, same = Resamples(runs[0]), Resamples(runs[0], counts=dict.fromkeys(CLASSES, 5))
    assert score(same, runs, "war").value == pytest.approx(score(plain, runs, "war").value)
    only = Resamples(runs[0], counts={"anger": 1, "disgust": 0, "happy": 0})
    right, total = mean_recalls(runs)[0]
    assert score(only, runs, "war").value == pytest.approx(right / total)
    assert score(only, runs, "uar") == score(plain, runs, "uar")


def test_mean_recalls_are_clips_of_one_run():
    rows = mean_recalls(arm(0.7, 0, 1, 2))
    assert rows[:, 1].tolist() == [30, 30, 30]
    assert (rows[:, 0] <= 30).all()
