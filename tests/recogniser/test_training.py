"""Training: learns, goes on bit for bit, and refuses what would make its scores meaningless."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from argen.dataset.clip import Clip
from argen.errors import ArgenError, DatasetError, RecipeError
from argen.recogniser import training
from argen.recogniser.batches import Pool, make_batch, rows_of, set_aside
from argen.recogniser.predict import predict
from argen.recogniser.scores import uar
from argen.recogniser.settings import Settings
from argen.recogniser.training import train
from tests.recogniser.conftest import CLASSES, SMALL, open_files

truths = st.lists(st.integers(0, 3), min_size=4, max_size=40).map(lambda x: np.array([*x, 0, 1, 2, 3]))


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "streams",
    ["both", *(pytest.param(name, marks=pytest.mark.slow) for name in ("prompts", "aggregator", "baseline"))],
)
def test_every_form_learns_which_way_the_bar_moves(tmp_path, train_clips, test_clips, cache, streams):
    settings = replace(SMALL, streams=streams, steps=50, rate=3e-3, tower_rate=3e-3)
    losses: list[float] = []
    folder = train(
        settings,
        train_clips,
        CLASSES,
        tmp_path,
        cache=cache,
        callback=lambda told: losses.append(told["loss"]),
    )
    assert len(losses) == 50
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    found = predict(folder, test_clips, cache)
    assert uar(found.truth, found.said, 3) > 0.6  # chance is a third


class _Stop(Exception):
    pass


@pytest.mark.parametrize("changes", [{}, {"augment": "classic", "mixup": 0.4, "balance": "oversample"}])
def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path, train_clips, cache, changes):
    settings = replace(SMALL, checkpoint_every=2, validation=0.3, loss="ldam_drw", **changes)
    whole = train(settings, train_clips, CLASSES, tmp_path / "whole", cache=cache)

    def stop(told):
        if told["step"] == 5:  # one step after the last checkpoint
            raise _Stop

    with pytest.raises(_Stop):
        train(settings, train_clips, CLASSES, tmp_path / "parts", cache=cache, callback=stop)
    steps: list[int] = []
    torch.manual_seed(99)  # nothing may depend on it
    parts = train(
        settings,
        train_clips,
        CLASSES,
        tmp_path / "parts",
        cache=cache,
        callback=lambda t: steps.append(t["step"]),
    )
    assert steps == [5, 6]
    assert same(weights(whole), weights(parts))
    assert (whole / "facts.json").read_bytes() == (parts / "facts.json").read_bytes()


def test_the_same_seed_gives_the_same_weights_another_does_not_and_a_finished_run_is_kept(
    tmp_path, train_clips, cache
):
    first = train(SMALL, train_clips, CLASSES, tmp_path / "a", cache=cache)
    again = train(SMALL, train_clips, CLASSES, tmp_path / "b", cache=cache)
    other = train(replace(SMALL, seed=1), train_clips, CLASSES, tmp_path / "c", cache=cache)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))
    told: list[object] = []
    assert train(SMALL, train_clips, CLASSES, tmp_path / "a", cache=cache, callback=told.append) == first
    assert not told


def test_another_setting_order_or_list_of_clips_is_refused_on_a_begun_run(tmp_path, train_clips, cache):
    train(SMALL, train_clips, CLASSES, tmp_path, cache=cache)
    with pytest.raises(RecipeError, match=r"other settings \(rate: 0.002 -> 0.1\)"):
        train(replace(SMALL, rate=0.1), train_clips, CLASSES, tmp_path, cache=cache)
    with pytest.raises(RecipeError, match=r"classes happy, sad, neutral in this order, not sad, happy"):
        train(SMALL, train_clips, ("sad", "happy", "neutral"), tmp_path, cache=cache)
    with pytest.raises(RecipeError, match="other training clips"):
        train(SMALL, train_clips[1:], CLASSES, tmp_path, cache=cache)
    train(replace(SMALL, checkpoint_every=7), train_clips, CLASSES, tmp_path, cache=cache)  # decides nothing


def test_clips_that_cannot_teach_the_classes_are_refused(tmp_path, train_clips, cache):
    def go(clips, classes=CLASSES):
        train(SMALL, clips, classes, tmp_path, cache=cache)

    with pytest.raises(DatasetError, match="without training clips: fear"):
        go(train_clips, (*CLASSES, "fear"))
    with pytest.raises(DatasetError, match="10 training clips are labelled 'sad', which is none"):
        go(train_clips, ("happy", "neutral"))
    with pytest.raises(DatasetError, match=r"'train/happy/0' is a clip of the val split"):
        go([replace(train_clips[0], split="val"), *train_clips[1:]])
    with pytest.raises(DatasetError, match="two or more different"):
        go(train_clips, ("happy", "happy"))
    assert not (tmp_path / "run.json").exists()


def test_a_course_holds_no_file_open_for_each_clip(tmp_path, train_clips, cache):
    training.Course(SMALL, train_clips, CLASSES, tmp_path / "a", cache)  # loads what is loaded once
    before = open_files()
    course = training.Course(SMALL, train_clips, CLASSES, tmp_path / "b", cache)
    course.advance()
    assert open_files() < before + 5
    assert len(course.pool.frames) > 10


def test_a_run_that_diverges_says_so(tmp_path, train_clips, cache, monkeypatch):
    monkeypatch.setattr(training, "total_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(ArgenError, match="the loss of step 1 is nan; lower the rate"):
        train(SMALL, train_clips, CLASSES, tmp_path, cache=cache)


def test_validation_is_of_training_people_and_real_and_is_told(tmp_path, train_clips, cache):
    told = []
    settings = replace(SMALL, validation=0.3, evaluate_every=3)
    folder = train(settings, train_clips, CLASSES, tmp_path, cache=cache, callback=told.append)
    assert [t["step"] for t in told if "validation_uar" in t] == [3, 6]
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["validation_uar"] == told[-1]["validation_uar"]
    assert sum(facts["clips"].values()) + facts["validation_clips"] == len(train_clips)


def test_a_synthetic_clip_goes_where_its_subject_goes(train_clips):
    made = [replace(clip, id=f"syn{i}", extra={"synthetic": "true"}) for i, clip in enumerate(train_clips)]
    kept, aside = set_aside([*train_clips, *made], 0.3, seed=0)
    assert aside
    assert not any(clip.synthetic for clip in aside)
    assert not {clip.subject for clip in kept} & {clip.subject for clip in aside}
    alone = set_aside(train_clips, 0.3, seed=0)
    assert aside == alone[1]  # more clips do not change who is set aside


def _clip(number: int, label: str, subject: str) -> Clip:
    from pathlib import Path

    return Clip(str(number), label, "train", Path("x"), "video", subject)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), min_size=1), st.floats(0, 0.9))
def test_setting_people_aside_never_takes_a_class_away(pairs, share):
    clips = [_clip(i, label, str(who)) for i, (label, who) in enumerate(pairs)]
    kept, aside = set_aside(clips, share, seed=3)
    assert {clip.label for clip in kept} == {clip.label for clip in clips}
    assert len(kept) + len(aside) == len(clips)


@given(truths, st.integers(1, 7))
def test_every_clip_comes_once_before_any_comes_again(truth, batch):
    settings = replace(SMALL, batch=batch)
    steps = -(-3 * len(truth) // batch)
    seen = np.concatenate([rows_of(settings, truth, step) for step in range(steps)])
    for epoch in range(3):
        assert sorted(seen[epoch * len(truth) : (epoch + 1) * len(truth)]) == list(range(len(truth)))


@given(truths)
def test_oversampling_shows_classes_equally(truth):
    settings = replace(SMALL, batch=400, balance="oversample")
    shown = Counter(truth[rows_of(settings, truth, 0)].tolist())
    assert all(60 < shown[label] < 140 for label in range(4))


def test_processes_share_a_batch_between_them(train_clips, cache):
    truth = np.array([CLASSES.index(clip.label) for clip in train_clips], np.int64)
    pool = Pool(train_clips, [cache(clip, 32) for clip in train_clips], truth, 3)
    settings = replace(SMALL, mixup=0.5, augment="classic")
    whole = make_batch(settings, pool, 4)
    parts = [make_batch(settings, pool, 4, rank, 2) for rank in range(2)]
    for rank, part in enumerate(parts):
        assert torch.equal(part.frames, whole.frames[rank::2])
        assert torch.equal(part.targets, whole.targets[rank::2])
    assert torch.allclose(whole.targets.sum(dim=1), torch.ones(8))


def synthetic(clips, label):
    """As many synthetic clips, all of one class."""
    extra = {"synthetic": "true"}
    return [replace(clip, id=f"syn{i}", label=label, extra=extra) for i, clip in enumerate(clips)]


def test_the_weight_of_synthetic_clips_is_in_the_batch(train_clips, cache):
    both = [*train_clips, *synthetic(train_clips, "sad")]
    truth = np.array([CLASSES.index(clip.label) for clip in both], np.int64)
    pool = Pool(both, [cache(clip, 32) for clip in both], truth, 3)
    batch = make_batch(replace(SMALL, synthetic_weight=0.25, batch=64), pool, 0)
    assert set(batch.weights.tolist()) == {0.25, 1.0}


@pytest.mark.parametrize("loss", ["cross_entropy", "logit_adjustment", "ldam_drw"])
def test_synthetic_clips_of_no_weight_teach_nothing(tmp_path, train_clips, cache, loss):
    def trained(name, label, weight):
        settings = replace(SMALL, synthetic_weight=weight, loss=loss, drw_from=0.5)
        clips = [*train_clips, *synthetic(train_clips, label)]
        return weights(train(settings, clips, CLASSES, tmp_path / name, cache=cache))

    assert same(trained("a", "sad", 0.0), trained("b", "happy", 0.0))
    assert not same(trained("c", "sad", 1.0), trained("d", "happy", 1.0))


def test_losses_count_a_synthetic_clip_as_its_weight_and_facts_count_clips(tmp_path, train_clips, cache):
    both = [*train_clips, *synthetic(train_clips, "sad")]  # 10 happy, 10 sad, 5 neutral; 25 made
    course = training.Course(replace(SMALL, synthetic_weight=0.2), both, CLASSES, tmp_path / "a", cache)
    assert course.counts == pytest.approx([10, 15, 5])
    facts = json.loads((course.finish(tmp_path / "checkpoint") / "facts.json").read_text())
    assert facts["clips"] == {"happy": 10, "sad": 35, "neutral": 5}


def test_settings_are_one_yaml_and_every_mistake_is_named(tmp_path):
    before = replace(SMALL, level_weights=(1.0, 0.0, 0.0), revision="abc")
    before.write(tmp_path / "s.yaml")
    assert Settings.read(tmp_path / "s.yaml") == before
    (tmp_path / "s.yaml").write_text("step: 3\nrate: often\nbatch: 2.5\nlevel_weights: [1]\n")
    with pytest.raises(RecipeError) as caught:
        Settings.read(tmp_path / "s.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert any("step: unknown key; did you mean 'steps'?" in line for line in lines)
    with pytest.raises(RecipeError) as caught:
        Settings(streams="bot", steps=0, validation=1.0, width=97)
    assert len(str(caught.value).splitlines()) == 4
    (tmp_path / "s.yaml").write_text("- 1")
    with pytest.raises(RecipeError, match="a mapping, not a list"):
        Settings.read(tmp_path / "s.yaml")
    assert Settings.from_dict({"rate": "2e-3", "steps": 5}).rate == 2e-3
