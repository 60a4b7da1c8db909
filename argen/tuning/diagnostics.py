"""What an iteration is like, in numbers that tell early whether it can work."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import Parameter

from argen.errors import RecipeError
from argen.tuning.advantage import Advantages, Rewards, conflict

log = logging.getLogger(__name__)

RATIO_TOLERANCE = {"cpu": 0.0}
"""Largest deviation of the ratio from 1 before an update; other devices may round anew: 1e-3."""


@dataclass(frozen=True)
class Report:
    """One iteration: its number, and every diagnostic by name."""

    iteration: int
    values: Mapping[str, float]

    def line(self) -> str:
        """The few that matter, for a log."""
        keys = [key for key in self.values if key.startswith("reward/")]
        told = ("gate_rate", "idle_groups", "ratio_deviation", "kl", "seconds")
        keys += [key for key in told if key in self.values]
        return f"{self.iteration}: " + "  ".join(f"{key} {self.values[key]:.4g}" for key in keys)


class Meter:
    """Collects the diagnostics of one iteration."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._seconds: dict[str, float] = defaultdict(float)
        self._squares: dict[int, float] = defaultdict(float)

    def add(self, name: str, value: float) -> None:
        """One more value of a mean."""
        self._sums[name].append(value)

    def mean(self, name: str) -> float:
        """Mean of the values so far; 0 without any."""
        return sum(self._sums[name]) / max(len(self._sums[name]), 1)

    def highest(self, name: str, value: float) -> None:
        """One more value of a maximum."""
        self._sums[name] = [max([value, *self._sums[name]])]

    def ratio(self, ratio: Float32[Tensor, "b"], *, untouched: bool) -> None:
        """The largest deviation from 1 before this iteration's updates.

        Raises RecipeError where there is one though the weights are still `untouched`.
        """
        deviation = float((ratio - 1).abs().max())
        self.highest("ratio_deviation", deviation)
        if untouched and not deviation <= RATIO_TOLERANCE.get(ratio.device.type, 1e-3):
            raise RecipeError(
                f"tune: before any update the probability ratio is off 1 by {deviation:.1e}: a replay isn't "
                "its rollout (dropout, a dtype, an argument that changes between calls); nothing was trained"
            )

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the seconds of a part."""
        start = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - start

    @contextmanager
    def gradient_of_step(self, index: int, weights: Mapping[str, Parameter]) -> Iterator[None]:
        """Note how much gradient a denoising step adds: steps that shout show the schedule's scaling."""
        before = {name: weight.grad for name, weight in weights.items()}
        for weight in weights.values():
            weight.grad = None
        yield
        added = [weight.grad for weight in weights.values() if weight.grad is not None]
        if added:
            self._squares[index] += float(torch.nn.utils.get_total_norm(added)) ** 2
        for name, weight in weights.items():
            old = before[name]
            if old is not None:
                weight.grad = old if weight.grad is None else old.add_(weight.grad)

    def scores(self, rewards: Rewards, advantages: Advantages) -> None:
        """Rewards, gates and groups of the iteration, over all processes."""
        for name, values in rewards.items():
            known = values[values.isfinite()]
            self.add(f"reward/{name}", float(known.mean()) if len(known) else float("nan"))
            self.add(f"spread/{name}", float(known.std(correction=0)) if len(known) else float("nan"))
            self.add(f"idle_groups/{name}", float(advantages.idle[name]))
        self.add("gate_rate", advantages.gated / len(advantages.values))
        self.add("idle_groups", float(advantages.idle_groups))
        if not advantages.values.any():
            log.warning("no group's clips differed, so nothing is learnt")
        for pair, cosine in conflict(advantages.parts).items():
            self.add(f"conflict/{pair}", cosine)

    def report(self, iteration: int) -> Report:
        """Everything that was collected."""
        values = {name: sum(found) / len(found) for name, found in self._sums.items()}
        values |= {f"gradient_of_step/{i}": square**0.5 for i, square in sorted(self._squares.items())}
        values |= {f"seconds/{name}": spent for name, spent in self._seconds.items()}
        return Report(iteration, values | {"seconds": sum(self._seconds.values())})
