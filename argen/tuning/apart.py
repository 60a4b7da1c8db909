"""Scoring in processes beside: clips are judged while the next are made, perhaps on a device of their own."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from torch import Tensor

from argen.config import FaceSettings
from argen.errors import EnvironmentFault, RecipeError
from argen.face.reader import load_reader
from argen.face.track import FaceReader, FaceTrack
from argen.tuning.scoring import Case, Measure, Pending, Scorer, Scores, load_scorer

Make = Callable[[], Scorer]
"""Makes the scorer in a process beside; a function of a module, or a partial of one."""


@dataclass(frozen=True)
class ScorerApart(Scorer):
    """A scorer that is asked like any other, and answers from a process beside."""

    pool: ProcessPoolExecutor = field(kw_only=True)

    def __call__(self, frames: Float32[Tensor, "B T 3 H W"], case: Case, steps: int) -> Scores:
        """Wait for the scores. Raises as the scorer itself does, or EnvironmentFault if its process died."""
        return self.later(frames, case, steps)()

    def later(self, frames: Float32[Tensor, "B T 3 H W"], case: Case, steps: int) -> Pending:
        """Begin to score; the call of what is given waits for it."""
        bare = replace(case, call={})  # nothing there is judged, and not all of it travels
        try:
            future = self.pool.submit(_score, frames.cpu().numpy(), bare, steps)
        except BrokenProcessPool as error:
            raise _died() from error

        def wait() -> Scores:
            try:
                return future.result()
            except BrokenProcessPool as error:
                raise _died() from error

        return wait


@contextmanager
def apart(scorer: Scorer, make: Make, processes: int) -> Iterator[Scorer]:
    """`scorer`, but in so many processes beside; each makes its own, once. 0: here, as it is."""
    if processes == 0:
        yield scorer
        return
    # Spawned: a fork would inherit locks of threads that it lacks, and a GPU that it can't use.
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (make,)) as pool:
        yield ScorerApart(scorer.rewards, scorer.gates, None, scorer.constants, scorer.device, pool=pool)


def scorer_with_reader(
    face: FaceSettings,
    rewards: Mapping[str, float],
    gates: Mapping[str, float],
    constants: Mapping[str, Any],
    device: str | None,
) -> Scorer:
    """The scorer of a recipe with a reader of its own, on the device of the rewards where it can."""
    measure = measured_by(load_reader(face, device or "cpu"))
    return load_scorer(rewards, gates, measure, constants, device)


def measured_by(reader: FaceReader) -> Measure:
    """A reader that is told the source's calm face; cases need the column `origin`."""

    def measure(frames: UInt8[ndarray, "T H W 3"], case: Case) -> FaceTrack:
        return reader(frames, case.columns["origin"].action_units)

    return measure


def check_device(name: str | None) -> None:
    """Raise RecipeError for a device of the rewards that isn't there."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"tune.reward_device: no device '{name}' here; write cpu, cuda or cuda:1"
        ) from error


def _as_dict(mapping: MappingProxyType[Any, Any]) -> tuple[Callable[..., Any], tuple[dict[Any, Any]]]:
    return _as_proxy, (dict(mapping),)


def _as_proxy(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


copyreg.pickle(MappingProxyType, _as_dict)  # a clip's columns are one, and travel with the case
_makers: list[Make] = []  # of a process beside
_scorers: list[Scorer] = []


def _prepare(make: Make) -> None:
    _makers.append(make)


def _score(frames: Float32[ndarray, "B T 3 H W"], case: Case, steps: int) -> Scores:
    if not _scorers:
        _scorers.append(_makers[0]())  # here and not at the start, so that what it raises arrives
    return _scorers[0](torch.from_numpy(np.ascontiguousarray(frames)), case, steps)


def _died() -> EnvironmentFault:
    return EnvironmentFault(
        "tune.reward_processes: a process of the rewards died (out of memory?); the last checkpoint is "
        "intact, so run again, with fewer processes or 0"
    )
