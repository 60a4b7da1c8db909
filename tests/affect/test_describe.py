"""Describer: the entry; the same wish gives the same Affect, whatever came before."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from argen.affect.affect import Affect
from argen.affect.describe import Describer, Wish
from argen.config import AffectSettings
from argen.errors import DatasetError, UsageError
from argen.face.action_units import AU_INDEX, au_vector
from tests.affect.measured import clip, track

NOSE = {"AU09": 0.8, "AU10": 0.5}
FRAME = np.zeros((16, 16, 3), np.uint8)
MEASURED = [
    (clip(f"{i}", "Ek", subject=f"s{i % 5}"), track({"AU09": 0.6 + i / 100, "AU10": 0.5})) for i in range(25)
]


def wish(seed: int = 1, label: str = "Ek", **changes) -> Wish:
    return replace(Wish(label, FRAME, np.zeros(20, np.float32), "s0", seed, 32, 16.0), **changes)


def same(one: Affect, other: Affect) -> bool:
    arrays = ("trajectory", "asymmetry", "pose")
    words = ("label", "caption", "written_by", "exemplars", "profile")
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in arrays) and all(
        getattr(one, key) == getattr(other, key) for key in words
    )


def test_the_same_wish_gives_the_same_affect_in_any_order_and_batch():
    wishes = [wish(seed, label) for seed in range(6) for label in ("Ek", "disgust")]
    batch = Describer(AffectSettings(), MEASURED).describe_all(wishes)
    describer = Describer(AffectSettings(), list(reversed(MEASURED)))
    for one, expected in reversed(list(zip(wishes, batch, strict=True))):
        assert same(describer.describe(one), expected)


def test_another_process_gives_the_same_caption():
    code = (
        "import numpy as np\n"
        "from argen.affect.describe import Describer, Wish\n"
        "from argen.config import AffectSettings\n"
        "frame, units = np.zeros((16, 16, 3), np.uint8), np.zeros(20, np.float32)\n"
        "w = Wish('disgust', frame, units, 's0', 2**63, 32, 16.0)\n"
        "print(Describer(AffectSettings()).describe(w).caption)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = Describer(AffectSettings()).describe(wish(2**63, "disgust"))
    assert run.stdout.strip() == here.caption


def test_class_clips_make_the_target_and_the_record_says_so():
    affect = Describer(AffectSettings(), MEASURED).describe(wish())
    assert affect.profile == "class clips"
    assert affect.trajectory.shape == (32, 20)
    target = affect.trajectory[affect.apex]
    assert set(np.flatnonzero(target > 0.3)) == {AU_INDEX["AU09"], AU_INDEX["AU10"]}
    assert affect.written_by == "template"
    assert "ek" in affect.caption


def test_few_clips_leave_it_to_the_prototype():
    affect = Describer(AffectSettings(enough_clips=26), MEASURED).describe(wish(label="Disgusted"))
    assert affect.profile == "prototype"
    assert len(affect.exemplars) == 4


def test_a_class_that_cannot_be_expanded_says_why():
    with pytest.raises(UsageError, match="class 'boredom': no prototype"):
        Describer(AffectSettings()).describe(wish(label="boredom"))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_held_out_clip_is_refused(split):
    leak = (clip("leak", "Ek", split=split), track(NOSE))
    with pytest.raises(DatasetError, match="leak is of the"):
        Describer(AffectSettings(), [*MEASURED, leak])
    blind = (leak[0], track({"AU09": np.nan}))
    with pytest.raises(DatasetError, match="leak is of the"):
        Describer(AffectSettings(), [*MEASURED, blind])


def test_exemplars_are_of_other_people_unless_asked():
    subject_of = {f"clip:{c.id}": c.subject for c, _ in MEASURED}
    describer = Describer(AffectSettings(exemplars=25), MEASURED)
    for seed in range(10):
        others = describer.describe(wish(seed))
        assert len(others.exemplars) == 20
        assert "s0" not in {subject_of[e] for e in others.exemplars}
    asked = Describer(AffectSettings(exemplars=25, same_subject=True), MEASURED)
    everyone = asked.describe(wish(source_id="train/Ek/5"))
    assert "s0" in {subject_of[e] for e in everyone.exemplars}
    assert "clip:train/Ek/5" not in everyone.exemplars  # a clip is no example of itself


def test_exemplars_can_be_switched_off():
    affect = Describer(AffectSettings(exemplars=0)).describe(wish(label="disgust"))
    assert affect.exemplars == ()
    assert "as if" in affect.caption  # the cues of the emotion remain


def test_captions_by_a_model_are_taken_when_they_fit():
    right = "A person shows ek: the nose wrinkles while the upper lip rises."
    describer = Describer(AffectSettings(), MEASURED, ask=lambda questions: [right] * len(questions))
    affects = describer.describe_all([wish(1), wish(2)])
    assert [affect.caption for affect in affects] == [right, right]
    assert [affect.written_by for affect in affects] == ["vlm", "vlm"]


def test_the_trajectory_starts_at_the_source():
    source = au_vector({"AU12": 0.6, "AU25": 0.2})
    affect = Describer(AffectSettings()).describe(wish(label="anger", units=source))
    np.testing.assert_array_equal(affect.trajectory[0], source)
