"""Tuned adapters on people that nothing was trained on, scored by the judge that no training may ask.

One adapter a seed, made by `pipelines/tune.py --config configs/tune/puppets.yaml` in
demo/puppets-tuned/seed0 .. seed2, and made here where it is not there yet: 40 to 75 minutes of a core each,
or, for `--quick`, a few iterations, which show that the program works and not what tuning is worth.
Tuned and untuned model get the same sources, captions and first noise, so their clips are compared in pairs.
The tuned ones are called as the recipe's header says, without guidance; the untuned model with its own
defaults, eight steps and guidance 5, or in fewer steps with the same guidance. Gains at equal steps are at
the two that the recipe tunes for; those in eight are given beside them. Identity, recall and coverage are
those of two tuned steps against the untuned default, which they are to replace.

The recipe was chosen with the chooser and the puppets' reader, on clips of other people; but the judge has
been shown several recipes on the first 315 of these clips, of which none did better than the shipped one by a
hundredth. The number of people was settled before the other 630 were looked at.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import repeat
from pathlib import Path
from typing import Literal

import numpy as np
from diffusers import LTXImageToVideoPipeline
from jaxtyping import Float
from numpy import ndarray

from argen.generate.adapter import load_adapter
from argen.puppets.animate import GUIDANCE, STEPS, animate, load_embedded
from argen.puppets.examiner import Judgement
from argen.puppets.expressions import BASIC
from argen.puppets.footage import Footage, shoot
from argen.puppets.judge import Judge
from argen.puppets.world import write_dataset
from benchmarks.embedded import caption_of
from benchmarks.figures import Figure, main

ROOT = Path(__file__).parents[1]
FOLDER, DATA = ROOT / "demo/puppets-tuned", ROOT / "demo/puppets-balanced"
FEWER = (2,)  # numbers of steps within a third of the default; the first is what the recipe tunes for
CALLED_WITH = 1.0  # guidance of what is tuned, see the head of configs/tune/puppets.yaml
DRAWS = 2000
ASKED = ("agreement", "au")  # of the differences those that have a bar; the third only says how sure they are
QUICK = (  # settings for a run of seconds
    "plan.count=2", "tune.iterations=1", "tune.prompts=1", "tune.updates=1",
    "tune.evaluate_jobs=1", "tune.evaluate_every=1", "tune.reference.num_inference_steps=2",
)  # fmt: skip


@dataclass(frozen=True)
class Tuned:
    """One adapter and the seed of its run."""

    adapter: Path
    seed: int


@dataclass(frozen=True)
class Marks:
    """What the judge says of one model's clips, a row a target."""

    right: Float[ndarray, "n"]  # 1 where the judge names the label that was asked for
    log_probability: Float[ndarray, "n"]  # of that label, in nats: finer than right or wrong
    apex: Float[ndarray, "n 20"]  # Action Units at the target's apex
    likeness: Float[ndarray, "n"]  # cosine between the clip's and the source's identity
    course: Float[ndarray, "n d"]  # Action Units over time, for diversity


def measure(quick: bool) -> Iterator[Figure]:
    """All figures of issue 4 about the embedded checkpoint."""
    yield from compare(adapters(quick), 1 if quick else 135, FEWER)


def compare(tuned: Sequence[Tuned], people: int, fewer: Sequence[int]) -> Iterator[Figure]:
    """Some adapters against the untuned model, on every emotion `people` times; a process a core."""
    seeds = tuple(one.seed for one in tuned)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(judged_at, [None, *tuned], repeat(people), repeat((STEPS, *fewer))))
    targets = targets_of(people)
    judge = Judge()
    real = marks([judge(target.frames) for target in targets], targets)
    wanted = np.array([target.act.units for target in targets])
    untuned, after = found[0][STEPS], [one[STEPS] for one in found[1:]]
    plain = {steps: found[0][steps] for steps in fewer}
    short = {steps: [one[steps] for one in found[1:]] for steps in fewer}
    few = fewer[0]
    yield from steps_ratios(short, plain, untuned, wanted, seeds)
    yield from gains(short[few], plain[few], wanted, seeds)
    yield from gains(after, untuned, wanted, seeds, f".{STEPS}_steps")
    yield likeness_change(short[few], untuned, seeds)
    yield from spread(short[few], untuned, real, seeds)


def targets_of(people: int, first: int = 50_000) -> list[Footage]:
    """What is asked for: clips of people that nothing was trained on, from a number on."""
    return [
        shoot("evaluation", first + 7 * person + i, emotion, "neutral", 0.4)
        for person in range(people)
        for i, emotion in enumerate(BASIC)
    ]


