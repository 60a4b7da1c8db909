"""Who tries what in an iteration: a function of the seed, the iteration and the place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from argen.errors import RecipeError
from argen.tuning.settings import TuneSettings


@dataclass(frozen=True)
class Draw:
    """One call: some members of one group, made in the same number of steps."""

    group: int  # place of the group in the iteration
    case: int  # index of the job that it tries
    steps: int
    reference: int  # which of `settings.references` makes it, in reflow
    seeds: tuple[int, ...]  # of the first latents
    explore: tuple[int, ...]  # of the exploration
    window: range


def draws(
    settings: TuneSettings, seed: int, iteration: int, cases: int, *, rank: int = 0, world: int = 1
) -> Iterator[Draw]:
    """The calls of one process in one iteration; together the processes make the same as one would alone.

    Raises RecipeError where the jobs or the processes can't be shared out.
    """
    _check(settings, cases, world)
    alike = _alike(settings)
    for group, case in list(enumerate(_order(settings, seed, iteration, cases)))[rank::world]:
        for steps, reference, members in _calls(settings):
            start = tuple(seed_of(seed, iteration, "start", group, k // alike) for k in members)
            explore = tuple(seed_of(seed, iteration, "explore", group, k) for k in members)
            tried = window(settings, seed, iteration, steps)
            yield Draw(group, case, steps, reference, start, explore, tried)


def window(settings: TuneSettings, seed: int, iteration: int, steps: int) -> range:
    """The steps that explore and train: all, or some neighbours in the noisier half."""
    length = settings.trained_steps
    if length is None or length >= steps:
        return range(steps)
    places = max((steps + 1) // 2 - length, 0) + 1
    start = seed_of(seed, iteration, "window") % places
    return range(start, start + length)


def _order(settings: TuneSettings, seed: int, iteration: int, cases: int) -> list[int]:
    """The jobs of an iteration, each job once an epoch, by trl's sampler."""
    from trl.trainer.utils import RepeatSampler

    epoch, place = divmod(iteration, cases // settings.prompts)
    sampler = RepeatSampler(range(cases), mini_repeat_count=1, batch_size=settings.prompts, seed=seed + epoch)
    return list(sampler)[place * settings.prompts : (place + 1) * settings.prompts]


def _alike(settings: TuneSettings) -> int:
    """How many neighbours in a group begin with the same latents: those that differ in something else."""
    if not settings.same_start:
        return 1
    if settings.objective == "reflow":
        return len(settings.references)
    return settings.num_generations if settings.objective == "grpo" else 1


def _calls(settings: TuneSettings) -> Iterator[tuple[int, int, Sequence[int]]]:
    """Members of a group that one call can make, with its number of steps and its reference.

    Steps alternate within the group so that efficiency can be told apart. In reflow references do; they have
    their own number of steps, and that of what is tuned alternates from update to update.
    """
    reflow = settings.objective == "reflow"
    kinds = len(settings.references) if reflow else len(settings.steps)
    for kind in range(kinds):
        members = range(kind, settings.num_generations, kinds)
        for start in range(0, len(members), settings.batch):
            some = members[start : start + settings.batch]
            yield (settings.steps[0], kind, some) if reflow else (settings.steps[kind], 0, some)


def seed_of(*parts: object) -> int:
    """A number that is a function of the parts alone."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _check(settings: TuneSettings, cases: int, world: int) -> None:
    problem = settings.without_steps(settings.steps)
    if problem:
        raise RecipeError(f"tune.{problem}")
    if cases < settings.prompts:
        raise RecipeError(
            f"tune.prompts: {settings.prompts} an iteration, but there are only {cases} jobs to try"
        )
    if settings.prompts % world:
        raise RecipeError(
            f"tune.prompts: {settings.prompts} can't be shared by {world} processes; use a multiple"
        )
