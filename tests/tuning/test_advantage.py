"""Advantages: what they must not depend on, what they must tell apart, and what must teach nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from argen.tuning.advantage import PerPromptStatistics, best_of, conflict, group_relative

K = 4


def advantages(rewards, weights=None, gated=None, groups=2):
    rewards = {name: torch.tensor(values, dtype=torch.float32) for name, values in rewards.items()}
    count = len(next(iter(rewards.values())))
    group = torch.arange(groups).repeat_interleave(count // groups)
    out = torch.zeros(count, dtype=torch.bool) if gated is None else torch.tensor(gated)
    return group_relative(rewards, weights or dict.fromkeys(rewards, 1.0), group, out)


values = st.lists(st.floats(-5, 5, width=32), min_size=2 * K, max_size=2 * K)


@given(values, st.floats(-50, 50), st.floats(0.1, 100))
@settings(max_examples=50, deadline=None)
def test_shift_and_scale_of_a_reward_change_nothing(found, shift, scale):
    plain = advantages({"a": found}).values
    if max(np.ptp(found[:K]), np.ptp(found[K:])) < 1e-2 or min(np.ptp(found[:K]), np.ptp(found[K:])) < 1e-2:
        return  # rounding decides there
    assert torch.allclose(plain, advantages({"a": [scale * v + shift for v in found]}).values, atol=2e-2)


@given(values, st.permutations(range(K)))
@settings(max_examples=50, deadline=None)
def test_order_within_a_group_changes_nothing(found, order):
    plain = advantages({"a": found}).values
    shuffled = advantages({"a": [found[i] for i in order] + found[K:]}).values
    assert torch.allclose(plain[list(order)], shuffled[:K], atol=1e-4)


def test_a_group_in_which_nothing_differs_teaches_exactly_nothing():
    found = advantages({"a": [0.3] * K + [0.0, 1.0, 2.0, 3.0]})
    assert torch.equal(found.values[:K], torch.zeros(K))
    assert found.values[K:].abs().min() > 0
    assert (found.idle_groups, found.idle) == (1, {"a": 1})
    assert torch.equal(advantages({"a": [0.3] * 2 * K}).values, torch.zeros(2 * K))


def test_a_constant_efficiency_teaches_nothing():
    quality = [0.0, 1.0, 2.0, 3.0] * 2
    alone = advantages({"quality": quality}).values
    beside = advantages({"quality": quality, "efficiency": [0.5] * 2 * K})
    assert torch.allclose(alone, beside.values)
    assert beside.idle == {"quality": 0, "efficiency": 2}


def test_each_reward_counts_in_its_own_spread():
    """Sum first, and the reward on a scale of 1000 hides the other; here both lift a sample alike."""
    found = advantages({"loud": [1000.0, 0, 0, 0], "quiet": [0, 0.001, 0, 0]}, groups=1)
    assert found.values[0] == pytest.approx(float(found.values[1]), rel=1e-4)
    assert found.values[2] < found.values[0]


def test_one_of_two_is_told_from_both_and_none():
    found = advantages({"a": [1, 1, 0, 0], "b": [1, 0, 1, 0]}, groups=1).values
    assert found[0] > found[1] == found[2] > found[3]


def test_pooled_a_large_difference_outweighs_a_small_one_in_a_pair():
    rewards = {"a": [0.0, 0.1, 0.0, 2.0], "b": [1.0, 0.0, 1.0, 0.0]}
    alone = advantages(rewards, {"a": 1.0, "b": 0.5}).values
    assert alone[0] < alone[1]
    assert alone[2] < alone[3]
    found = {name: torch.tensor(values) for name, values in rewards.items()}
    group, none = torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.bool)
    pooled = group_relative(found, {"a": 1.0, "b": 0.5}, group, none, pooled=True).values
    assert pooled[0] > pooled[1]  # b differs as much as ever, a by little here
    assert pooled[2] < pooled[3]


def test_weights_come_after_normalising():
    found = advantages({"a": [1, 0, 0, 0], "b": [0, 1, 0, 0]}, {"a": 3.0, "b": 1.0}, groups=1).values
    assert found[0] > found[1] > found[2]


def test_gated_and_missing_get_the_minimum_of_their_group_and_are_counted():
    gated = [True, False, False, False] * 2
    found = advantages({"a": [9.0, 0.0, 1.0, float("nan")] * 2}, gated=gated)
    assert found.gated == 4
    assert found.values[0] == found.values[1] == found.values[3]
    assert found.values[2] > found.values[0]
    assert found.values.isfinite().all()


def test_a_group_that_is_gated_as_a_whole_teaches_nothing():
    found = advantages({"a": [1.0, 2.0, 3.0, 4.0] * 2}, gated=[True] * K + [False] * K)
    assert torch.equal(found.values[:K], torch.zeros(K))


def test_conflict_is_the_cosine_of_advantages():
    found = advantages({"a": [0.0, 1, 2, 3] * 2, "b": [3.0, 2, 1, 0] * 2})
    assert conflict(found.parts)["a x b"] == pytest.approx(-1, abs=1e-5)


def test_running_statistics_are_those_of_the_published_tracker():
    """Below 16 rewards of a prompt: against the batch; from then on against the prompt's last 16."""
    tracker, rng = PerPromptStatistics(), np.random.default_rng(0)
    record = {"x": [], "y": []}
    for _ in range(4):
        prompts = ["x"] * 5 + ["y"] * 3
        rewards = rng.normal(size=8).astype(np.float32)
        found = tracker.advantages(prompts, torch.from_numpy(rewards))
        for i, prompt in enumerate(("x", "y")):
            mine = rewards[:5] if i == 0 else rewards[5:]
            record[prompt] = (record[prompt] + list(mine))[-16:]
            base = rewards if len(record[prompt]) < 16 else np.array(record[prompt])
            expected = (mine - base.mean()) / (base.std() + 1e-6)
            assert np.allclose(found.numpy()[:5] if i == 0 else found.numpy()[5:], expected, atol=1e-5)
    other = PerPromptStatistics()
    other.restore(tracker.state())
    assert other.state() == tracker.state()


def test_in_ddpo_too_who_is_refused_is_the_worst_of_its_group():
    """A reward below 0, as a distance is, must not make a clip without a face the best."""
    rewards = torch.tensor([float("nan"), -3.0, -2.0, -4.0, 5.0, 6.0])
    group, out = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([True, False, False, False, True, True])
    tracker = PerPromptStatistics()
    found = tracker.in_order(rewards, ["x"] * 4 + ["y"] * 2, group, out)
    assert found[0] == found[3] == found.min() < 0
    assert found[2] == found.max()
    assert found[4:].tolist() == [0, 0]
    assert tracker.state() == {"x": [-4, -3, -2, -4]}


def test_the_best_of_a_group_come_in_their_order_and_gated_ones_last():
    worth, free = torch.tensor([0.5, -1.0, 2.0, 1.0]), torch.zeros(4, dtype=torch.bool)
    assert best_of(worth, free, 2).tolist() == [2, 3]
    assert best_of(worth, free, None).tolist() == [0, 1, 2, 3]
    refused = torch.tensor([False, False, True, False])
    assert best_of(worth, refused, 2).tolist() == [0, 3]
    assert len(best_of(worth, ~free, 2)) == 2  # so that every process makes as many calls
