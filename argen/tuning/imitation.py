"""What reflow learns from: the better clips of every group so far, again and again.

The teacher is the untuned model, which doesn't change, so what it once made stays right: a clip that cost
dozens of calls of the denoiser is worth more than one update, and much more if other jobs come between.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from argen.errors import RecipeError
from argen.tuning.advantage import best_of
from argen.tuning.sampling import Draw, seed_of
from argen.tuning.scoring import Case

Teaching = Callable[[Case, Mapping[str, Any], int], AbstractContextManager[None]]
"""What surrounds a call of the teacher: for its job, its arguments and so many clips."""


@dataclass(frozen=True)
class Lesson:
    """One call to make: a job, the noise to begin with, and where the teacher got from it."""

    group: int  # place of the group in its iteration
    case: int  # index of the job
    seeds: tuple[int, ...]  # of the first latents
    clean: Float[Tensor, "b ..."]
    heeded: Float32[Tensor, "b"]  # 0 where a gate refused the clip, else 1


def lessons_of(
    draws: Sequence[Draw],
    clean: Float[Tensor, "B ..."],
    advantage: Float32[Tensor, "B"],
    gated: Bool[Tensor, "B"],
    *,
    best: int | None,
    batch: int,
) -> list[Lesson]:
    """The `best` clips of each group, or all, `batch` a call. The clips of the draws, in their order."""
    seeds = [seed for draw in draws for seed in draw.seeds]
    group = torch.tensor([draw.group for draw in draws for _ in draw.seeds])
    lessons = []
    for place, case in {draw.group: draw.case for draw in draws}.items():
        members = torch.nonzero(group == place).flatten()
        kept = members[best_of(advantage[members], gated[members], best)]
        lessons += [
            Lesson(
                place, case, tuple(seeds[i] for i in some.tolist()), clean[some.to(clean.device)].cpu(),
                (~gated[some]).float(),
            )
            for some in torch.split(kept, batch)
        ]  # fmt: skip
    return lessons


def in_calls(
    lessons: Iterable[Lesson], alike: Callable[[Lesson], Hashable], batch: int
) -> Iterator[list[Lesson]]:
    """The lessons that can share a call, those that are `alike`, `batch` clips at most."""
    waiting: dict[Hashable, list[Lesson]] = {}
    for lesson in lessons:
        kind = alike(lesson)
        some = waiting.get(kind, [])
        if some and sum(len(one.seeds) for one in [*some, lesson]) > batch:
            yield some
            some = []
        waiting[kind] = [*some, lesson]
    yield from waiting.values()


class Lessons:
    """The lessons of the latest iterations; of one process, which keeps its own groups."""

    def __init__(self, folder: Path | None, latest: int | None) -> None:
        """Keeps those of `latest` iterations, or of all; in `folder` too, for a resume, if there is one.

        Files stay until `forget`: an interrupted run goes on from a checkpoint that still needs them.
        """
        self.folder, self.latest = folder, latest
        self._kept: dict[int, dict[int, list[Lesson]]] = {}  # by iteration and group

    def add(self, iteration: int, lessons: Sequence[Lesson]) -> None:
        """Those of a new iteration."""
        found: dict[int, list[Lesson]] = {}
        for lesson in lessons:
            found.setdefault(lesson.group, []).append(lesson)
        self._kept[iteration] = found
        for group, some in found.items() if self.folder else ():
            _write(some, self._file(iteration, group))
        for old in sorted(self._kept)[: -self.latest] if self.latest else ():
            del self._kept[old]

    def forget(self, resumed: int) -> None:
        """Drop the files that no run which goes on after `resumed` iterations, or later, will read."""
        if self.folder is None or self.latest is None:
            return
        for path in self.folder.glob("*.safetensors"):
            if int(path.name.partition("-")[0]) < resumed - self.latest:
                path.unlink(missing_ok=True)

    def of(self, seed: int, iteration: int, update: int) -> Iterator[Lesson]:
        """For each group those that came there in one iteration: first the present one, then any.

        Which one is a function of the seed and the place, so the number of processes doesn't matter.
        """
        kept = sorted(self._kept)
        for group in self._kept[iteration]:
            drawn = kept[seed_of(seed, iteration, update, group) % len(kept)]
            yield from self._kept[iteration if update == 0 else drawn][group]

    def restore(self, before: int, groups: Sequence[int]) -> None:
        """Read again what earlier iterations of the run left for these groups."""
        for iteration in range(max(before - self.latest, 0) if self.latest else 0, before):
            self._kept[iteration] = {group: _read(self._file(iteration, group)) for group in groups}

    def _file(self, iteration: int, group: int) -> Path:
        return Path(str(self.folder)) / f"{iteration:06d}-{group}.safetensors"


def _write(lessons: Sequence[Lesson], path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{i}.clean": one.clean.contiguous() for i, one in enumerate(lessons)}
    tensors |= {f"{i}.heeded": one.heeded.contiguous() for i, one in enumerate(lessons)}
    head = [[one.group, one.case, one.seeds] for one in lessons]
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata={"lessons": json.dumps(head)})
    partial.replace(path)


def _read(path: Path) -> list[Lesson]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            head = json.loads(file.metadata()["lessons"])
            return [
                Lesson(
                    group, case, tuple(seeds), file.get_tensor(f"{i}.clean"), file.get_tensor(f"{i}.heeded")
                )
                for i, (group, case, seeds) in enumerate(head)
            ]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RecipeError(
            f"tune.out: {path} can't be read, which this run learns from ({error}); choose another folder"
        ) from error
