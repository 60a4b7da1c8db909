"""One figure = one JSON object; a benchmark is a function that yields figures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np


@dataclass(frozen=True)
class Figure:
    """A measured value with its interval; `bar` is what the project asks of it, as text.

    ">= 150", "<= 2" and "== 0" are asked of the value, "> 0" of the whole interval.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    bar: str = ""
    seeds: tuple[int, ...] = field(default=())

    @property
    def met(self) -> bool | None:
        """Whether the value meets the bar; None without one."""
        if not self.bar:
            return None
        sign, number = self.bar.split()
        bound = float(number)
        return {
            ">=": self.value >= bound,
            "<=": self.value <= bound,
            "==": self.value == bound,
            ">": self.low > bound,
        }[sign]


def bootstrap(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,
    seed: int = 0,
    draws: int = 2000,
) -> tuple[float, float, float]:
    """Value and 95 % percentile interval of a statistic by resampling."""
    sample = np.asarray(values, float)
    rng = np.random.default_rng(seed)
    resampled = [float(statistic(rng.choice(sample, len(sample)))) for _ in range(draws)]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(statistic(sample)), float(low), float(high)


def main(measure: Callable[[bool], Iterable[Figure]], description: str) -> None:
    """Command line of every benchmark: `--quick` for under a minute, `--json` for one object a line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer samples, under a minute")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    if not arguments.json:
        print(f"{'figure':<34}{'value':>12}{'95 % interval':>26}{'n':>8}  bar")
    for figure in measure(arguments.quick):
        if arguments.json:
            print(json.dumps(asdict(figure)), flush=True)
            continue
        interval = f"{figure.low:.4g} .. {figure.high:.4g}"
        mark = {True: "met", False: "MISSED", None: ""}[figure.met]
        print(
            f"{figure.name:<34}{figure.value:>12.4g}{interval:>26}{figure.n:>8}  {figure.bar} {mark}",
            flush=True,
        )
    sys.stdout.flush()
