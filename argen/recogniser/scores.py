"""What a recogniser's predictions are worth, and whether one is better than another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from argen.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from argen.recogniser.predict import Predictions

Metric: TypeAlias = Callable[[Int[ndarray, "N"], Int[ndarray, "N"], int], float]
"""True classes, said classes, number of classes -> a number; `uar` and `war` are two."""
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Recall:
    """Recall of one class with its 95 % Wilson interval; NaN where the class has no clips."""

    label: str
    value: float
    low: float
    high: float
    n: int


def war(truth: Int[ndarray, "N"], said: Int[ndarray, "N"], classes: int) -> float:
    """Weighted average recall: the share of clips that are right, 0..1."""
    return float(np.mean(truth == said)) if len(truth) else float("nan")


def uar(truth: Int[ndarray, "N"], said: Int[ndarray, "N"], classes: int) -> float:
    """Unweighted average recall, 0..1: the mean of the classes' recalls, over classes that have clips."""
    total = np.bincount(truth, minlength=classes)
    right = np.bincount(truth[truth == said], minlength=classes)
    there = total > 0
    return float(np.mean(right[there] / total[there])) if there.any() else float("nan")


def confusion(truth: Int[ndarray, "N"], said: Int[ndarray, "N"], classes: int) -> Int[ndarray, "C C"]:
    """Clips by true class (row) and said class (column)."""
    return np.bincount(truth * classes + said, minlength=classes * classes).reshape(classes, classes)


def recalls(truth: Int[ndarray, "N"], said: Int[ndarray, "N"], labels: Sequence[str]) -> list[Recall]:
    """Recall per class, in the order of `labels`."""
    table = confusion(truth, said, len(labels))
    return [
        Recall(label, *wilson(int(table[i, i]), int(table[i].sum())), int(table[i].sum()))
        for i, label in enumerate(labels)
    ]


def wilson(right: int, total: int) -> tuple[float, float, float]:
    """A share and its 95 % interval (Wilson 1927), which stays inside 0..1."""
    if total == 0:
        return float("nan"), float("nan"), float("nan")
    share, z2 = right / total, NORMAL_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = NORMAL_95 / (1 + z2 / total) * np.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low = 0.0 if right == 0 else max(0.0, float(centre - half))
    return share, low, 1.0 if right == total else min(1.0, float(centre + half))


def expected_calibration_error(
    probabilities: Float[ndarray, "N C"], truth: Int[ndarray, "N"], bins: int = 15
) -> float:
    """Mean distance of confidence from accuracy over equal bins, weighted by clips (Guo 2017); 0..1."""
    if not len(truth):
        return float("nan")
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(float(sure[place == b].sum()) - float(right[place == b].sum())) for b in range(bins)]
    return sum(gaps) / len(truth)


def paired_bootstrap(
    a: Predictions | Sequence[Predictions],
    b: Predictions | Sequence[Predictions],
    metric: Metric = uar,
    *,
    draws: int = 2000,
    seed: int = 0,
    cluster: Sequence[str] | None = None,
) -> tuple[float, float, float]:
    """`metric(a) - metric(b)` and its 95 % percentile interval over resampled subjects.

    Both hold the same clips in any order. With several runs (seeds) a side, as many on both, the difference
    is the mean over pairs, and runs are resampled too: the interval covers people and training luck, the
    latter's share stretched (`stretch`).
    `cluster` names each clip's group, in the order of the first run of `a`; default: its subjects.
    Raises UsageError where the runs are not of the same clips and classes.
    """
    left, right = _runs(a), _runs(b)
    if len(left) != len(right):
        raise UsageError(f"a pair needs as many runs on both sides, not {len(left)} and {len(right)}")
    first = left[0]
    truth = first.truth
    said = [tuple(aligned(first, run).said for run in pair) for pair in zip(left, right, strict=True)]
    groups = _rows_of(first.subjects if cluster is None else cluster, len(truth))
    count = len(first.classes)

    def differences(rows: Int[ndarray, "R"]) -> Float[ndarray, "S"]:
        here = truth[rows]
        return np.array([metric(here, x[rows], count) - metric(here, y[rows], count) for x, y in said])

    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(draws):
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        each, runs = differences(rows), rng.integers(len(said), size=len(said))
        resampled.append(each.mean() + stretch(len(said)) * (each[runs].mean() - each.mean()))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(differences(np.arange(len(truth))).mean()), float(low), float(high)


def stretch(runs: int) -> float:
    """What makes a mean of S runs drawn from S spread as a mean of S other runs would: √(S / (S - 1))."""
    return math.sqrt(runs / (runs - 1)) if runs > 1 else 1.0


def mcnemar(a: Predictions, b: Predictions) -> tuple[int, int, float]:
    """Clips only `a` has right, clips only `b` has right, and the exact two-sided p-value (McNemar 1947).

    It takes clips as independent: with several clips a subject the p-value is too small; read the interval.
    """
    from scipy.stats import binomtest

    truth, said_a, said_b = a.truth, a.said, aligned(a, b).said
    only_a = int(np.sum((said_a == truth) & (said_b != truth)))
    only_b = int(np.sum((said_a != truth) & (said_b == truth)))
    if only_a + only_b == 0:
        return 0, 0, 1.0
    return only_a, only_b, float(binomtest(only_a, only_a + only_b).pvalue)


def aligned(a: Predictions, b: Predictions) -> Predictions:
    """`b` with its rows and classes in the order of `a`. Raises UsageError where it cannot be."""
    if set(a.classes) != set(b.classes):
        odd = sorted(set(a.classes) ^ set(b.classes))
        raise UsageError(f"the runs differ in classes: {odd[0]} is in one of them only")
    place = {name: row for row, name in enumerate(b.ids)}
    missing = [name for name in a.ids if name not in place]
    if missing or len(a.ids) != len(b.ids):
        odd_one = missing[0] if missing else sorted(set(b.ids) - set(a.ids))[0]
        hint = did_you_mean(odd_one, place) if missing and len(place) < 1000 else ""
        raise UsageError(f"the runs are not of the same clips: '{odd_one}' is in one of them only{hint}")
    rows = [place[name] for name in a.ids]
    moved = b.take(rows).reordered(a.classes)
    if moved.labels != a.labels:
        row = next(i for i, (x, y) in enumerate(zip(a.labels, moved.labels, strict=True)) if x != y)
        raise UsageError(
            f"the runs disagree on the truth: '{a.ids[row]}' is {a.labels[row]} and {moved.labels[row]}"
        )
    return moved


def _runs(runs: Predictions | Sequence[Predictions]) -> Sequence[Predictions]:
    return runs if isinstance(runs, (list, tuple)) else [runs]  # type: ignore[list-item]


def _rows_of(names: Sequence[str], count: int) -> list[Int[ndarray, "K"]]:
    if len(names) != count:
        raise UsageError(f"cluster: {len(names)} names for {count} clips")
    _, group = np.unique(np.asarray(names), return_inverse=True)
    return np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