def judged_at(one: Tuned | None, people: int, steps: Sequence[int]) -> dict[int, Marks]:
    """What the judge says of one model at each number of steps; None is the untuned model."""
    import torch

    torch.set_num_threads(1)
    pipe, judge, targets = load_embedded(), Judge(), targets_of(people)
    if one:
        load_adapter(pipe, one.adapter)
    guidance = CALLED_WITH if one else GUIDANCE
    return {count: clips_judged(pipe, judge, targets, count, guidance) for count in steps}


def steps_ratios(
    tuned: Mapping[int, Sequence[Marks]],
    plain: Mapping[int, Marks],
    untuned: Marks,
    wanted: Float[ndarray, "n 20"],
    seeds: tuple[int, ...],
) -> Iterator[Figure]:
    """Fewest steps that match the untuned model's default in agreement and in correlation, over that default.

    Once for the tuned models, once for the untuned one itself: what fewer steps cost without any tuning.
    """
    for name, models, bar in (
        ("tuned.steps_ratio", tuned, "<= 0.3334"),
        ("tuned.steps_ratio.untuned", {steps: [marks] for steps, marks in plain.items()}, ""),
    ):

        def ratio(rows: ndarray, chosen: ndarray, models: Mapping[int, Sequence[Marks]] = models) -> float:
            for steps in sorted(models):
                some = [models[steps][i % len(models[steps])] for i in chosen]
                if _change("right", some, untuned, rows) >= 0 and _units(some, untuned, rows, wanted) >= 0:
                    return steps / STEPS
            return 1.0

        found = resampled(ratio, len(wanted), len(seeds), 400, smooth=False)
        yield Figure(name, *found, len(wanted), bar, seeds)
    for steps, group in tuned.items():
        for end, some, own in (("", group, seeds), (".untuned", [plain[steps]], ())):
            for name, statistic in differences(some, untuned, wanted):
                found = resampled(statistic, len(wanted), len(some), 400)
                yield Figure(f"tuned.{name}_against_default.{steps}_steps{end}", *found, len(wanted), "", own)


def gains(
    tuned: Sequence[Marks],
    untuned: Marks,
    wanted: Float[ndarray, "n 20"],
    seeds: tuple[int, ...],
    end: str = "",
) -> Iterator[Figure]:
    """At equal numbers of steps, tuned less untuned: what `differences` tells."""
    for name, statistic in differences(tuned, untuned, wanted):
        found = resampled(statistic, len(wanted), len(seeds))
        bar = "" if end or name not in ASKED else "> 0"
        yield Figure(f"tuned.{name}_gain{end}", *found, len(wanted), bar, seeds)


def likeness_change(tuned: Sequence[Marks], untuned: Marks, seeds: tuple[int, ...]) -> Figure:
    """How much likelier its source a tuned clip is than an untuned one."""
    count = len(untuned.likeness)
    found = resampled(likeness(tuned, untuned), count, len(seeds))
    return Figure("tuned.identity_change", *found, count, ">= 0", seeds)


def spread(tuned: Sequence[Marks], untuned: Marks, real: Marks, seeds: tuple[int, ...]) -> Iterator[Figure]:
    """Recall and coverage of rendered Action Unit courses (prdc): tuned over untuned, less 1."""
    before = diversity(real, untuned)
    after = [diversity(real, marks) for marks in tuned]
    for place, name in enumerate(("recall", "coverage")):
        changes = [found[place] / max(before[place], 1e-9) - 1 for found in after]
        value = float(np.mean(changes))
        yield Figure(
            f"tuned.{name}_change", value, min(changes), max(changes), len(changes), ">= -0.1", seeds
        )


Statistic = Callable[[ndarray, ndarray], float]
"""Of rows (targets) and of chosen models (seeds)."""


def likeness(models: Sequence[Marks], untuned: Marks) -> Statistic:
    """Models less untuned: how like its source a clip is."""
    return lambda rows, chosen: _change("likeness", [models[i] for i in chosen], untuned, rows)


def differences(
    models: Sequence[Marks], untuned: Marks, wanted: Float[ndarray, "n 20"]
) -> tuple[tuple[str, Statistic], ...]:
    """Models less untuned, by name: agreement, correlation of units, log-probability of the label."""

    def agreement(rows: ndarray, chosen: ndarray) -> float:
        return _change("right", [models[i] for i in chosen], untuned, rows)

    def units(rows: ndarray, chosen: ndarray) -> float:
        return _units([models[i] for i in chosen], untuned, rows, wanted)

    def log_probability(rows: ndarray, chosen: ndarray) -> float:
        return _change("log_probability", [models[i] for i in chosen], untuned, rows)

    return ("agreement", agreement), ("au", units), ("log_probability", log_probability)


