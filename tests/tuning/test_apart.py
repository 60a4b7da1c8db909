"""Rewards in a process beside say what they would say here, and fail in one sentence."""

import os
from functools import partial
from types import MappingProxyType

import pytest
import torch

from argen.errors import EnvironmentFault, RecipeError
from argen.tuning.apart import apart, check_device
from argen.tuning.scoring import Case, Scorer

CASE = Case(
    "job", {"callback": lambda: None}, {"wish": 0.25, "more": MappingProxyType({})}
)  # the call can't travel


def near(frames, wishs, **_):
    return -(frames.flatten(1).mean(1) - torch.tensor(wishs)).abs()


def where(frames, **_):
    return [float(os.getpid())] * len(frames)


def failing(**_):
    raise ZeroDivisionError("division by zero")


def dying(**_):
    os._exit(1)


def scorer_of(**rewards):
    return Scorer(rewards, {"near": (near, -0.2)})


def frames():
    return torch.rand(3, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_no_process_beside_is_the_scorer_itself():
    here = scorer_of(near=near)
    with apart(here, lambda: here, 0) as scorer:
        assert scorer is here


def test_rewards_get_their_frames_where_they_asked():
    seen = []

    def device(frames, **_):
        seen.append(frames.device.type)
        return [0.0] * len(frames)

    Scorer({"it": device}, device="meta")(frames(), CASE, 4)
    assert seen == ["meta"]


def test_a_device_that_is_not_there_is_told_at_once():
    check_device(None)
    check_device("cpu")
    for name in ("cuda:77", "gpu"):
        with pytest.raises(RecipeError, match=rf"no device '{name}'"):
            check_device(name)


@pytest.mark.slow
def test_a_process_beside_scores_alike_and_its_failures_arrive():
    here = scorer_of(near=near, where=where)
    with apart(here, partial(scorer_of, near=near, where=where), 1) as scorer:
        waiting = scorer.later(frames(), CASE, 4)
        found, expected = waiting(), here(frames(), CASE, 4)
        assert torch.equal(found.rewards["near"], expected.rewards["near"])
        assert torch.equal(found.gated, expected.gated)
        assert torch.equal(found.motion, expected.motion)
        assert found.rewards["where"][0] != expected.rewards["where"][0]
    failures = (failing, RecipeError, "it failed: division by zero"), (dying, EnvironmentFault, "died")
    for reward, error, words in failures:
        with apart(here, partial(scorer_of, it=reward), 1) as scorer, pytest.raises(error, match=words):
            scorer(frames(), CASE, 4)
