"""One arm with one seed: its training clips, a recogniser from nothing, what it says of the test split."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from argen.dataset.clip import Clip, Dataset
from argen.device import torch_device
from argen.gain.arms import Arm, every_arm
from argen.gain.folder import Experiment, Run, begin, read_json, write_json
from argen.gain.guards import check_adapter, check_independent, check_order, check_training, in_the_loop
from argen.gain.labels import judged
from argen.gain.pools import adapter_hash, chosen, draw, pool_folder, pool_recipe
from argen.gain.settings import REAL
from argen.gain.worlds import most_wanted, read_extra, read_world, real_counts
from argen.recogniser.frames import FrameCache
from argen.recogniser.predict import Predictions, predict
from argen.recogniser.training import train

log = logging.getLogger(__name__)
SET_FOR_POOLS: Final = {
    "generate": ("adapter",),
    "plan": ("classes", "strategy", "count", "budget"),
    "output": ("dropped", "real"),
}
"""Settings that every pool has the same of, whatever the recipe says, or that change no clip."""


@dataclass(frozen=True)
class Added:
    """What an arm trains on beside the real clips."""

    clips: tuple[Clip, ...]
    short: Mapping[str, int]  # clips that its pool could not give, per class
    loop: Mapping[str, str]  # what made and judged them


def do_run(experiment: Experiment, run: Run) -> None:
    """Train and predict; the result is written last. Goes on where it stopped; a finished run returns."""
    begin(run.begun, describe(experiment, run), f"{run.arm.name}, seed {run.seed}")
    if run.done:
        return
    dataset = read_world(experiment)
    classes, added = list(real_counts(dataset)), add(experiment, run, dataset)
    test = [clip for clip in dataset.clips if clip.split == "test"]
    clips = [*(dataset.sources if run.arm.real else ()), *added.clips]
    check_training(clips, test, classes, run.arm.name)
    check_independent(run.arm.settings, added.loop, run.arm.name)
    started, spent = time.perf_counter(), time.process_time()
    settings = replace(run.arm.settings, seed=run.seed)
    cache = FrameCache(experiment.out / "frames")
    checkpoint = train(settings, clips, classes, run.folder / "training", cache=cache)
    found = predict(checkpoint, test, cache, device=str(torch_device(settings.device)))
    check_order(found, classes, run.folder)
    found.save(run.predictions)
    write_json(
        run.result,
        {
            "classes": classes,
            "trained_on": dict(sorted(Counter(clip.label for clip in clips).items())),
            "added": dict(sorted(Counter(clip.label for clip in added.clips).items())),
            "short": dict(added.short),
            "training_clips": digest([clip.id for clip in clips]),
            "test_clips": digest([clip.id for clip in test]),
            "agreement": judged(added.clips, cache, experiment.recipe.face.reader, settings.size),
            "in_the_loop": dict(added.loop),
            "seconds": round(time.perf_counter() - started, 1),
            "processor_seconds": round(time.process_time() - spent, 1),
        },
    )
    shutil.rmtree(run.folder / "training", ignore_errors=True)  # a few megabytes a run, and never read again


def describe(experiment: Experiment, run: Run) -> dict[str, Any]:
    """All that decides a run: a finished one is taken for this one only if it was begun with the same."""
    gain, arm, deciding = experiment.gain, run.arm, experiment.recipe.deciding()
    described = {"world": gain.world.model_dump(mode="json"), "seed": run.seed, **arm.described()}
    described |= {"dataset": deciding["dataset"]}
    if arm.adds and arm.pool in gain.pools:
        pool = gain.pools[arm.pool]
        described |= {"made": {**_making(deciding), "pool": pool.settings}}
        described |= {"adapter": adapter_hash(gain.adapter) if pool.adapter else None}
    return described


def add(experiment: Experiment, run: Run, dataset: Dataset) -> Added:
    """The clips that an arm adds. Every arm of a share adds as many of each class."""
    arm, gain = run.arm, experiment.gain
    wanted = arm.wanted(real_counts(dataset))
    if not arm.adds or arm.pool is None:
        return Added((), {}, {})
    if arm.pool == REAL:
        return Added(*_draw_real(read_extra(experiment), run.seed, wanted), {})
    arms = list(every_arm(gain).values())
    folder = pool_folder(experiment, arm.pool, pool_recipe(experiment, arm.pool, arms, dataset))
    takers = [other for other in arms if other.pool == arm.pool]
    clips, short = draw(folder, arm, run.seed, wanted, most_wanted(dataset, takers))
    adapter = gain.adapter if gain.pools[arm.pool].adapter else None
    check_adapter(adapter, [clip for clip in dataset.clips if clip.split == "test"])
    if short:
        log.warning("%s: its pool is short: %s", arm.name, short)
    return Added(tuple(clips), short, in_the_loop(read_json(folder / "run.json")["models"], adapter))


def read_run(run: Run, classes: Sequence[str]) -> Predictions:
    """A finished run's predictions. Raises UsageError where its classes stand in another order."""
    found = Predictions.read(run.predictions)
    check_order(found, classes, run.predictions)
    return found


def runs_of(experiment: Experiment, arms: Mapping[str, Arm], seeds: Sequence[int]) -> list[Run]:
    """Every arm once before any gets its second seed, so that what is finished can be compared."""
    return [experiment.run(arm, seed) for seed in seeds for arm in arms.values()]


def digest(names: Sequence[str]) -> str:
    """Twelve hex digits of a set of clips."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]


def _making(deciding: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe decides a pool's clips: less what `pool_recipe` sets and where real clips lie."""
    made = {name: deciding[name] for name in ("seed", "face", "affect", "generate", "gate", "plan", "output")}
    for section, names in SET_FOR_POOLS.items():
        made[section] = {name: value for name, value in made[section].items() if name not in names}
    return made


def _draw_real(
    extra: Sequence[Clip], seed: int, wanted: Mapping[str, int]
) -> tuple[tuple[Clip, ...], dict[str, int]]:
    clips: list[Clip] = []
    short = {}
    for label, count in wanted.items():
        there = [clip for clip in extra if clip.label == label]
        clips += chosen(there, count, seed, label)
        if len(there) < count:
            short[label] = count - len(there)
    return tuple(clips), short
