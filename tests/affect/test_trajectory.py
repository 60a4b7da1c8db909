"""Trajectories: from the source as it is to the target and perhaps back, like a face, not a switch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.affect.affect import Affect
from argen.affect.trajectory import MIDLINE, REST, make_trajectory
from argen.config import AffectSettings
from argen.face.action_units import AU_INDEX, au_vector

APEX = au_vector({"AU04": 0.6, "AU09": 0.9, "AU10": 0.8, "AU17": 0.5})
CALM = np.zeros(20, np.float32)
PLAIN = AffectSettings(blinks=False, head_motion=0.0)
CLOSED, WIDE = AU_INDEX["AU43"], AU_INDEX["AU05"]
vectors = st.lists(st.floats(0, 1, width=32), min_size=20, max_size=20).map(
    lambda values: np.array(values, np.float32)
)


def make(seed: int, frames: int = 48, fps: float = 16.0, settings: AffectSettings = PLAIN, **given_):
    units = {"apex_units": APEX, "source_units": CALM} | given_
    return make_trajectory(
        **units, frames=frames, fps=fps, rng=np.random.default_rng(seed), settings=settings
    )


@given(
    apex=vectors,
    source=vectors,
    frames=st.integers(2, 1000),
    fps=st.floats(1, 120),
    seed=st.integers(0, 2**32),
    motion=st.floats(0, 20),
    one_sided=st.booleans(),
)
def test_every_trajectory_keeps_the_promises(apex, source, frames, fps, seed, motion, one_sided):
    settings = AffectSettings(head_motion=motion)
    trajectory, asymmetry, pose = make(
        seed, frames, fps, settings, apex_units=apex, source_units=source, one_sided=one_sided
    )
    assert trajectory.shape == (frames, 20)
    assert trajectory.dtype == pose.dtype == asymmetry.dtype == np.float32
    np.testing.assert_array_equal(trajectory[0], source)
    assert np.isfinite(trajectory).all()
    assert trajectory.min() >= 0
    assert trajectory.max() <= 1
    assert np.abs(asymmetry).max() <= 1
    assert (asymmetry[list(MIDLINE)] == 0).all()
    assert (pose[0] == 0).all()
    assert np.abs(pose).max() <= motion + 1e-6
    goal = np.maximum(apex, np.minimum(source, REST))
    others = [i for i in range(20) if i != CLOSED]
    assert np.abs(trajectory - goal)[:, others].max(axis=1).min() < 1e-6  # all there in one frame
    low, high = np.minimum(source, goal), np.maximum(source, goal)
    assert (trajectory >= low - 1e-6)[:, others].all()
    assert (trajectory <= high + 1e-6)[:, others].all()


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_the_shortest_clips_still_reach_their_apex(frames: int):
    for seed in range(20):
        trajectory, _, _ = make(seed, frames)
        np.testing.assert_allclose(trajectory.max(axis=0), APEX, atol=1e-6)


def test_the_same_seed_gives_the_same_and_another_another():
    once, again, other = make(3)[0], make(3)[0], make(4)[0]
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 0.1


def test_the_sources_own_expression_goes():
    smile = au_vector({"AU12": 0.8, "AU06": 0.1})
    trajectory, asymmetry, pose = make(0, source_units=smile)
    affect = Affect("disgust", "", "template", trajectory, asymmetry, pose, (), "prototype")
    at_apex = trajectory[affect.apex]
    assert at_apex[AU_INDEX["AU12"]] == pytest.approx(REST)
    assert at_apex[AU_INDEX["AU06"]] == pytest.approx(0.1)  # a resting face's bias stays


def test_units_that_the_reader_did_not_see_start_at_rest():
    trajectory, _, _ = make(0, source_units=np.full(20, np.nan, np.float32))
    assert np.isfinite(trajectory).all()
    assert trajectory[0].max() == 0


def test_units_start_apart_but_not_far_apart():
    spreads = []
    for seed in range(60):
        trajectory, _, _ = make(seed, frames=300, fps=100.0)
        starts = [np.flatnonzero(trajectory[:, unit] > 0.1 * APEX[unit])[0] for unit in np.flatnonzero(APEX)]
        spreads.append((max(starts) - min(starts)) / 100)
    assert 0.02 < np.median(spreads) < 0.3
    assert max(spreads) <= 0.4


def test_onsets_last_what_faces_take_and_offsets_longer():
    onsets, offsets = [], []
    for seed in range(120):
        trajectory, _, _ = make(seed, frames=200, fps=50.0)
        level = trajectory.sum(axis=1) / APEX.sum()
        apex = int(np.argmax(level))
        onsets.append((apex - np.flatnonzero(level[:apex] < 0.05)[-1]) / 50)
        gone = np.flatnonzero(level[apex:] < 0.05)
        if len(gone):
            held = np.flatnonzero(level[apex : apex + gone[0]] > 0.95)[-1]
            offsets.append((gone[0] - held) / 50)
    assert np.percentile(onsets, 5) >= 0.2
    assert np.percentile(onsets, 95) < 1.0
    assert np.median(offsets) > np.median(onsets)


def test_some_clips_end_at_the_apex_and_some_return():
    ends = np.array([make(seed, frames=64)[0][-1].sum() / APEX.sum() for seed in range(100)])
    assert 0.2 < (ends > 0.95).mean() < 0.9
    assert (ends < 0.6).mean() > 0.1


def test_a_long_clip_is_neither_one_short_expression_nor_a_mask():
    """In a minute the expression comes and goes: no plateau is longer than faces hold one."""
    for seed in range(10):
        trajectory, _, _ = make(seed, frames=1000)
        level = trajectory.sum(axis=1) / APEX.sum()
        assert (level[500:] > 0.5).any()
        assert 0.15 < (level > 0.5).mean() < 0.9
        moving = np.flatnonzero(np.abs(np.diff(level)) > 1e-3)
        assert np.diff(moving).max() / 16 < 5


def test_motion_is_smooth():
    trajectory, _, _ = make(1, frames=400, fps=100.0)
    assert np.abs(np.diff(trajectory, axis=0)).max() < 0.15  # at 100 frames/s, 0.9 in not less than 0.06 s
    assert np.abs(np.diff(trajectory, n=2, axis=0)).max() < 0.05


def test_blinks_come_as_often_and_last_as_long_as_eyes_blink():
    settings = AffectSettings(head_motion=0.0)
    rates, lengths = [], []
    for seed in range(12):
        closed = make(seed, frames=3000, fps=50.0, settings=settings)[0][:, CLOSED] > 0.3
        edges = np.flatnonzero(np.diff(closed.astype(int)))
        rates.append(len(edges) / 2)
        lengths += [(b - a) / 50 for a, b in zip(edges[::2], edges[1::2], strict=False)]
    assert 8 < np.mean(rates) < 22
    assert max(lengths) <= 0.42
    assert make(0, frames=3000)[0][:, CLOSED].max() == 0  # switched off


def test_no_blink_while_the_eyes_are_wide_or_at_the_apex():
    settings = AffectSettings(head_motion=0.0)
    wide = au_vector({"AU05": 0.9, "AU01": 0.9})
    for seed in range(40):
        trajectory, asymmetry, pose = make(seed, frames=200, settings=settings, apex_units=wide)
        assert not ((trajectory[:, WIDE] > 0.4) & (trajectory[:, CLOSED] > 0)).any()
        affect = Affect("surprise", "", "template", trajectory, asymmetry, pose, (), "prototype")
        assert trajectory[affect.apex, CLOSED] == 0


def test_a_plain_expression_is_nearly_symmetric_and_a_one_sided_one_is_not():
    plain = [np.abs(make(seed)[1]).mean() for seed in range(100)]
    sided = [make(seed, one_sided=True)[1][AU_INDEX["AU14"]] for seed in range(100)]
    assert np.median(plain) < 0.15
    assert np.abs(sided).min() >= 0.65
    assert 0.3 < np.mean(np.array(sided) > 0) < 0.7  # either side
