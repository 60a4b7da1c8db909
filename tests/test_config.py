"""The recipe: every mistake at once, each with its place; what changes the clips changes the hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen import assets
from argen.config import Recipe, differing_keys, load_recipe, preset_file
from argen.errors import RecipeError


def mistakes(tmp_path, text: str, *overrides: str) -> list[str]:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(path, overrides)
    return str(error.value).replace(str(tmp_path) + "/", "").splitlines()


def test_all_mistakes_are_told_at_once_with_file_and_line(tmp_path):
    text = "seed: -3\n\ngenerate:\n  step: 4\n  size: 1\ngate: {identity: 1.7}\nbogus: 1\n"
    lines = mistakes(tmp_path, text, "gate.sharp=2")
    assert len(lines) == 6
    assert lines[0].startswith("r.yaml:1: seed: ")
    assert "r.yaml:4: generate.step: unknown key; did you mean 'steps'?" in lines
    assert any(line.startswith("r.yaml:5: generate.size: ") for line in lines)
    assert any(line.startswith("r.yaml:6: gate.identity: ") for line in lines)
    assert any(line.startswith("--set gate.sharp: gate.sharp: ") for line in lines)


def test_a_value_that_fits_no_form_is_one_mistake(tmp_path):
    assert len(mistakes(tmp_path, "plan: {strategy: [1]}\n")) == 1


def test_overrides_overrule_settings_and_settings_overrule_the_file(tmp_path):
    (tmp_path / "r.yaml").write_text("seed: 1\ngenerate: {frames: 5, size: 64}\n")
    recipe = load_recipe(tmp_path / "r.yaml", ["generate.frames=7"], {"generate": {"frames": 6}, "seed": 2})
    assert (recipe.seed, recipe.generate.frames, recipe.generate.size) == (2, 7, 64)


def test_an_empty_file_is_the_defaults(tmp_path):
    (tmp_path / "r.yaml").write_text("# nothing yet\n")
    assert load_recipe(tmp_path / "r.yaml") == Recipe()


def test_every_preset_loads_and_says_what_it_is():
    presets = [name for name in assets.names("configs") if name.startswith("augment/")]
    assert presets
    for name in presets:
        path = preset_file(name.removeprefix("augment/"))
        load_recipe(path)
        assert path.read_text().startswith("# ")


@given(st.integers(0, 9), st.integers(2, 50))
def test_the_hash_follows_what_decides_the_clips(seed, frames):
    recipe = load_recipe(settings={"seed": seed, "generate": {"frames": frames}})
    assert recipe.hash == load_recipe(settings=recipe.model_dump()).hash
    assert recipe.hash == load_recipe(settings=recipe.model_dump(), overrides=["generate.batch=7"]).hash
    assert recipe.hash != load_recipe(settings=recipe.model_dump(), overrides=["gate.sharp=0.51"]).hash


def test_differing_keys_are_named():
    before, after = Recipe().model_dump(), load_recipe(overrides=["generate.steps=40"]).model_dump()
    assert differing_keys(before, after) == ["generate.steps: 8 -> 40"]


def test_a_reward_is_loaded_by_file_or_by_path(tmp_path):
    (tmp_path / "mine.py").write_text("def smile(): return 3\n")
    assert assets.load_function("rewards", f"{tmp_path}/mine.py:smile")() == 3
    assert assets.load_function("rewards", "math:sqrt")(9) == 3
    with pytest.raises(RecipeError, match="did you mean 'smile'"):
        assets.load_function("rewards", f"{tmp_path}/mine.py:smlie")
    (tmp_path / "torn.py").write_text("def smile(: return 3\n")
    with pytest.raises(RecipeError, match=r"torn\.py fails as it is read: SyntaxError"):
        assets.load_function("rewards", f"{tmp_path}/torn.py:smile")
    with pytest.raises(RecipeError, match="cannot import 'nowhere'"):
        assets.load_function("rewards", "nowhere:f")
    with pytest.raises(RecipeError, match="rewards: no 'integrty'; did you mean 'integrity'"):
        assets.load_function("rewards", "integrty")
