"""The ceiling's clips: as many as are wanted, of people whom the world does not have."""

from argen.config import load_recipe
from argen.gain.arms import every_arm
from argen.gain.folder import Experiment
from argen.gain.settings import GainRecipe
from argen.gain.worlds import extra_wanted, has_world, make_extra, make_world, read_extra, read_world


def test_further_clips_are_real_and_of_other_people(tmp_path):
    world = {"profile": "balanced", "scale": 0.001, "test_per_class": 1, "size": 32}
    arms = {"real_only": {}, "ceiling": {"pool": "real", "per_class": 3}}
    gain = {"world": world, "arms": arms, "verdict": {"rivals": []}}
    this = Experiment(tmp_path, load_recipe(settings={"gain": gain}, kind=GainRecipe))
    assert not has_world(this)
    make_world(this)
    make_extra(this, every_arm(this.gain).values())
    dataset, further = read_world(this), read_extra(this)
    wanted = extra_wanted(dataset, every_arm(this.gain).values())
    assert wanted == dict.fromkeys(dataset.counts("train"), 3)
    assert all(sum(clip.label == label for clip in further) >= count for label, count in wanted.items())
    assert not {clip.subject for clip in further} & {clip.subject for clip in dataset.clips}
    assert not {clip.id for clip in further} & {clip.id for clip in dataset.clips}
    assert not any(clip.synthetic for clip in further)
