"""The plan: imbalanced-learn's words with its meaning, and waves that are a fold over records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.config import PlanSettings, Recipe, load_recipe
from argen.dataset.clip import Clip, Dataset
from argen.errors import RecipeError
from argen.plan import STRATEGIES, make_plan, resolve_strategy, share_budget, source_pool

NOWHERE = Path("nowhere")
COUNTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 60), min_size=2)


def clip(label: str, number: int, split: str = "train", subject: str = "", synthetic: bool = False) -> Clip:
    name = f"{split}/{label}/{number:04d}"
    extra = {"synthetic": "true"} if synthetic else {}
    return Clip(name, label, split, NOWHERE / name, "video", subject or name, extra=extra)


def dataset(counts: dict[str, int]) -> Dataset:
    clips = tuple(clip(label, k) for label, n in counts.items() for k in range(n))
    return Dataset(NOWHERE, clips, "folder", "clip")


@given(COUNTS, st.sampled_from(["minority", "not minority", "not majority", "all", "auto"]))
def test_words_mean_what_imbalanced_learn_means(counts, word):
    from imblearn.utils import check_sampling_strategy

    labels = [label for label, n in counts.items() for _ in range(n)]
    theirs = check_sampling_strategy(word, labels, "over-sampling")
    ours = {label: n for label, n in resolve_strategy(counts, word).items() if n}
    assert ours == {label: n for label, n in theirs.items() if n}


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.01, 1.0))
def test_a_ratio_of_two_classes_means_what_imbalanced_learn_means(n, m, ratio):
    from imblearn.utils import check_sampling_strategy

    counts = {"few": min(n, m), "many": max(n, m) + 1}
    labels = ["few"] * counts["few"] + ["many"] * counts["many"]
    try:
        theirs = check_sampling_strategy(ratio, labels, "over-sampling")
    except ValueError:
        with pytest.raises(RecipeError):
            resolve_strategy(counts, ratio)
        return
    assert resolve_strategy(counts, ratio)["few"] == theirs["few"]


@given(COUNTS, st.data())
def test_totals_mean_what_imbalanced_learn_means(counts, data):
    from imblearn.utils import check_sampling_strategy

    labels = [label for label, n in counts.items() for _ in range(n)]
    totals = data.draw(st.dictionaries(st.sampled_from(sorted(counts)), st.integers(1, 100), min_size=1))
    try:
        theirs = check_sampling_strategy(totals, labels, "over-sampling")
    except ValueError:
        with pytest.raises(RecipeError):
            resolve_strategy(counts, totals)
        return
    assert {k: v for k, v in resolve_strategy(counts, totals).items() if k in totals} == dict(theirs)


def test_a_callable_is_asked_for_totals():
    assert resolve_strategy({"a": 3, "b": 9}, lambda have: {"a": have["b"] - 2}) == {"a": 4, "b": 0}


@given(COUNTS)
def test_median_and_sqrt_never_shrink_a_class_and_never_pass_the_largest(counts):
    for word in ("median", "sqrt"):
        after = {label: counts[label] + n for label, n in resolve_strategy(counts, word).items()}
        assert all(counts[label] <= after[label] <= max(counts.values()) for label in counts)
    median = np.median(list(counts.values()))
    assert all(counts[k] + n >= int(median) for k, n in resolve_strategy(counts, "median").items())


def test_an_unknown_word_is_named_with_the_nearest():
    with pytest.raises(RecipeError, match=r"'minorty'; did you mean 'minority'"):
        resolve_strategy({"a": 1, "b": 2}, "minorty")
    assert "minority" in STRATEGIES


def test_totals_of_a_class_that_is_not_there_are_refused_by_name():
    with pytest.raises(RecipeError, match=r"no training clips of 'disgst'; did you mean 'disgust'"):
        resolve_strategy({"disgust": 1, "happy": 2}, {"disgst": 9})


@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 500), min_size=1), st.integers(1, 800))
def test_a_budget_is_spent_whole_and_in_proportion(add, budget):
    shares = share_budget(add, budget)
    assert sum(shares.values()) == min(budget, sum(add.values()))
    for label, count in add.items():
        exact = count * min(1, budget / sum(add.values()))
        assert abs(shares.get(label, 0) - exact) < 1


def test_sources_are_calm_first_then_own_and_people_take_turns():
    clips = [clip("neutral", k, subject="anna" if k < 4 else f"p{k}") for k in range(6)]
    clips += [clip("disgust", 0), clip("happy", 0), clip("neutral", 9, synthetic=True)]
    pool = source_pool(clips, "disgust", PlanSettings(), seed=0)
    assert [name.split("/")[1] for name in pool] == ["neutral"] * 6 + ["disgust"]
    first_three = {next(c.subject for c in clips if c.id == name) for name in pool[:3]}
    assert first_three == {"anna", "p4", "p5"}
    only_own = source_pool(clips, "disgust", PlanSettings(sources="same class"), seed=0)
    assert only_own == ("train/disgust/0000",)


def test_without_calm_or_own_clips_any_training_clip_will_do():
    assert source_pool([clip("happy", 0)], "disgust", PlanSettings(), seed=0) == ("train/happy/0000",)


def test_the_plan_says_why_a_class_is_not_expanded():
    recipe = load_recipe(settings={"plan": {"strategy": "all"}})
    plan = make_plan(
        dataset({"neutral": 5, "zorp": 1, "happy": 2}), recipe, lambda k: "no idea" if k == "zorp" else None
    )
    assert plan.refused == {"zorp": "no idea"}
    assert plan.add == {"happy": 3}


def test_nothing_to_add_is_an_error_with_the_reasons():
    with pytest.raises(RecipeError, match="nothing to add: disgust: no idea"):
        make_plan(dataset({"neutral": 5, "disgust": 1}), Recipe(), lambda label: "no idea")
    with pytest.raises(RecipeError, match="have what was asked for"):
        make_plan(dataset({"neutral": 5, "happy": 5}), Recipe())


def test_max_per_source_bounds_both_the_clips_and_the_tries():
    recipe = load_recipe(settings={"plan": {"classes": ["happy"], "count": 50, "max_per_source": 2}})
    plan = make_plan(dataset({"neutral": 5, "happy": 2}), recipe)
    assert plan.add["happy"] == 14
    assert plan.limits["happy"] == 14


def test_a_job_is_known_by_what_defines_it():
    base = load_recipe(settings={"plan": {"classes": ["happy"], "count": 6}})
    data = dataset({"neutral": 3, "happy": 1})
    jobs = [make_plan(data, base).job("happy", k) for k in range(8)]
    assert len({job.id for job in jobs}) == 8
    assert jobs[0].source == jobs[4].source  # four sources, in turn
    again = make_plan(
        data, load_recipe(overrides=["plan.count=9"], settings={"plan": {"classes": ["happy"]}})
    )
    assert again.job("happy", 5) == jobs[5]  # more clips of the same kind: the same jobs go on
    other = make_plan(data, load_recipe(overrides=["generate.frames=9"], settings=base.model_dump()))
    assert other.job("happy", 5).id != jobs[5].id
    seeded = make_plan(data, load_recipe(overrides=["seed=1"], settings=base.model_dump()))
    assert {seeded.job("happy", k).seed for k in range(8)}.isdisjoint({job.seed for job in jobs})


def test_speed_settings_do_not_change_jobs():
    data = dataset({"neutral": 3, "happy": 1})
    recipes = [load_recipe(overrides=[f"generate.batch={n}", "plan.count=2"]) for n in (1, 8)]
    assert recipes[0].hash == recipes[1].hash
    assert make_plan(data, recipes[0]).job("happy", 1) == make_plan(data, recipes[1]).job("happy", 1)


@given(st.integers(1, 12), st.lists(st.booleans(), min_size=40, max_size=40), st.randoms())
def test_waves_end_with_the_wanted_clips_or_at_the_limit_in_any_order(wanted, luck, random):
    recipe = load_recipe(settings={"plan": {"classes": ["happy"], "count": wanted, "tries": 3}})
    plan = make_plan(dataset({"neutral": 4, "happy": 1}), recipe)
    done: dict[int, bool] = {}
    while wave := plan.wave({"happy": done}):
        assert all(job.index not in done for job in wave)
        some = random.sample(wave, random.randint(1, len(wave)))
        done |= {job.index: luck[job.index] for job in some}
    kept = sum(done.values())
    assert sorted(done) == list(range(len(done)))  # no gaps: what is made does not depend on the order
    assert kept == wanted or (kept < wanted and len(done) == plan.limits["happy"])
    if kept == wanted:  # not one job more than needed
        assert done[max(done)]
