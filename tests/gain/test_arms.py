"""Arms, and the mistakes that a recipe can hold."""

from pathlib import Path

import pytest

from argen import assets
from argen.config import load_recipe
from argen.errors import RecipeError, UsageError
from argen.gain.arms import adapter_file, arms_of, choose, every_arm, sweep_of, why_not
from argen.gain.settings import GainRecipe
from tests.gain.conftest import changed, experiment

HAVE = {"neutral": 100, "happy": 60, "disgust": 6}


def test_every_arm_of_a_share_adds_the_same_number_of_each_class(tmp_path):
    arms = arms_of(experiment(tmp_path).gain)
    wanted = [arms[name].wanted(HAVE) for name in ("ungated", "gated", "tuned", "ceiling")]
    assert wanted == [{"neutral": 0, "happy": 20, "disgust": 47}] * 4
    assert arms["real_only"].wanted(HAVE) == dict.fromkeys(HAVE, 0)
    assert arms["synthetic_only"].wanted(HAVE) == dict.fromkeys(HAVE, 2)


def test_the_sweep_takes_the_arms_that_are_there(tmp_path):
    names = [arm.name for arm in sweep_of(experiment(tmp_path).gain)]
    assert names == ["real_only", "gated", "gated@1"]  # 0 adds nothing, 0.5 is the arm itself


def test_arms_that_need_what_is_not_there_say_so(tmp_path):
    gain = experiment(tmp_path).gain
    arms = arms_of(gain)
    assert "no adapter" in why_not(arms["tuned"], gain)
    assert why_not(arms["ceiling"], gain) is None
    own = experiment(tmp_path, world={"data": str(tmp_path)}).gain
    assert "no further real clips" in why_not(arms["ceiling"], own)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arms": {"x": {"pool": "mad"}}, "verdict": {"baseline": "x"}, "sweep": {}}, "no pool 'mad'"),
        ({"arms": {"a/b": {}}, "verdict": {"baseline": "a/b"}, "sweep": {}}, "becomes a folder"),
        ({"pools": {"real": {}, "made": {}, "tuned": {}}}, "means further real clips"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"seeds": []}, "at least 1"),
        ({"verdict": {"candidates": ["gate"]}}, "no arm 'gate'"),
        ({"verdict": {"rivals": ["oversamplng"]}}, "no arm 'oversamplng'; did you mean 'oversampling'"),
        ({"verdict": {"ceiling": "cieling"}}, "no arm 'cieling'; did you mean 'ceiling'"),
        ({"arms": {"real_only": {"real": False}}}, "needs a pool"),
        ({"sed": 3}, "did you mean"),
    ],
)
def test_a_wrong_recipe_is_told_in_words(change, words):
    with pytest.raises(RecipeError, match=words):
        load_recipe(settings=changed(**change), kind=GainRecipe)


def test_rivals_by_default_may_be_absent(tmp_path):
    gain = experiment(tmp_path, arms={"real_only": {}}, verdict={}, sweep={}).gain
    assert (list(gain.arms), gain.verdict.ceiling) == (["real_only"], "ceiling")


def test_wrong_settings_of_a_recogniser_name_the_arm(tmp_path):
    gain = experiment(tmp_path, arms={"real_only": {"recogniser": {"stps": 3}}}, verdict={}, sweep={}).gain
    with pytest.raises(RecipeError, match=r"gain\.arms\.real_only: stps: unknown key; did you mean 'steps'"):
        arms_of(gain)


def test_an_unknown_arm_and_a_missing_adapter_are_refused(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'gated'"):
        choose(["gate"], every_arm(experiment(tmp_path).gain))
    with pytest.raises(UsageError, match="no such file"):
        adapter_file(tmp_path / "none.safetensors")
    assert adapter_file(None) is None


@pytest.mark.parametrize("name", ["quick", "full"])
def test_our_recipes_hold_what_the_comparison_needs(name):
    path = assets.find("configs", f"gain/{name}")
    gain = load_recipe(path, kind=GainRecipe).gain
    arms = every_arm(gain)
    assert {gain.verdict.baseline, gain.verdict.ceiling, *gain.verdict.rivals} <= set(arms)
    assert len({(arm.settings.steps, arm.settings.batch) for arm in arms.values()}) == 1  # equal budget
    assert gain.world.test_per_class >= 100
    assert path.read_text(encoding="utf-8").startswith("# Does it help?")
    assert Path(path).suffix == ".yaml"


def test_the_quick_form_is_a_part_of_the_full_one():
    quick, full = (
        load_recipe(assets.find("configs", f"gain/{name}"), kind=GainRecipe) for name in ("quick", "full")
    )
    assert quick.gain.world == full.gain.world
    assert quick.generate == full.generate
    assert set(quick.gain.seeds) < set(full.gain.seeds)
    long = arms_of(full.gain)
    assert all(long[name].described() == arm.described() for name, arm in arms_of(quick.gain).items())
