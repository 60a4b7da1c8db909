"""DuSE against its own ablations and a plain baseline of equal size; and what the frame cache saves.

The world is a puppet dataset with DFEW's long tail (18:1), people of one split in no other, and a test
split of 300 clips a class: forms differ by about a point, which 100 cannot tell. All see the same clips for
the same steps; none was developed on this world: its seed is used nowhere else. A difference is in UAR,
mean over seeds; its interval covers test people and training seeds. With ARGEN_BENCH_WORK=FOLDER the world
and the runs stay there, and a second call goes on where the first stopped.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen.dataset.clip import Clip
from argen.dataset.read import read_dataset
from argen.dataset.video import read_frames
from argen.puppets.world import write_dataset
from argen.recogniser.batches import Pool
from argen.recogniser.frames import FrameCache
from argen.recogniser.predict import Predictions, predict
from argen.recogniser.scores import paired_bootstrap, uar
from argen.recogniser.settings import Settings
from argen.recogniser.training import Course, train
from benchmarks.figures import Figure, main

WORLD_SEED, SCALE, TEST = 8, 0.1, 300
SEEDS = tuple(range(10))
SETTINGS = Settings(loss="logit_adjustment", batch=16, validation=0.0, checkpoint_every=10_000, device="cpu")
RIVALS = {"baseline": "baseline", "prompt_only": "prompts", "aggregator_only": "aggregator"}
PAIRS = 12  # of timed steps, with and without the cache


def measure(quick: bool) -> Iterator[Figure]:
    """Quick: a world of a hundred clips, 12 steps, two seeds: the machinery, not a result."""
    import torch

    torch.set_num_threads(1)
    settings = replace(SETTINGS, steps=12) if quick else SETTINGS
    seeds = SEEDS[:2] if quick else SEEDS
    with ExitStack() as stack:
        kept = os.environ.get("ARGEN_BENCH_WORK")
        work = Path(kept or stack.enter_context(tempfile.TemporaryDirectory(prefix="argen-recogniser-")))
        work = work / ("quick" if quick else "full")
        clips = world(work / "world", quick)
        cache = FrameCache(work / "frames")
        yield from _comparisons(work, clips, cache, settings, seeds)
        yield speedup(work, clips, cache, settings, 4 if quick else PAIRS)


def world(folder: Path, quick: bool) -> Sequence[Clip]:
    """The clips; written first, where they are not there yet."""
    if not (folder / "metadata.jsonl").is_file():
        write_dataset(
            folder, "dfew", WORLD_SEED, 0.01 if quick else SCALE, test_per_class=3 if quick else TEST
        )
    return read_dataset(folder).clips


def answers(work: Path, clips: Sequence[Clip], cache: FrameCache, settings: Settings) -> Predictions:
    """What one run says of the test split; kept as CSV, so that it is never repeated."""
    table = work / "predictions" / f"{settings.streams}-{settings.seed}.csv"
    if not table.is_file():
        classes = sorted({clip.label for clip in clips})
        taught = [clip for clip in clips if clip.split == "train"]
        asked = [clip for clip in clips if clip.split == "test"]
        out = work / "runs" / f"{settings.streams}-{settings.seed}"
        predict(train(settings, taught, classes, out, cache=cache), asked, cache).save(table)
    return Predictions.read(table)


def _comparisons(
    work: Path, clips: Sequence[Clip], cache: FrameCache, settings: Settings, seeds: Sequence[int]
) -> Iterator[Figure]:
    runs: dict[str, list[Predictions]] = {name: [] for name in ("both", *RIVALS.values())}
    for seed in seeds:  # seed by seed, so that an interrupted measurement holds whole pairs
        for streams, found in runs.items():
            found.append(answers(work, clips, cache, replace(settings, streams=streams, seed=seed)))
    test = len(runs["both"][0].ids)
    for streams, found in runs.items():
        values = [uar(run.truth, run.said, len(run.classes)) for run in found]
        yield Figure(
            f"duse.uar_{streams}", float(np.mean(values)), min(values), max(values), test, seeds=tuple(seeds)
        )
    above = 0
    for name, streams in RIVALS.items():
        value, low, high = paired_bootstrap(runs["both"], runs[streams], uar)
        above += low > 0
        yield Figure(f"duse.over_{name}", value, low, high, test, seeds=tuple(seeds))
    yield Figure("duse.intervals_above_zero", above, above, above, len(RIVALS), f"== {len(RIVALS)}")


def speedup(work: Path, clips: Sequence[Clip], cache: FrameCache, settings: Settings, pairs: int) -> Figure:
    """Throughput of a whole run with the cache over that of a loop that decodes its batch at every step.

    Times are processor times of alternating steps of one model. The cache pays for decoding every clip once;
    the plain loop decodes no more than the frames it needs.
    """
    taught = [clip for clip in clips if clip.split == "train"]
    classes = sorted({clip.label for clip in taught})
    course = Course(settings, taught, classes, work / "speed", cache)
    size, cached = course.model.tower.size, course.pool
    plain = replace(cached, frames=_OnTheFly(cached, settings.frames, size))
    with_cache: list[float] = []
    without: list[float] = []
    for turn in range(pairs + 1):  # the first pair warms up
        for pool, times in ((cached, with_cache), (plain, without)):
            course.pool, course.step = pool, turn % settings.steps
            times.append(_seconds(course.advance))
    once = _seconds(lambda: [read_frames(clip, 32, size) for clip in taught[: 8 * pairs]]) / (8 * pairs)
    share = once * len(taught) / SETTINGS.steps  # of the decoding, for one step of a run
    a, b = np.array(without[1:]), np.array(with_cache[1:]) + share
    rng = np.random.default_rng(0)
    rows = rng.integers(pairs, size=(2000, pairs))
    low, high = np.percentile(a[rows].sum(axis=1) / b[rows].sum(axis=1), [2.5, 97.5])
    return Figure("duse.cache_speedup", float(a.sum() / b.sum()), float(low), float(high), pairs, ">= 1.5")


class _OnTheFly(Sequence[UInt8[ndarray, "T H W 3"]]):
    """Frames of a pool's clips, decoded whenever one is looked at."""

    def __init__(self, pool: Pool, frames: int, size: int) -> None:
        self.pool, self.frames, self.size = pool, frames, size

    def __len__(self) -> int:
        return len(self.pool.clips)

    def __getitem__(self, row):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204 (slices are not asked for)
        return read_frames(self.pool.clips[row], self.frames, self.size)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main(measure, __doc__ or "")
