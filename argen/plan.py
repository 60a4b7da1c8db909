"""The plan: how many clips of which class, resolved to plain numbers before any work; and its jobs.

The class's k-th job is always the same job, and a wave of jobs is a pure function of the records so
far. So any number of processes, stopped and started at any time, end with the same clips.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import numpy as np

from argen.config import PlanSettings, Recipe
from argen.dataset.clip import Clip, Dataset
from argen.errors import RecipeError, did_you_mean

Strategy = str | float | Mapping[str, int] | Callable[[Mapping[str, int]], Mapping[str, int]]
CALM = frozenset({"neutral", "calm"})
STRATEGIES = ("minority", "not minority", "not majority", "all", "auto", "median", "sqrt")


@dataclass(frozen=True)
class Job:
    """One clip to make. The id is a hash of what defines it, the seed a hash of (run seed, id)."""

    id: str
    label: str
    index: int  # the how-manieth job of its class; waves count on it
    source: str  # id of the source clip
    seed: int


@dataclass(frozen=True)
class Plan:
    """What a run will do. `add` is the whole truth; everything else explains it."""

    have: Mapping[str, int]
    add: Mapping[str, int]
    refused: Mapping[str, str]  # classes that were asked for and cannot be expanded -> why
    pools: Mapping[str, tuple[str, ...]]  # class -> ids of its source clips, in the order of use
    limits: Mapping[str, int]  # class -> most jobs before giving up
    seed: int
    making: str  # hash of the settings that decide what a job's clip looks like

    def job(self, label: str, index: int) -> Job:
        """The class's index-th job."""
        pool = self.pools[label]
        source = pool[index % len(pool)]
        identifier = _digest("job", self.making, label, source, str(index // len(pool)))[:16]
        return Job(
            identifier, label, index, source, int(_digest("seed", str(self.seed), identifier)[:15], 16)
        )

    def wave(self, outcomes: Mapping[str, Mapping[int, bool]]) -> list[Job]:
        """Jobs still missing from the present wave of every class, class by class.

        `outcomes[label][index]` says whether that job ended in a kept clip. The first wave has as many
        jobs as clips are wanted; each further one as many as are still short, up to the limit. Empty
        when every class has its clips or has used up its jobs.
        """
        jobs: list[Job] = []
        for label, wanted in self.add.items():
            done = outcomes.get(label, {})
            start, size, kept = 0, min(wanted, self.limits[label]), 0
            while size > 0:
                missing = [k for k in range(start, start + size) if k not in done]
                if missing:
                    jobs += [self.job(label, k) for k in missing]
                    break
                kept += sum(done[k] for k in range(start, start + size))
                start += size
                size = min(wanted - kept, self.limits[label] - start)
        return jobs

    def as_dict(self) -> dict[str, dict[str, int] | dict[str, str]]:
        """What --json prints."""
        return {"have": dict(self.have), "add": dict(self.add), "refused": dict(self.refused)}

    @cached_property
    def total(self) -> int:
        """Clips to add, over all classes."""
        return sum(self.add.values())


def make_plan(
    dataset: Dataset, recipe: Recipe, expandable: Callable[[str], str | None] | None = None
) -> Plan:
    """Resolve a recipe against a dataset.

    `expandable(label)` gives the reason why a class cannot be expanded, or None. Raises RecipeError where
    the strategy does not fit the data, and where nothing at all can be added.
    """
    settings, have = recipe.plan, dataset.counts("train")
    asked = _asked(have, settings)
    refused: dict[str, str] = {}
    pools: dict[str, tuple[str, ...]] = {}
    for label in [label for label, count in asked.items() if count > 0]:
        pools[label] = source_pool(dataset.train, label, settings, recipe.seed)
        why = expandable(label) if expandable else None
        if why is None and not pools[label]:
            why = "no training clip can be its source"
        if why is not None:
            refused[label] = why
    add = {label: count for label, count in asked.items() if count > 0 and label not in refused}
    if settings.max_per_source is not None:
        add = {label: min(count, settings.max_per_source * len(pools[label])) for label, count in add.items()}
    if settings.budget is not None:
        add = share_budget(add, settings.budget)
    if not add:
        reasons = "; ".join(f"{label}: {why}" for label, why in refused.items())
        raise RecipeError(f"plan: nothing to add: {reasons or 'the classes have what was asked for already'}")
    limits = {label: _limit(count, len(pools[label]), settings) for label, count in add.items()}
    kept_pools = {label: pools[label] for label in add}
    return Plan(have, add, refused, kept_pools, limits, recipe.seed, _making(recipe))


def resolve_strategy(have: Mapping[str, int], strategy: Strategy) -> dict[str, int]:
    """Class -> clips to add, by imbalanced-learn's `sampling_strategy` for over-sampling.

    A float is the ratio to the largest class; where imbalanced-learn takes it for two classes only, here
    every smaller class is raised to it. `median` raises to the median count, `sqrt` to the geometric mean
    of the class's count and the largest. Raises RecipeError by imbalanced-learn's rules.
    """
    largest = max(have.values())
    if callable(strategy):
        strategy = strategy(have)
    if isinstance(strategy, Mapping):
        return _totals(have, strategy)
    if isinstance(strategy, float | int):
        return _ratio(have, float(strategy))
    names = sorted(have)  # ties go to the first in the alphabet
    minority, majority = min(names, key=lambda k: have[k]), max(names, key=lambda k: have[k])
    chosen = {
        "minority": {minority},
        "not minority": set(have) - {minority},
        "not majority": set(have) - {majority},
        "auto": set(have) - {majority},
        "all": set(have),
        "median": set(have),
        "sqrt": set(have),
    }.get(strategy)
    if chosen is None:
        raise RecipeError(f"plan.strategy: unknown strategy '{strategy}'{did_you_mean(strategy, STRATEGIES)}")
    median = int(np.median(list(have.values())))
    target = {
        label: {"median": median, "sqrt": math.isqrt(n * largest)}.get(strategy, largest)
        for label, n in have.items()
    }
    return {label: max(target[label] - n, 0) if label in chosen else 0 for label, n in have.items()}


def source_pool(clips: Iterable[Clip], label: str, settings: PlanSettings, seed: int) -> tuple[str, ...]:
    """Ids of the clips whose faces may be used for a class, in the order of use.

    `calm` takes the neutral clips, then the class's own, and any other only where there are neither. Within
    each, subjects take turns, so that the first n jobs show as many people as there are. Synthetic clips
    are never sources.
    """
    real = [clip for clip in clips if not clip.synthetic]
    own = [clip for clip in real if clip.label == label]
    calm = [clip for clip in real if clip.label.casefold() in CALM and clip.label != label]
    ranks = {"same class": [own], "any": [real], "calm": [calm, own] if calm or own else [real]}[
        settings.sources
    ]
    order: list[str] = []
    for rank in ranks:
        by_subject: dict[str, list[str]] = {}
        for clip in sorted(rank, key=lambda c: _digest("source", str(seed), label, c.id)):
            by_subject.setdefault(clip.subject, []).append(clip.id)
        order += [
            clip_id for turn in zip_longest(*by_subject.values()) for clip_id in turn if clip_id is not None
        ]
    return tuple(order)


def share_budget(add: Mapping[str, int], budget: int) -> dict[str, int]:
    """Shrink a plan to a budget in proportion, by largest remainders; ties go to the rarer request."""
    total = sum(add.values())
    if total <= budget:
        return dict(add)
    exact = {label: count * budget / total for label, count in add.items()}
    shares = {label: math.floor(value) for label, value in exact.items()}
    by_remainder = sorted(add, key=lambda label: (shares[label] - exact[label], add[label], label))
    for label in by_remainder[: budget - sum(shares.values())]:
        shares[label] += 1
    return {label: count for label, count in shares.items() if count > 0}


def _asked(have: Mapping[str, int], settings: PlanSettings) -> dict[str, int]:
    if not have:
        raise RecipeError("plan: the dataset has no training clips")
    if settings.count is not None:
        return dict.fromkeys(settings.classes or have, settings.count)
    added = resolve_strategy(have, settings.strategy)
    unknown = [label for label in settings.classes if label not in added]
    if unknown:
        hint = did_you_mean(unknown[0], have)
        raise RecipeError(
            f"plan.classes: no training clips of '{unknown[0]}'{hint}; to add to none, give a count"
        )
    return {
        label: count for label, count in added.items() if not settings.classes or label in settings.classes
    }


def _totals(have: Mapping[str, int], totals: Mapping[str, int]) -> dict[str, int]:
    missing = sorted(set(totals) - set(have))
    if missing:
        hint = did_you_mean(missing[0], have)
        raise RecipeError(f"plan.strategy: no training clips of {', '.join(map(repr, missing))}{hint}")
    for label, total in totals.items():
        if total < have[label]:
            raise RecipeError(
                f"plan.strategy: '{label}' has {have[label]} clips and {total} are asked for; "
                "a total after augmentation cannot be smaller than what is there"
            )
    return {label: totals.get(label, n) - n for label, n in have.items()}


def _ratio(have: Mapping[str, int], ratio: float) -> dict[str, int]:
    if not 0 < ratio <= 1:
        raise RecipeError(f"plan.strategy: a ratio to the largest class lies in (0, 1], not {ratio}")
    majority = max(sorted(have), key=lambda k: have[k])
    wanted = int(have[majority] * ratio)
    added = {label: 0 if label == majority else max(wanted - n, 0) for label, n in have.items()}
    if not any(added.values()):
        raise RecipeError(
            f"plan.strategy: every class already has the ratio {ratio} to the largest; increase it"
        )
    return added


def _limit(count: int, sources: int, settings: PlanSettings) -> int:
    limit = math.ceil(count * settings.tries)
    return limit if settings.max_per_source is None else min(limit, settings.max_per_source * sources)


def _making(recipe: Recipe) -> str:
    deciding = recipe.deciding()
    made_by = {section: deciding[section] for section in ("face", "affect", "generate")}
    return _digest("making", json.dumps(made_by, sort_keys=True))[:16]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
