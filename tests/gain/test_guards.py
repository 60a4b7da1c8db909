"""What makes a measurement worthless is refused, by name."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from argen.config import DatasetSettings
from argen.dataset.clip import Clip, Dataset
from argen.dataset.read import read_dataset
from argen.errors import DatasetError, UsageError
from argen.gain.guards import check_adapter, check_independent, check_order, check_training, in_the_loop
from argen.gain.worlds import check_test
from argen.recogniser.settings import Settings
from tests.fakes import painted_dataset
from tests.gain.conftest import guessed

CLASSES = ["disgust", "happy"]


def clip(name, label="happy", split="train", subject=None, **extra):
    return Clip(name, label, split, Path(name), "video", subject or name, extra=extra)


def dataset(*clips):
    return Dataset(Path("root"), clips, "metadata", "column")


GOOD = [clip("a", "disgust"), clip("b")]


def test_a_test_list_with_synthetic_clips_is_refused():
    test = [clip("t", split="test"), clip("syn", split="test", synthetic="true")]
    with pytest.raises(DatasetError, match=r"1 synthetic clips \(syn"):
        check_test(dataset(*GOOD, *test))
    check_test(dataset(*GOOD, test[0]))


def test_a_test_split_that_cannot_be_scored_is_refused():
    with pytest.raises(DatasetError, match="no test clips"):
        check_test(dataset(*GOOD))
    with pytest.raises(DatasetError, match="'fear' is in the test split and missing from training"):
        check_test(dataset(*GOOD, clip("t", "fear", "test")))


def test_nobody_is_in_two_splits():
    test = [clip("t", split="test", subject="ann")]
    with pytest.raises(DatasetError, match=r"gated: 1 people .*ann"):
        check_training([*GOOD, clip("c", subject="ann")], test, CLASSES, "gated")
    with pytest.raises(DatasetError, match="held out"):
        check_training([*GOOD, clip("c", split="val")], test, CLASSES, "gated")
    with pytest.raises(DatasetError, match="no training clips of 'disgust'"):
        check_training(GOOD[1:], test, CLASSES, "synthetic_only")
    check_training(GOOD, test, CLASSES, "real_only")


def test_another_order_of_labels_is_refused(tmp_path):
    found = guessed([clip("t", split="test")], CLASSES, 1.0, 0)
    check_order(found, CLASSES, tmp_path)
    with pytest.raises(UsageError, match="order of labels differs"):
        check_order(found, CLASSES[::-1], tmp_path)


def test_a_recogniser_from_the_gate_or_the_reward_is_refused_by_name(tmp_path):
    weights = tmp_path / "tower" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    adapter = tmp_path / "tuned" / "adapter.safetensors"
    adapter.parent.mkdir()
    adapter.touch()
    (adapter.parent / "recipe.json").write_text(json.dumps({"tune": {"rewards": {"some/clip": 1.0}}}))
    models = {
        "reader": {"name": "judge", "weights": {"model.safetensors": digest}},
        "generator": {"generator": "x"},
    }
    loop = in_the_loop(models, adapter)
    scored = Settings()
    check_independent(scored, loop, "gated")  # trained from nothing
    check_independent(replace(scored, tower="openai/clip"), loop, "gated")
    for tower in ("some/clip", "judge", str(weights.parent)):
        with pytest.raises(UsageError, match=r"is also in the gate or the reward"):
            check_independent(replace(scored, tower=tower), loop, "gated")


def test_an_adapter_that_met_test_people_is_refused(tmp_path):
    painted_dataset(tmp_path / "data")
    adapter = tmp_path / "tuned" / "adapter.safetensors"
    adapter.parent.mkdir()
    adapter.touch()
    assert "does not say" in check_adapter(adapter, [])
    (adapter.parent / "recipe.json").write_text(json.dumps({"tune": {"data": str(tmp_path / "data")}}))
    people = sorted(c.subject for c in read_dataset(tmp_path / "data", DatasetSettings()).train)
    assert "is unknown" in check_adapter(adapter, [clip("t", split="test")])  # a folder tree names nobody
    with pytest.raises(DatasetError, match="tuned on 1 people of the test split"):
        check_adapter(adapter, [clip("t", split="test", subject=people[0])])
    assert check_adapter(None, []) == ""


def test_an_adapters_people_are_read_as_tuning_read_them(tmp_path):
    painted_dataset(tmp_path / "data")
    adapter = tmp_path / "tuned" / "adapter.safetensors"
    adapter.parent.mkdir()
    adapter.touch()
    recipe = {"tune": {"data": str(tmp_path / "data")}, "dataset": {"subjects": r"train-(?P<subject>[a-z]+)"}}
    (adapter.parent / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(DatasetError, match="tuned on 1 people of the test split"):
        check_adapter(adapter, [clip("t", split="test", subject="happy")])
    assert "tuned on 3 people, none of them" in check_adapter(adapter, [clip("t", split="test")])
    (adapter.parent / "recipe.json").write_text(json.dumps(recipe | {"dataset": {"old": 1}}))
    assert "another version" in check_adapter(adapter, [clip("t", split="test", subject="happy")])
