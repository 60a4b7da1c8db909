"""The verdict: words that follow from numbers by a rule that was fixed before them, and that can say no."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from argen.gain.statistics import Estimate

HALF: Final = 0.5
WAR_POINT: Final = 0.01
FEWEST_SEEDS: Final = 3

RULE: Final = (
    "The arm that is judged is named in the recipe before any run: the first candidate that could be run.",
    "Undecided, if the ceiling is not above real-only by a 95 % interval that excludes zero: then not even "
    "real clips help here, and nothing can be said of synthetic ones. A folder of your own has no ceiling: "
    "this isn't asked, and (a) below can't be shown, so the answer is partly at best.",
    "Harmful, if the interval of the arm's UAR minus real-only's lies wholly below zero.",
    "No, if that interval reaches zero or below: no gain was shown.",
    "Partly, if it lies above zero but one of these fails: (a) at least half of the distance to the ceiling "
    "is closed; (b) the arm is above oversampling, logit adjustment and LDAM-DRW, each by an interval that "
    "excludes zero; (c) it costs at most one point of WAR.",
    "Yes, if all of them hold. All must hold at once, so none is corrected for the number of tests.",
    "Provisional, before any of these words, while seeds or arms of the recipe are missing, and where there "
    "are fewer than three seeds: they say little of training luck.",
)


@dataclass(frozen=True)
class Evidence:
    """What the verdict looks at. A rival that was not run is absent."""

    candidate: str
    seeds: int
    planned_seeds: int
    missing: tuple[str, ...]  # arms that the rule needs and that have no common seed with the candidate
    room: Estimate | None  # ceiling minus baseline, UAR
    gain: Estimate | None  # candidate minus baseline, UAR
    closed: Estimate | None
    over: Mapping[str, Estimate]  # rival -> candidate minus rival, UAR
    war_cost: Estimate | None  # baseline minus candidate, WAR
    no_ceiling: bool = False  # none can exist
    alone: Mapping[str, Estimate] = field(default_factory=dict)  # rival without clips -> minus baseline, UAR
    closed_alone: Mapping[str, Estimate] = field(default_factory=dict)  # the same -> share of the distance


@dataclass(frozen=True)
class Verdict:
    """One word, the sentences that led to it, and whether that may change with what is still missing."""

    word: str  # yes, partly, no, harmful, undecided
    provisional: bool
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, for a person."""
        start = f"Provisional {self.word}" if self.provisional else self.word.capitalize()
        return f"{start}. {' '.join(self.reasons)}"


def judge(seen: Evidence) -> Verdict:
    """Apply the rule, in its order."""
    unfinished = bool(seen.missing) or seen.seeds < seen.planned_seeds
    provisional = unfinished or seen.seeds < FEWEST_SEEDS
    said = [_how_far(seen)] if unfinished else []
    said += ["Fewer than three seeds say little of training luck."] if seen.seeds < FEWEST_SEEDS else []
    if seen.gain is None or (seen.room is None and not seen.no_ceiling):
        return Verdict("undecided", True, (*said, "Baseline, ceiling or the judged arm has not been run."))
    if seen.room is None:
        said.append("There is no ceiling: for a folder of your own no further real clips exist.")
    else:
        said.append(f"The ceiling is {_points(seen.room)} above real-only in UAR.")
        if not seen.room.low > 0:
            said += [*_without_clips(seen), "Not even real clips are shown to help here."]
            return Verdict("undecided", provisional, tuple(said))
    said += [f"'{seen.candidate}' changes UAR by {_points(seen.gain)}.", *_without_clips(seen)]
    if seen.gain.high < 0:
        return Verdict(
            "harmful", provisional, (*said, "It makes the recogniser worse than real clips alone.")
        )
    if not seen.gain.low > 0:
        return Verdict("no", provisional, (*said, "No gain was shown."))
    faults = [*_shortfalls(seen)]
    return Verdict("partly" if faults else "yes", provisional, (*said, *(faults or [_all_well(seen)])))


def _shortfalls(seen: Evidence) -> list[str]:
    faults = []
    if seen.closed is None or not seen.closed.value >= HALF:
        share = "an unknown share" if seen.closed is None else f"{seen.closed.value:.0%}"
        faults.append(f"It closes {share} of the distance to the ceiling; half is asked.")
    for rival, margin in seen.over.items():
        if not margin.low > 0:
            faults.append(f"It is not shown to beat {_spoken(rival)} ({_points(margin)}).")
    if not seen.over:
        faults.append("It was compared with nothing that needs no generator.")
    if seen.missing:
        faults.append(f"Not compared with {', '.join(seen.missing)}.")
    if seen.war_cost is None or seen.war_cost.value > WAR_POINT:
        cost = "an unknown amount" if seen.war_cost is None else _points(seen.war_cost)
        faults.append(f"It costs {cost} of WAR; one point is allowed.")
    return faults


def _all_well(seen: Evidence) -> str:
    share = math.nan if seen.closed is None else seen.closed.value
    beaten = " and ".join(map(_spoken, seen.over))
    return f"It closes {share:.0%} of the distance, beats {beaten}, and keeps WAR."


def _without_clips(seen: Evidence) -> list[str]:
    """What losses and sampling do by themselves, since the judged arm may use one beside its clips."""
    there = seen.room is not None and seen.room.low > 0  # of a distance that is not shown, no share
    shares = {
        name: share for name, share in seen.closed_alone.items() if there and math.isfinite(share.value)
    }
    if shares:
        each = [f"{_spoken(name)} closes {share.value:.0%}" for name, share in shares.items()]
        return [f"Without any clips, {', '.join(each)} of the distance to the ceiling."]
    if seen.alone:
        each = [f"{_spoken(name)} changes UAR by {_points(gain)}" for name, gain in seen.alone.items()]
        return [f"Without any clips, {', '.join(each)}."]
    return []


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _how_far(seen: Evidence) -> str:
    absent = f"; not compared: {', '.join(seen.missing)}" if seen.missing else ""
    return f"{seen.seeds} of {seen.planned_seeds} seeds are in{absent}."


def _points(value: Estimate) -> str:
    return f"{100 * value.value:+.1f} points ({100 * value.low:+.1f} to {100 * value.high:+.1f})"
