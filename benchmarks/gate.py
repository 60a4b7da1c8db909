"""Where the gate's thresholds come from: clips that are right, and the same clips with one thing wrong.

Real faces (the demo dataset), warp, every basic emotion. `gate.right_kept` is the share of clips kept as they
are; `gate.caught.FAULT` the share dropped after one fault was put in: another emotion than the label, a
frozen face, shuffled frames, another person from half-way on, blur, a face that is painted over in part of
the frames. Faults are put into the clips that were kept; another emotion is of the same source, so clips of a
source with one emotion only have no such fault. Each figure with its 95 % interval (bootstrap over the people
of the sources).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen.config import Recipe, load_recipe
from argen.dataset.read import read_dataset
from argen.errors import JobError
from argen.generate.request import Request
from argen.plan import Job, Plan, make_plan
from argen.source import Source
from argen.workshop import Workshop, open_workshop
from benchmarks.figures import Figure, bootstrap, main
from pipelines.demo_dataset import write_faces

EMOTIONS = ("anger", "disgust", "fear", "happy", "sad", "surprise")
Frames = UInt8[ndarray, "T H W 3"]


@dataclass(frozen=True)
class Made:
    """A clip, and what it was made for."""

    job: Job
    source: Source
    request: Request
    frames: Frames


def measure(quick: bool) -> Iterator[Figure]:
    """Make clips, spoil them one way at a time, and ask the gate."""
    each = 2 if quick else 8
    with tempfile.TemporaryDirectory(prefix="argen-gate-") as scratch:
        write_faces(Path(scratch) / "demo")
        dataset = read_dataset(Path(scratch) / "demo")
        settings = {"plan": {"classes": EMOTIONS, "count": each}, "generate": {"frames": 16}}
        recipe: Recipe = load_recipe(settings=settings)
        with open_workshop(dataset, recipe, Path(scratch) / "cache") as workshop:
            workshop.learn(EMOTIONS)
            clips = list(make(workshop, make_plan(dataset, recipe), each))
            right = [kept(workshop, clip) for clip in clips]
            people = [clip.source.clip.subject for clip in clips]
            yield share("gate.right_kept", right, people, ">= 0.8")
            for name, spoil in faults(clips).items():
                spoilt = [(spoil(i), people[i]) for i, good in enumerate(right) if good]
                bad = [(clip, person) for clip, person in spoilt if clip is not None]
                caught = [not kept(workshop, clip) for clip, _ in bad]
                if bad:  # a quick run may have no source with two emotions
                    yield share(f"gate.caught.{name}", caught, [person for _, person in bad], ">= 0.9")


def make(workshop: Workshop, plan: Plan, each: int) -> Iterator[Made]:
    """The first clips of every emotion."""
    jobs = [plan.job(label, index) for label in plan.add for index in range(each)]
    for job, prepared in zip(jobs, workshop.requests(jobs), strict=True):
        if isinstance(prepared, tuple):
            source, request = prepared
            (frames,) = workshop.generate([request])
            if not isinstance(frames, JobError):
                yield Made(job, source, request, frames)


def kept(workshop: Workshop, clip: Made) -> bool:
    """The gate's decision."""
    track = workshop.measure(clip.frames, clip.source)
    return workshop.judge(clip.job, clip.source, clip.request, clip.frames, track).kept


def faults(clips: list[Made]) -> dict[str, Callable[[int], Made | None]]:
    """Fault -> the i-th clip with it; None where it can't have it."""
    rng = np.random.default_rng(0)

    def other(i: int, same_label: bool) -> Made:
        mine = clips[i]
        fits = [
            clip
            for clip in clips
            if (clip.job.label == mine.job.label) == same_label
            and clip.source.clip.subject != mine.source.clip.subject
        ]
        return fits[int(rng.integers(len(fits)))]

    def wrong_emotion(i: int) -> Made | None:
        mine = clips[i]
        fits = [c for c in clips if c.job.label != mine.job.label and c.source.clip.id == mine.source.clip.id]
        return replace(mine, frames=fits[int(rng.integers(len(fits)))].frames) if fits else None

    def frozen(i: int) -> Made:
        return with_frames(i, lambda f: np.repeat(f[:1], len(f), axis=0))

    def with_frames(i: int, spoil: Callable[[Frames], Frames]) -> Made:
        return replace(clips[i], frames=spoil(clips[i].frames))

    def stranger(i: int) -> Made:
        half = len(clips[i].frames) // 2
        return with_frames(i, lambda f: np.concatenate([f[:half], other(i, True).frames[half:]]))

    def covered(frames: Frames) -> Frames:
        spoilt = frames.copy()
        spoilt[::3] = 127
        return spoilt

    return {
        "wrong_emotion": wrong_emotion,
        "frozen": frozen,
        "shuffled": lambda i: with_frames(i, lambda f: f[np.r_[0, 1 + rng.permutation(len(f) - 1)]]),
        "stranger": stranger,
        "blurred": lambda i: with_frames(i, blurred),
        "covered": lambda i: with_frames(i, covered),
    }


def blurred(frames: Frames) -> Frames:
    """Every frame out of focus."""
    import cv2

    return np.stack([cv2.GaussianBlur(frame, (0, 0), 2.5) for frame in frames])


def share(name: str, outcomes: Sequence[bool], people: Sequence[str], bar: str) -> Figure:
    """A proportion of clips and its interval; a person's clips are drawn together."""
    sums: dict[str, list[int]] = {}
    for good, person in zip(outcomes, people, strict=True):
        row = sums.setdefault(person, [0, 0])
        row[0] += good
        row[1] += 1
    value, low, high = bootstrap(
        np.array(list(sums.values())), lambda drawn: float(drawn[:, 0].sum() / drawn[:, 1].sum())
    )
    return Figure(name, value, low, high, len(outcomes), bar)


if __name__ == "__main__":
    main(measure, __doc__ or "")