def _change(
    mark: Literal["right", "log_probability", "likeness"],
    models: Sequence[Marks],
    untuned: Marks,
    rows: ndarray,
) -> float:
    """How much higher a mark is than the untuned model's, over models and rows."""
    return float(np.mean([getattr(marks, mark)[rows] - getattr(untuned, mark)[rows] for marks in models]))


def _units(models: Sequence[Marks], untuned: Marks, rows: ndarray, wanted: ndarray) -> float:
    before = correlation(untuned.apex[rows], wanted[rows])
    return float(np.mean([correlation(marks.apex[rows], wanted[rows]) - before for marks in models]))


def correlation(seen: Float[ndarray, "n 20"], wanted: Float[ndarray, "n 20"]) -> float:
    """Mean over the units that are asked for of the correlation over clips, as in benchmarks.embedded."""
    shown = (wanted > 0.1).mean(axis=0) > 0.02
    x, y = seen[:, shown] - seen[:, shown].mean(axis=0), wanted[:, shown] - wanted[:, shown].mean(axis=0)
    spread = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    told = spread > 1e-12
    return float(np.mean((x * y).sum(axis=0)[told] / spread[told])) if told.any() else 0.0


def resampled(
    statistic: Statistic, rows: int, models: int, draws: int = DRAWS, *, smooth: bool = True
) -> tuple[float, float, float]:
    """Value and 95 % percentile interval; each draw takes targets and seeds with replacement.

    Where the statistic is `smooth`, what a draw of few seeds moves is stretched by √(S / (S - 1)): a mean of
    S drawn from S spreads that much less than a mean of S others would.
    """
    rng, every = np.random.default_rng(0), np.arange(models)
    stretch = math.sqrt(models / (models - 1)) if smooth and models > 1 else 1.0
    drawn = []
    for _ in range(draws):
        some = rng.integers(rows, size=rows)
        middle = statistic(some, every)
        drawn.append(middle + stretch * (statistic(some, rng.integers(models, size=models)) - middle))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return statistic(np.arange(rows), every), float(low), float(high)


def clips_judged(
    pipe: LTXImageToVideoPipeline, judge: Judge, targets: Sequence[Footage], steps: int, guidance: float
) -> Marks:
    """Make a clip for every target, always from the same noise, and judge it."""
    captions = [caption_of(target, number) for number, target in enumerate(targets)]
    sources = [target.frames[0] for target in targets]
    clips = animate(pipe, sources, captions, range(len(targets)), steps=steps, guidance=guidance)
    return marks([judge(clip) for clip in clips], targets, [judge(source[None]) for source in sources])


def marks(
    judged: Sequence[Judgement], targets: Sequence[Footage], sources: Sequence[Judgement] = ()
) -> Marks:
    """The numbers that figures are made of."""
    sources = sources or judged
    return Marks(
        np.array([float(j.label == t.act.label) for j, t in zip(judged, targets, strict=True)]),
        np.array(
            [j.log_probabilities[BASIC.index(t.act.label)] for j, t in zip(judged, targets, strict=True)],
            float,
        ),
        np.array([j.units[t.act.apex] for j, t in zip(judged, targets, strict=True)], float),
        np.array([float(j.person @ s.identity[0]) for j, s in zip(judged, sources, strict=True)]),
        np.array([j.units[::4].ravel() for j in judged], float),
    )


def diversity(real: Marks, made: Marks) -> tuple[float, float]:
    """Recall and coverage."""
    from prdc import compute_prdc

    with redirect_stdout(StringIO()):  # it prints how many there are
        found = compute_prdc(real.course, made.course, nearest_k=min(5, len(real.course) - 1))
    return float(found["recall"]), float(found["coverage"])


def adapters(quick: bool) -> list[Tuned]:
    """The adapters of three seeds, tuned here where they are missing; of one for `--quick`."""
    if quick and not (FOLDER / "seed0").exists():
        out = Path(tempfile.mkdtemp()) / "quick"
        data = out.parent / "data"
        write_dataset(data, "balanced", scale=0.01)
        return [_tune(0, out, data, QUICK)]
    return [_tune(seed, FOLDER / f"seed{seed}", DATA) for seed in ((0,) if quick else (0, 1, 2))]


def _tune(seed: int, out: Path, data: Path, changes: Sequence[str] = ()) -> Tuned:
    if not (out / "README.md").is_file():  # written last
        if not data.exists():
            write_dataset(data, "balanced", scale=0.3)
        settings = [f"tune.data={data}", f"tune.out={out}", f"seed={seed}", "tune.tracker=none", *changes]
        command = [sys.executable, "pipelines/tune.py", "--config", "configs/tune/puppets.yaml"]
        command += [part for setting in settings for part in ("--set", setting)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return Tuned(out / "adapter.safetensors", seed)


if __name__ == "__main__":
    main(measure, __doc__ or "")
