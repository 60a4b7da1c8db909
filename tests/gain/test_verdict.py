"""The rule, word by word; above all that it says no."""

from dataclasses import replace

import pytest

from argen.gain.statistics import Estimate
from argen.gain.verdict import RULE, Evidence, judge

GOOD = Evidence(
    candidate="gated",
    seeds=5,
    planned_seeds=5,
    missing=(),
    room=Estimate(0.10, 0.06, 0.14),
    gain=Estimate(0.06, 0.03, 0.09),
    closed=Estimate(0.6, 0.3, 0.9),
    over={"oversampling": Estimate(0.03, 0.01, 0.05), "ldam": Estimate(0.02, 0.001, 0.05)},
    war_cost=Estimate(0.01, -0.01, 0.02),
)


def test_all_conditions_at_once_are_a_yes():
    verdict = judge(GOOD)
    assert (verdict.word, verdict.provisional) == ("yes", False)
    assert "60%" in verdict.text


@pytest.mark.parametrize(
    ("change", "word", "said"),
    [
        ({"room": Estimate(0.02, -0.01, 0.05)}, "undecided", "Not even real clips"),
        ({"gain": Estimate(0.02, -0.01, 0.05)}, "no", "No gain was shown"),
        ({"gain": Estimate(0.02, 0.0, 0.05)}, "no", "No gain was shown"),
        (
            {"gain": Estimate(-0.05, -0.09, -0.01)},
            "harmful",
            "It makes the recogniser worse than real clips alone.",
        ),
        ({"closed": Estimate(0.49, 0.3, 0.9)}, "partly", "closes 49%"),
        ({"over": {"ldam": Estimate(0.02, -0.001, 0.05)}}, "partly", "not shown to beat ldam"),
        ({"over": {}}, "partly", "nothing that needs no generator"),
        ({"war_cost": Estimate(0.011, 0.0, 0.02)}, "partly", "one point is allowed"),
        ({"war_cost": None}, "partly", "WAR"),
        ({"gain": None}, "undecided", "has not been run"),
        ({"closed": Estimate(float("nan"), 0.0, 0.0)}, "partly", "half is asked"),
    ],
)
def test_one_failing_condition_takes_the_yes_away(change, word, said):
    verdict = judge(replace(GOOD, **change))
    assert verdict.word == word
    assert said in verdict.text


def test_what_a_loss_closes_without_clips_is_always_said():
    """The judged arm may use that loss beside its clips; its share is not the clips' alone."""
    seen = replace(
        GOOD,
        alone={"logit_adjustment": Estimate(0.055, 0.03, 0.08), "ldam": Estimate(-0.01, -0.02, 0.0)},
        closed_alone={"logit_adjustment": Estimate(0.55, 0.37, 0.75), "ldam": Estimate(-0.1, -0.2, 0.0)},
    )
    said = "Without any clips, logit adjustment closes 55%, ldam closes -10% of the distance to the ceiling."
    points = "Without any clips, logit adjustment changes UAR by +5.5 points (+3.0 to +8.0), ldam changes"
    low = Estimate(-0.05, -0.09, -0.01)
    for change in (
        {},
        {"closed": Estimate(0.4, 0.3, 0.5)},
        {"gain": low},
        {"gain": Estimate(0.0, -1.0, 1.0)},
    ):
        assert said in judge(replace(seen, **change)).text
    assert points in judge(replace(seen, room=None, no_ceiling=True, closed=None, closed_alone={})).text
    assert points in judge(replace(seen, room=Estimate(0.02, -0.01, 0.05))).text  # no share of no distance
    assert "Without any clips" not in judge(GOOD).text


def test_without_a_ceiling_the_answer_is_partly_at_best():
    """A folder of one's own: no further real clips exist, and that must not silence the rule."""
    own = replace(GOOD, room=None, closed=None, no_ceiling=True)
    verdict = judge(own)
    assert (verdict.word, verdict.provisional) == ("partly", False)
    assert "no ceiling" in verdict.text
    assert "an unknown share" in verdict.text
    assert judge(replace(own, gain=Estimate(-0.05, -0.09, -0.01))).word == "harmful"
    assert judge(replace(own, gain=Estimate(0.02, -0.01, 0.05))).word == "no"
    assert judge(replace(own, no_ceiling=False)).word == "undecided"


def test_a_gain_that_fails_in_everything_says_everything():
    margin = {"oversampling": Estimate(0.0, -1.0, 1.0), "logit_adjustment": Estimate(0.0, -1.0, 1.0)}
    poor = replace(GOOD, closed=Estimate(0.1, 0.0, 1.0), over=margin, war_cost=Estimate(0.5, 0.0, 1.0))
    text = judge(poor).text
    assert all(word in text for word in ("10%", "oversampling", "logit adjustment", "WAR"))


@pytest.mark.parametrize("change", [{"seeds": 3}, {"missing": ("ldam",)}, {"seeds": 2, "planned_seeds": 2}])
def test_what_is_missing_makes_any_word_provisional(change):
    verdict = judge(replace(GOOD, **change))
    assert verdict.provisional
    assert verdict.text.startswith("Provisional")


def test_fewer_than_three_seeds_are_never_the_last_word():
    two, three = (judge(replace(GOOD, seeds=n, planned_seeds=n)) for n in (2, 3))
    assert two.text.startswith("Provisional yes. Fewer than three seeds say little of training luck. The")
    assert (three.provisional, three.text[:9]) == (False, "Yes. The ")


def test_the_rule_is_told_whole():
    assert len(RULE) == 7
    assert "fewer than three seeds" in RULE[-1]
    for word in ("Undecided", "Harmful", "No,", "Partly", "Yes", "Provisional"):
        assert any(line.startswith(word) for line in RULE)
