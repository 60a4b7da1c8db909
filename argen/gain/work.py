"""The units of an experiment and the processes that do them: any number, on one folder, at any time.

A unit is done by whoever holds its lock; locks die with their process. Done is what the disk says, so the
same command started again, elsewhere, or on another device takes what is left.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from argen.errors import ArgenError
from argen.gain.arms import Arm, choose, every_arm, why_not
from argen.gain.folder import Experiment, Run, begin
from argen.gain.pools import is_made, make_pool, pool_folder, pool_recipe
from argen.gain.runs import describe, do_run, runs_of
from argen.gain.settings import REAL, GainRecipe
from argen.gain.worlds import has_world, make_extra, make_world, read_world

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Unit:
    """Something to be done once."""

    name: str
    done: Callable[[], bool]
    do: Callable[[], None]
    needs: tuple[str, ...] = ()


def units_of(experiment: Experiment, arms: Mapping[str, Arm], seeds: Sequence[int]) -> list[Unit]:
    """What some arms and seeds take, in order: the world, what is drawn and generated, the runs."""
    runnable = {name: arm for name, arm in arms.items() if why_not(arm, experiment.gain) is None}
    whole = list(every_arm(experiment.gain).values())  # a pool serves all arms, whoever asks for it first
    units = [Unit("world", partial(has_world, experiment), partial(make_world, experiment))]
    pools = dict.fromkeys(arm.pool for arm in runnable.values() if arm.adds)
    for pool in pools:
        if pool == REAL:
            units.append(
                Unit("extra", experiment.extra.is_dir, partial(make_extra, experiment, whole), ("world",))
            )
        elif pool is not None:
            made, make = partial(_made, experiment, pool, whole), partial(_make, experiment, pool, whole)
            units.append(Unit(f"pool-{pool}", made, make, ("world",)))
    for run in runs_of(experiment, runnable, seeds):
        needs = ("extra" if run.arm.pool == REAL else f"pool-{run.arm.pool}",) if run.arm.adds else ()
        name = f"{run.arm.name}-{run.seed}"
        units.append(
            Unit(name, partial(_is_run, experiment, run), partial(do_run, experiment, run), ("world", *needs))
        )
    return units


def work(units: Sequence[Unit], locks: Path) -> None:
    """Do what is left, until nothing is, or the rest waits for what failed. Raises the first failure."""
    locks.mkdir(parents=True, exist_ok=True)
    done: set[str] = set()
    failures: dict[str, ArgenError] = {}
    while True:
        done |= {unit.name for unit in units if unit.name not in done and unit.done()}
        left = [unit for unit in units if unit.name not in done | set(failures)]
        ready = [unit for unit in left if done.issuperset(unit.needs)]
        if not ready:
            break
        # From the first again after each: what others wait for comes before what does not matter to them.
        if not any(_attempt(unit, locks, failures) for unit in ready):
            time.sleep(POLL_SECONDS)
    if failures:
        raise next(iter(failures.values()))


def work_together(experiment: Experiment, names: list[str] | None, seeds: Sequence[int], jobs: int) -> None:
    """`work` in several processes of this machine; this one is the first of them."""
    context = multiprocessing.get_context("spawn")  # forked processes would share torch's threads
    tree = experiment.recipe.model_dump(mode="json")
    arguments = (experiment.out, tree, names, tuple(seeds), jobs)
    others = [context.Process(target=_elsewhere, args=arguments, daemon=True) for _ in range(jobs - 1)]
    for process in others:
        process.start()
    try:
        _work_here(experiment, names, seeds, jobs)
    finally:
        for process in others:
            process.join()


def _elsewhere(
    out: Path, tree: dict[str, Any], names: list[str] | None, seeds: tuple[int, ...], jobs: int
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _work_here(Experiment(out, GainRecipe.model_validate(tree)), names, seeds, jobs)
    except ArgenError as error:
        log.error("%s", error)  # the first process meets the same and says it with its exit code
    except KeyboardInterrupt:
        pass


def _work_here(experiment: Experiment, names: list[str] | None, seeds: Sequence[int], jobs: int) -> None:
    if jobs > 1:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    arms = choose(names, every_arm(experiment.gain))
    work(units_of(experiment, arms, seeds), experiment.out / "locks")


def _attempt(unit: Unit, locks: Path, failures: dict[str, ArgenError]) -> bool:
    """Do a unit unless another process is at it; whether this one was."""
    lock = FileLock(locks / f"{unit.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        if not unit.done():
            started = time.perf_counter()
            unit.do()
            log.info("%s: done in %.0f s", unit.name, time.perf_counter() - started)
    except ArgenError as error:
        log.error("%s: %s", unit.name, error)
        failures[unit.name] = error
    finally:
        lock.release()
    return True


def _is_run(experiment: Experiment, run: Run) -> bool:
    """Whether a run is finished; one that was begun otherwise is refused, finished or not."""
    if run.begun.is_file():
        begin(run.begun, describe(experiment, run), f"{run.arm.name}, seed {run.seed}")
    return run.done


def _made(experiment: Experiment, pool: str, arms: Sequence[Arm]) -> bool:
    if not experiment.world.is_dir():
        return False
    dataset = read_world(experiment)
    return is_made(pool_folder(experiment, pool, pool_recipe(experiment, pool, arms, dataset)))


def _make(experiment: Experiment, pool: str, arms: Sequence[Arm]) -> None:
    dataset = read_world(experiment)
    recipe = pool_recipe(experiment, pool, arms, dataset)
    make_pool(pool_folder(experiment, pool, recipe), dataset, recipe)
