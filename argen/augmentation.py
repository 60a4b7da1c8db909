"""The loop: every step of ARGen, one call each. Read this file first.

    read -> plan -> measure -> retrieve and describe -> generate -> judge -> keep -> report

The command line, a notebook, a cluster job and the tests all run `augment`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.config import Recipe
from argen.dataset.clip import Clip, Dataset
from argen.dataset.fingerprint import file_hash
from argen.dataset.video import write_mp4
from argen.errors import EnvironmentFault, JobError
from argen.face.track import FaceTrack
from argen.gate import Verdict, fingerprint
from argen.generate.request import Request
from argen.manifest import Record, Status
from argen.output import finish, heat_picture, save_curves, save_picture
from argen.plan import Job, Plan, make_plan
from argen.report.page import write_report
from argen.run import Run, check_fresh, check_place, open_run
from argen.source import Source
from argen.workshop import Workshop, open_workshop, why_not

log = logging.getLogger(__name__)
TRIAL_SOURCES = 5


def augment(
    dataset: Dataset,
    recipe: Recipe,
    out: Path | str,
    *,
    shard: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    fresh: bool = False,
) -> Iterator[Record]:
    """Expand a dataset into a folder, yielding a record as each job ends: kept, dropped or failed.

    Running it again goes on where it stopped. `shard` (r, n) does the r-th of n shares; the records of
    all shares meet in the folder. Raises UsageError or RecipeError before any work, if the folder, the
    recipe and the source don't fit together; EnvironmentFault if weights or disk are missing.
    """
    out = Path(out)
    check_place(out, dataset.root)
    if fresh:
        check_fresh(out, shard)
    with open_workshop(dataset, recipe, out / "cache") as workshop:
        plan = make_plan(dataset, recipe, workshop.why_not)
        _tell_what_is_left_out(dataset, plan)
        with open_run(
            out,
            dataset,
            plan,
            recipe,
            shard=shard,
            retry_failed=retry_failed,
            fresh=fresh,
            models=workshop.models,
        ) as run:
            workshop.learn(plan.add)
            while jobs := run.pending():
                for batch in _batches(jobs, workshop.batch):
                    yield from _make(batch, workshop, run)
            summary = finish(run, dataset)
            if not summary.left or run.alone():  # else there are others, and the last of them writes it
                write_report(run.out, anew=False)


def _tell_what_is_left_out(dataset: Dataset, plan: Plan) -> None:
    if dataset.problems:
        one = dataset.problems[0]
        log.warning(
            "%d problems in the source, first %s: %s; `argen scan %s` lists them",
            len(dataset.problems), one.where, one.what, dataset.root,
        )  # fmt: skip
    for label, why in plan.refused.items():
        log.warning("%s: not expanded: %s", label, why)


def estimate(dataset: Dataset, recipe: Recipe) -> tuple[Plan, Estimate]:
    """The plan of a run and what it would cost, from one clip made and thrown away; writes nothing.

    Where no clip can be made here (no weights, no usable source), the cost says why instead.
    """
    with TemporaryDirectory(prefix="argen-") as scratch:
        try:
            with open_workshop(dataset, recipe, Path(scratch)) as workshop:
                plan = make_plan(dataset, recipe, workshop.why_not)
                return plan, _measure_one(plan, workshop, recipe, Path(scratch))
        except EnvironmentFault as error:
            plan = make_plan(dataset, recipe, partial(why_not, dataset=dataset, recipe=recipe))
            return plan, Estimate(0, 0, 0, f"not estimated: {error}")


def _measure_one(plan: Plan, workshop: Workshop, recipe: Recipe, scratch: Path) -> Estimate:
    label = next(iter(plan.add))
    for index in range(min(plan.limits[label], TRIAL_SOURCES)):
        job = plan.job(label, index)
        started = time.perf_counter()
        try:
            workshop.source(job.source)
        except JobError:
            continue
        workshop.learn([label], most=recipe.affect.enough_clips)
        (prepared,) = workshop.requests([job])
        if isinstance(prepared, JobError):
            continue
        source, request = prepared
        (frames,) = workshop.generate([request])
        if isinstance(frames, JobError):
            continue
        workshop.judge(job, source, request, frames, workshop.measure(frames, source))
        write_mp4(scratch / "trial.mp4", frames, recipe.generate.fps, recipe.output.quality, "trial")
        seconds = time.perf_counter() - started
        return Estimate(plan.total, seconds, (scratch / "trial.mp4").stat().st_size, "")
    return Estimate(0, 0, 0, f"not estimated: no face in the first {TRIAL_SOURCES} sources of '{label}'")


@dataclass(frozen=True)
class Estimate:
    """Cost of a plan, from one measured clip."""

    clips: int
    seconds_per_clip: float
    bytes_per_clip: int
    problem: str

    def as_dict(self) -> dict[str, int | float | str]:
        """For --json: totals in seconds and bytes, or the problem."""
        if self.problem:
            return {"problem": self.problem}
        totals = {"seconds": self.clips * self.seconds_per_clip, "bytes": self.clips * self.bytes_per_clip}
        return {"clips": self.clips, "seconds_per_clip": self.seconds_per_clip, **totals}

    def in_words(self) -> str:
        """One line for a person."""
        if self.problem:
            return self.problem
        minutes = self.clips * self.seconds_per_clip / 60
        megabytes = self.clips * self.bytes_per_clip / 1e6
        time_needed = f"{minutes / 60:,.1f} h" if minutes > 90 else f"{minutes:,.1f} min"
        return (
            f"about {time_needed} and {megabytes:,.1f} MB for {self.clips:,} clips in one process, measured "
            f"on one clip ({self.seconds_per_clip:.2f} s); clips that the gate drops cost as much again"
        )


def _make(jobs: Sequence[Job], workshop: Workshop, run: Run) -> Iterator[Record]:
    """One batch: request, generate, judge, keep. A job that fails does not take the others with it."""
    started = time.perf_counter()
    ready: list[tuple[Job, Source, Request]] = []
    for job, prepared in zip(jobs, workshop.requests(jobs), strict=True):
        if isinstance(prepared, JobError):
            yield _end(run, _origin(job, workshop.clip(job.source), run, "failed", str(prepared)))
        else:
            ready.append((job, *prepared))
    clips = workshop.generate([request for _, _, request in ready]) if ready else []
    for (job, source, request), frames in zip(ready, clips, strict=True):
        if isinstance(frames, JobError):
            yield _end(run, _origin(job, source.clip, run, "failed", str(frames)))
            continue
        track = workshop.measure(frames, source)
        verdict = workshop.judge(job, source, request, frames, track)
        clip = _Clip(job, source, request.affect, frames, track, verdict)
        yield _end(run, _keep(run, workshop, clip, (time.perf_counter() - started) / len(ready)))


@dataclass(frozen=True)
class _Clip:
    job: Job
    source: Source
    affect: Affect
    frames: UInt8[ndarray, "T H W 3"]
    track: FaceTrack
    verdict: Verdict


def _keep(run: Run, workshop: Workshop, clip: _Clip, seconds: float) -> Record:
    """Write the clip and what was measured; the record that names them is written after both."""
    job, affect, verdict, output = clip.job, clip.affect, clip.verdict, run.recipe.output
    name = run.clip_name(job, verdict.kept) if verdict.kept or output.dropped else ""
    if name:
        comment = (
            f"SYNTHETIC by ARGen: {job.label}, job {job.id}, from {job.source}, recipe {run.recipe.hash}"
        )
        write_mp4(run.out / name, clip.frames, run.recipe.generate.fps, output.quality, comment)
        if verdict.heat is not None:
            save_picture(heat_picture(run.out, job.id), verdict.heat)
        save_curves(run.out / "tracks" / f"{job.id}.npz", affect.trajectory, clip.track)
    seen = clip.track.action_units[min(affect.apex, len(clip.track) - 1)]
    origin = _origin(job, clip.source.clip, run, "kept" if verdict.kept else "dropped", verdict.reason)
    return replace(
        origin,
        source_frame=clip.source.frame_index,
        caption=affect.caption,
        written_by=affect.written_by,
        profile=affect.profile,
        exemplars=affect.exemplars,
        file_name=name,
        sha256=file_hash(run.out / name) if name else "",
        scores=verdict.scores,
        target=_short(affect.trajectory[affect.apex]),
        seen=_short(np.nan_to_num(seen)),
        fingerprint=fingerprint(clip.track),
        reader=clip.track.reader,
        made_by=dict(workshop.made_by),
        seconds=round(seconds, 3),
    )


def _origin(job: Job, clip: Clip, run: Run, status: Status, reason: str) -> Record:
    """What every record says, whatever became of the job. Split, subject and licence are the source's."""
    return Record(
        id=job.id,
        label=job.label,
        index=job.index,
        status=status,
        reason=reason,
        source=clip.id,
        source_frame=-1,
        subject=clip.subject,
        split=clip.split,
        licence=clip.licence,
        redistributable=clip.redistributable,
        seed=job.seed,
        recipe_hash=run.recipe.hash,
    )


def _end(run: Run, record: Record) -> Record:
    run.write(record)
    return record


def _short(values: Float[ndarray, "N"]) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in values)


def _batches(jobs: Sequence[Job], size: int) -> Iterator[Sequence[Job]]:
    return (jobs[i : i + size] for i in range(0, len(jobs), size))
