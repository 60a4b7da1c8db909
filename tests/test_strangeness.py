"""The CIF check of the gate, on real faces."""

from __future__ import annotations

import json

import pytest

from argen.augmentation import augment
from argen.config import load_recipe
from argen.dataset.read import read_dataset
from argen.errors import RecipeError
from pipelines.demo_dataset import write_faces

SMALL = {"plan": {"classes": ["fear"], "count": 1, "tries": 1}, "generate": {"frames": 6, "size": 96}}


@pytest.mark.slow
def test_too_few_real_clips_for_the_threshold_are_named(tmp_path):
    write_faces(tmp_path / "demo")
    strict = load_recipe(overrides=["gate.anomaly=0.05"], settings=SMALL)
    with pytest.raises(RecipeError, match=r"0.05 needs 19 real training clips .* usable"):
        list(augment(read_dataset(tmp_path / "demo"), strict, tmp_path / "out"))


@pytest.mark.slow
def test_it_scores_and_leaves_a_heat_map_of_what_it_drops(tmp_path):
    write_faces(tmp_path / "demo")
    severe = load_recipe(overrides=["gate.anomaly=1.0", "gate.smooth=0"], settings=SMALL)
    (record,) = augment(read_dataset(tmp_path / "demo"), severe, tmp_path / "out")
    assert 0 < record.scores["anomaly"] <= 1
    if not record.kept:
        assert (tmp_path / f"out/cache/heat/{record.id}.jpg").is_file()
        assert "where it looks unlike real clips" in (tmp_path / "out/report/index.html").read_text()
    assert json.loads((tmp_path / "out/manifest.jsonl").read_text())["scores"] == dict(record.scores)
