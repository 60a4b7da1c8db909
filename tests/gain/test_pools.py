"""How clips are made for an experiment."""

from __future__ import annotations

import json

from argen.gain.arms import every_arm
from argen.gain.pools import pool_recipe
from argen.gain.worlds import make_world, read_world
from tests.gain.conftest import experiment


def test_an_adapter_is_called_as_it_was_tuned(trained, tmp_path):
    adapter = tmp_path / "tuned" / "adapter.safetensors"
    adapter.parent.mkdir()
    adapter.touch()
    (adapter.parent / "recipe.json").write_text(json.dumps({"generate": {"guidance": 1.5, "steps": 3}}))
    course = experiment(tmp_path / "out", adapter=str(adapter))
    make_world(course)
    made, tuned = (
        pool_recipe(course, name, every_arm(course.gain).values(), read_world(course)).generate
        for name in ("made", "tuned")
    )
    assert (made.adapter, tuned.adapter) == (None, adapter)
    assert (tuned.guidance, tuned.steps) == (1.5, made.steps)
    assert made.guidance != 1.5
