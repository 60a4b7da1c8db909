"""From finished runs to findings: scores, comparisons, verdict; what gain.json holds and the report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from argen.errors import UsageError
from argen.gain.arms import Arm, arms_of, every_arm, sweep_of, why_not
from argen.gain.folder import Experiment, read_json
from argen.gain.runs import read_run
from argen.gain.settings import GainSettings
from argen.gain.statistics import Estimate, Resamples, Seeds, closed, common, difference, mean_recalls, score
from argen.gain.verdict import HALF, WAR_POINT, Evidence, Verdict, judge
from argen.gain.worlds import read_world, real_counts
from argen.recogniser.scores import Recall, expected_calibration_error, mcnemar, wilson

BARS: Final = {"closed": f">= {HALF}", "over": "> 0", "war_cost": f"<= {WAR_POINT}"}


@dataclass(frozen=True)
class ArmFindings:
    """One arm over its finished seeds."""

    arm: Arm
    seeds: tuple[int, ...]
    uar: Estimate
    war: Estimate
    ece: float
    recalls: tuple[Recall, ...]
    gain: Estimate | None  # UAR minus the baseline's
    closed: Estimate | None
    p_value: float  # McNemar against the baseline, median over seeds
    added: Mapping[str, int]
    short: Mapping[str, int]
    per_seed: tuple[float, ...]  # UAR
    minutes: float  # of one training, processor time
    agreement: float  # share of the added clips that an independent judge gives their label; NaN: not judged


@dataclass(frozen=True)
class Findings:
    """All that was found."""

    classes: tuple[str, ...]
    test_clips: int
    test_people: int
    subjects_from: str  # "clip": who is in the clips is unknown, and each counts as a person
    planned_seeds: tuple[int, ...]
    arms: tuple[ArmFindings, ...]
    not_run: Mapping[str, str]
    sweep: tuple[tuple[float, str], ...]  # share -> arm's name, in order
    evidence: Evidence
    verdict: Verdict

    @property
    def people_known(self) -> bool:
        """Whether subjects are people."""
        return self.subjects_from != "clip"

    def of(self, name: str) -> ArmFindings | None:
        """An arm by name."""
        return next((found for found in self.arms if found.arm.name == name), None)


def find(experiment: Experiment) -> Findings:
    """Score every finished run. Raises UsageError: none is finished, or two had different real clips."""
    gain, arms = experiment.gain, every_arm(experiment.gain)
    results = {name: _results(experiment, arm) for name, arm in arms.items()}
    results = {name: found for name, found in results.items() if found}
    if not results:
        raise UsageError(f"{experiment.out}: no run is finished; run this without --report-only")
    every = [result for found in results.values() for result in found.values()]
    if len({result["test_clips"] for result in every}) > 1:
        raise UsageError(f"{experiment.out}: its runs were tested on different clips; they can't be compared")
    _check_real(experiment, arms, results)
    classes = every[0]["classes"]
    runs = {name: _read(experiment, arms[name], found, classes) for name, found in results.items()}
    first = next(iter(next(iter(runs.values())).values()))
    dataset = read_world(experiment)
    even = gain.world.data is None  # our worlds' test splits are; WAR is of the world as it is
    draws = Resamples(first, counts=real_counts(dataset) if even else None)
    found = tuple(_arm_findings(arms[name], runs, draws, results[name], gain) for name in runs)
    evidence = _evidence(gain, runs, draws)
    sweep = tuple((arm.share if arm.adds else 0.0, arm.name) for arm in sweep_of(gain) if arm.name in runs)
    return Findings(
        tuple(classes),
        len(first.ids),
        len(set(first.subjects)),
        dataset.subjects_from,
        gain.seeds,
        found,
        _not_run(gain, runs),
        sweep,
        evidence,
        judge(evidence),
    )


def figures(found: Findings) -> Iterator[dict[str, Any]]:
    """`name, value, low, high, n, bar`, as every benchmark prints them. What was not run is left out."""
    seen, n = found.evidence, found.test_clips
    if seen.closed is not None and np.isfinite(seen.closed.value):
        yield _figure("gain.closed", seen.closed, n, BARS["closed"], seen.closed.value >= HALF)
    for rival, margin in seen.over.items():
        yield _figure(f"gain.over_{rival}", margin, n, BARS["over"], margin.low > 0)
    if seen.war_cost is not None:
        yield _figure("gain.war_cost", seen.war_cost, n, BARS["war_cost"], seen.war_cost.value <= WAR_POINT)


def as_json(found: Findings) -> dict[str, Any]:
    """gain.json: one object an arm, the figures by name, the verdict in words."""
    return {
        "verdict": found.verdict.text,
        "word": found.verdict.word,
        "provisional": found.verdict.provisional,
        "judged": found.evidence.candidate,
        "test": {
            "clips": found.test_clips,
            "people": found.test_people if found.people_known else None,
            "classes": list(found.classes),
        },
        **{figure["name"]: figure for figure in figures(found)},
        "arms": {one.arm.name: _arm_json(one) for one in found.arms},
        "sweep": [{"share": share, "arm": name} for share, name in found.sweep],
        "not_run": dict(found.not_run),
    }


def _check_real(
    experiment: Experiment, arms: Mapping[str, Arm], results: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> None:
    """Refuse runs that trained on all real clips and nothing else, and did not train on the same ones."""
    whole = [name for name in results if arms[name].real and not arms[name].adds]
    seen = {
        result["training_clips"]: f"{name}, seed {seed}"
        for name in whole
        for seed, result in results[name].items()
    }
    if len(seen) > 1:
        one, other, *_ = seen.values()
        raise UsageError(
            f"{experiment.out}: {one} and {other} were trained on different real clips; they can't be "
            "compared; delete the arms of the older and run them again"
        )


def _results(experiment: Experiment, arm: Arm) -> dict[int, dict[str, Any]]:
    runs = [experiment.run(arm, seed) for seed in experiment.gain.seeds]
    return {run.seed: read_json(run.result) for run in runs if run.done}


def _read(experiment: Experiment, arm: Arm, seeds: Mapping[int, Any], classes: Sequence[str]) -> Seeds:
    return {seed: read_run(experiment.run(arm, seed), classes) for seed in seeds}


def _arm_findings(
    arm: Arm,
    runs: Mapping[str, Seeds],
    draws: Resamples,
    results: Mapping[int, Mapping[str, Any]],
    gain: GainSettings,
) -> ArmFindings:
    mine, base, top = runs[arm.name], runs.get(gain.verdict.baseline), runs.get(gain.verdict.ceiling)
    shared = common(mine, base) if base and arm.name != gain.verdict.baseline else []
    classes = next(iter(mine.values())).classes
    rows = zip(classes, mean_recalls(mine).tolist(), strict=True)
    last = results[max(results)]
    return ArmFindings(
        arm,
        tuple(sorted(mine)),
        score(draws, mine, "uar"),
        score(draws, mine, "war"),
        float(np.mean([expected_calibration_error(run.probabilities, run.truth) for run in mine.values()])),
        tuple(Recall(label, *wilson(right, total), total) for label, (right, total) in rows),
        difference(draws, mine, base) if base and shared else None,
        closed(draws, mine, base, top) if base and top and shared and common(mine, base, top) else None,
        float(np.median([mcnemar(mine[s], base[s])[2] for s in shared])) if base and shared else float("nan"),
        last["added"],
        _most([result["short"] for result in results.values()]),
        tuple(score(draws, {seed: mine[seed]}).value for seed in sorted(mine)),
        float(np.mean([result["processor_seconds"] for result in results.values()])) / 60,
        float(np.mean([result["agreement"].get("all", np.nan) for result in results.values()])),
    )


def _evidence(gain: GainSettings, runs: Mapping[str, Seeds], draws: Resamples) -> Evidence:
    rule = gain.verdict
    name = next((name for name in rule.candidates if name in runs), "")
    mine, base, top = runs.get(name), runs.get(rule.baseline), runs.get(rule.ceiling)
    rivals = {
        rival: runs[rival] for rival in rule.rivals if mine and rival in runs and common(mine, runs[rival])
    }
    better = rule.candidates[: rule.candidates.index(name)] if name else ()
    arms = arms_of(gain)
    waiting = [other for other in better if why_not(arms[other], gain) is None]  # could be run, is not yet
    no_ceiling = rule.ceiling in arms and why_not(arms[rule.ceiling], gain) is not None
    needed = [rule.baseline, *([] if no_ceiling else [rule.ceiling]), *rule.rivals]
    missing = [other for other in needed if not (mine and other in runs and common(mine, runs[other]))]
    both = bool(mine and base and common(mine, base))
    alone = {rival: runs[rival] for rival in rule.rivals if rival in runs and not arms[rival].adds}
    return Evidence(
        name,
        len(common(*(found for found in (mine, base, top, *rivals.values()) if found))),
        len(gain.seeds),
        (*waiting, *missing),
        difference(draws, top, base) if top and base and common(top, base) else None,
        difference(draws, mine, base) if mine and base and both else None,
        closed(draws, mine, base, top) if mine and base and top and common(mine, base, top) else None,
        {rival: difference(draws, mine, other) for rival, other in rivals.items()} if mine else {},
        difference(draws, base, mine, "war") if mine and base and both else None,
        no_ceiling,
        *_alone(draws, alone, base, top),
    )


def _alone(
    draws: Resamples, rivals: Mapping[str, Seeds], base: Seeds | None, top: Seeds | None
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """What rivals that add no clips gain, and what share of the distance they close."""
    if not base:
        return {}, {}
    gains = {name: difference(draws, one, base) for name, one in rivals.items() if common(one, base)}
    if not top:
        return gains, {}
    return gains, {
        name: closed(draws, rivals[name], base, top) for name in gains if common(rivals[name], base, top)
    }


def _not_run(gain: GainSettings, runs: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: why_not(arm, gain) or "not finished yet"
        for name, arm in arms_of(gain).items()
        if name not in runs
    }


def _most(shorts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Per class, the most that any seed lacked."""
    most: Counter[str] = Counter()
    for short in shorts:
        most |= Counter(short)
    return dict(most)


def _figure(name: str, value: Estimate, n: int, bar: str, met: bool) -> dict[str, Any]:
    return {"name": name, **value.as_dict(), "n": n, "bar": bar, "met": met}


def _known(value: float) -> float | None:
    """For JSON, which knows no NaN."""
    return round(value, 4) if np.isfinite(value) else None


def _arm_json(one: ArmFindings) -> dict[str, Any]:
    return {
        "title": one.arm.title,
        "seeds": list(one.seeds),
        "uar": one.uar.as_dict(),
        "war": one.war.as_dict(),
        "uar_per_seed": [round(value, 5) for value in one.per_seed],
        "ece": round(one.ece, 5),
        "recalls": {
            r.label: {"value": _known(r.value), "low": _known(r.low), "high": _known(r.high), "n": r.n}
            for r in one.recalls
        },
        "over_baseline": one.gain.as_dict() if one.gain else None,
        "mcnemar_p": None if np.isnan(one.p_value) else float(f"{one.p_value:.3g}"),
        "closed": one.closed.as_dict() if one.closed else None,
        "added": dict(one.added),
        "short": dict(one.short),
        "minutes": round(one.minutes, 2),
        "agreement": _known(one.agreement),
    }
