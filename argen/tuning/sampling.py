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
    shared = settings.same_start and settings.objective == "grpo"
    for group, case in list(enumerate(_order(settings, seed, iteration, cases)))[rank::world]:
        for steps, members in _calls(settings):
            start = tuple(seed_of(seed, iteration, "start", group, 0 if shared else k) for k in members)
            explore = tuple(seed_of(seed, iteration, "explore", group, k) for k in members)
            yield Draw(group, case, steps, start, explore, window(settings, seed, iteration, steps))


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


def _calls(settings: TuneSettings) -> Iterator[tuple[int, Sequence[int]]]:
    """Members of a group by their number of steps, which alternates so that efficiency can be told apart.

    In reflow the reference has its own number, and that of what is tuned alternates from update to update.
    """
    counts = settings.steps if settings.objective != "reflow" else settings.steps[:1]
    for place, steps in enumerate(counts):
        members = range(place, settings.num_generations, len(counts))
        for start in range(0, len(members), settings.batch):
            yield steps, members[start : start + settings.batch]


def seed_of(*parts: object) -> int:
    """A number that is a function of the parts alone."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _check(settings: TuneSettings, cases: int, world: int) -> None:
    if cases < settings.prompts:
        raise RecipeError(
            f"tune.prompts: {settings.prompts} an iteration, but there are only {cases} jobs to try"
        )
    if settings.prompts % world:
        raise RecipeError(
            f"tune.prompts: {settings.prompts} can't be shared by {world} processes; use a multiple"
        )
