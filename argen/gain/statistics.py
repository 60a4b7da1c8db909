"""What the runs say: averages over seeds with intervals that cover people and training luck alike.

One resampling serves every figure. A draw takes test subjects with replacement and, of the seeds that the
arms in question share, as many with replacement; every arm sees the same draw, so differences are paired.
What the draw of seeds moves is stretched, as few seeds drawn from themselves spread too little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from argen.errors import UsageError
from argen.recogniser.predict import Predictions
from argen.recogniser.scores import aligned, stretch

DRAWS: Final = 4000
Metric = Literal["uar", "war"]
Seeds = Mapping[int, Predictions]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which knows no NaN; five digits are more than the interval allows."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: round(value, 5) if np.isfinite(value) else None for name, value in numbers.items()}


class Resamples:
    """Draws of test subjects, the same for every arm. Rows are the clips of the first run.

    `counts` are clips per class as they naturally occur: what WAR weighs recalls by where the test split was
    made even. Without them it is the share of right clips.
    """

    def __init__(
        self,
        first: Predictions,
        draws: int = DRAWS,
        seed: int = 0,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self.first = first
        self._natural = None if counts is None else np.array([counts[name] for name in first.classes], float)
        truth, classes = first.truth, len(first.classes)
        self._of_class = np.eye(classes)[truth]  # [N, C]
        _, group = np.unique(np.asarray(first.subjects), return_inverse=True)
        rng = np.random.default_rng(seed)
        people = int(group.max()) + 1
        picks = rng.multinomial(people, np.full(people, 1 / people), size=draws)
        ones = np.ones((1, len(truth)))
        self._weights = np.concatenate([ones, picks[:, group]])  # row 0: the clips as they are
        self._totals = self._weights @ self._of_class
        self._rng_seed = seed + 1

    def curve(self, runs: Sequence[Predictions], metric: Metric) -> Float64[ndarray, "S D"]:
        """The metric of each run under every draw; column 0 without resampling."""
        return np.stack([self._one(run, metric) for run in runs])

    def averaged(self, curves: Float64[ndarray, "S D"]) -> Float64[ndarray, "D"]:
        """Mean over seeds; in every column but the first, over drawn seeds, stretched."""
        seeds, draws = curves.shape
        rng = np.random.default_rng(self._rng_seed)  # the same choice of seeds for every arm
        picks = rng.integers(seeds, size=(seeds, draws))
        picks[:, 0] = np.arange(seeds)
        middle, drawn = curves.mean(axis=0), np.take_along_axis(curves, picks, axis=0).mean(axis=0)
        return np.asarray(middle + (drawn - middle) * stretch(seeds), np.float64)

    def _one(self, run: Predictions, metric: Metric) -> Float64[ndarray, "D"]:
        same = aligned(self.first, run)
        right = self._of_class * (same.said == self.first.truth)[:, None]
        hits = self._weights @ right
        if metric == "war" and self._natural is None:
            return np.asarray(hits.sum(axis=1) / self._totals.sum(axis=1), np.float64)
        there = self._totals > 0
        recall = np.divide(hits, self._totals, out=np.zeros_like(hits), where=there)
        natural = self._natural if metric == "war" and self._natural is not None else np.ones(hits.shape[1])
        return np.asarray(recall @ natural / (there @ natural), np.float64)


def common(*arms: Seeds) -> list[int]:
    """Seeds that all of some arms have."""
    return sorted(set.intersection(*(set(arm) for arm in arms))) if arms else []


def score(draws: Resamples, arm: Seeds, metric: Metric = "uar") -> Estimate:
    """An arm's average over its seeds; a stretched draw is not let out of 0..1."""
    return _estimate(np.clip(_average(draws, arm, sorted(arm), metric), 0, 1))


def difference(draws: Resamples, arm: Seeds, other: Seeds, metric: Metric = "uar") -> Estimate:
    """How much better an arm is than another, over the seeds that both have. Raises UsageError for none."""
    seeds = _need(common(arm, other))
    return _estimate(_average(draws, arm, seeds, metric) - _average(draws, other, seeds, metric))


def closed(draws: Resamples, arm: Seeds, baseline: Seeds, ceiling: Seeds) -> Estimate:
    """Share of the distance in UAR between baseline and ceiling that an arm closes.

    NaN where there is no distance. The interval is that of a ratio: wide where the distance is small.
    """
    seeds = _need(common(arm, baseline, ceiling))
    low, top, mine = (_average(draws, runs, seeds, "uar") for runs in (baseline, ceiling, arm))
    room = top - low
    with np.errstate(divide="ignore", invalid="ignore"):
        return _estimate(np.where(np.abs(room) > 1e-9, (mine - low) / room, np.nan))


def mean_recalls(arm: Seeds) -> Int64[ndarray, "C 2"]:
    """Per class: clips that are right on average over seeds (rounded), and clips."""
    runs = list(arm.values())
    truth, classes = runs[0].truth, len(runs[0].classes)
    right = np.mean([np.bincount(truth[_right(runs[0], run)], minlength=classes) for run in runs], axis=0)
    return np.stack([np.rint(right), np.bincount(truth, minlength=classes)], axis=1).astype(np.int64)


def _right(first: Predictions, run: Predictions) -> ndarray:
    return np.asarray(aligned(first, run).said == first.truth)


def _average(draws: Resamples, arm: Seeds, seeds: Sequence[int], metric: Metric) -> Float64[ndarray, "D"]:
    return draws.averaged(draws.curve([arm[seed] for seed in seeds], metric))


def _estimate(values: Float64[ndarray, "D"]) -> Estimate:
    drawn = values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return Estimate(float(values[0]), float("nan"), float("nan"))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(values[0]), float(low), float(high))


def _need(seeds: list[int]) -> list[int]:
    if not seeds:
        raise UsageError("two arms without a common seed cannot be compared; run them with the same --seeds")
    return seeds
