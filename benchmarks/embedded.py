"""The embedded checkpoint on people it never saw, scored by a judge that nothing else may use.

Targets are rendered clips: the checkpoint gets the first frame and the caption, never the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np
from diffusers import LTXImageToVideoPipeline
from jaxtyping import Float, UInt8
from numpy import ndarray

from argen.affect.captions import load_prompts, with_article, write_caption
from argen.puppets.animate import BATCH, animate, load_embedded
from argen.puppets.checkpoint import folder
from argen.puppets.examiner import Judgement
from argen.puppets.expressions import BASIC
from argen.puppets.footage import Footage, shoot
from argen.puppets.judge import Judge
from argen.puppets.words import motion_of
from benchmarks.figures import Figure, bootstrap, main

LEVELS = ("slight", "moderate", "strong", "extreme")


@dataclass(frozen=True)
class Trial:
    """One held-out puppet asked for one emotion, and both clips as the judge sees them."""

    target: Footage
    real: Judgement
    made: Judgement
    frames: UInt8[ndarray, "T 64 64 3"]


def measure(quick: bool) -> Iterator[Figure]:
    """All figures of issue 3 about generated clips."""
    pipe, judge = load_embedded(), Judge()
    people, seeds = (2, 1) if quick else (20, 3)
    trials = list(_trials(pipe, judge, people, seeds))
    yield from _agreement(trials)
    yield from _units(trials)
    yield _identity(trials, judge)
    yield _motion(trials)
    yield from _spread(trials)
    yield _follows(pipe, judge, 1 if quick else 12)
    yield from _monotone(pipe, judge, 1 if quick else 10)
    yield _speed(pipe, 1 if quick else 4)
    size = sum(file.stat().st_size for file in folder().rglob("*.safetensors")) / 1e6
    yield Figure("embedded.megabytes", size, size, size, 1, bar="<= 12")


def _trials(pipe: LTXImageToVideoPipeline, judge: Judge, people: int, seeds: int) -> Iterator[Trial]:
    targets = [  # none twice: copies among the rendered clips would shrink what counts as near
        shoot("evaluation", 10_000 + 7 * person + i, emotion, "neutral", 0.4)
        for person in range(people * seeds)
        for i, emotion in enumerate(BASIC)
    ]
    captions = [caption_of(target, number) for number, target in enumerate(targets)]
    clips = animate(pipe, [target.frames[0] for target in targets], captions, range(len(targets)))
    for target, clip in zip(targets, clips, strict=True):
        yield Trial(target, judge(target.frames), judge(clip), clip)


def caption_of(target: Footage, seed: int) -> str:
    """What the checkpoint is told of a rendered clip."""
    performance = target.act.performance
    motion = motion_of(performance.action_units, performance.asymmetry, performance.pose)
    cues = load_prompts().emotions[target.act.label].cues
    return write_caption(target.act.label, motion, cues, np.random.default_rng(seed))


def _agreement(trials: Sequence[Trial]) -> Iterator[Figure]:
    """Share of the judge's own accuracy on rendered clips, over all and for the worst emotion."""
    right = np.array(
        [[t.made.label == t.target.act.label, t.real.label == t.target.act.label] for t in trials]
    )
    labels = np.array([t.target.act.label for t in trials])

    def share(rows: Float[ndarray, "n"]) -> float:
        chosen = right[rows.astype(int)]
        return float(chosen[:, 0].mean() / max(chosen[:, 1].mean(), 1 / len(chosen)))

    indices = np.arange(len(trials))
    yield Figure("embedded.agreement", *bootstrap(indices, share), len(trials), bar=">= 0.8")
    each = {label: share(indices[labels == label]) for label in BASIC}
    worst = min(each, key=lambda label: each[label])
    interval = bootstrap(indices[labels == worst], share)
    yield Figure("embedded.agreement_worst", *interval, int((labels == worst).sum()), bar=">= 0.6")
    for label, value in each.items():
        yield Figure(f"embedded.agreement.{label}", value, value, value, int((labels == label).sum()))


def _units(trials: Sequence[Trial]) -> Iterator[Figure]:
    """Mean over units of the correlation, over clips, of the judged apex with the target's."""
    wanted = np.array([t.target.act.units for t in trials])
    shown = np.flatnonzero((wanted > 0.1).mean(axis=0) > 0.02)
    for name, bar in (("made", ">= 0.6"), ("real", "")):
        seen = np.array([getattr(t, name).units[t.target.act.apex] for t in trials])

        def correlation(rows: ndarray, seen: ndarray = seen) -> float:
            i = rows.astype(int)
            pairs = [np.corrcoef(seen[i, u], wanted[i, u])[0, 1] for u in shown if wanted[i, u].std() > 0]
            return float(np.nanmean(pairs))

        title = "embedded.au_correlation" + ("" if name == "made" else ".rendered")
        yield Figure(title, *bootstrap(np.arange(len(trials)), correlation, draws=300), len(trials), bar=bar)


def _identity(trials: Sequence[Trial], judge: Judge) -> Figure:
    """Likeness of made clip and source, in deviations from that of two rendered clips of one person."""
    made = [float(t.made.person @ t.real.identity[0]) for t in trials]
    between = []
    for number, t in enumerate(trials[: len(BASIC) * 20]):
        label, person = t.target.act.label, t.target.person
        other = shoot("evaluation", 40_000 + number, label, "neutral", 0.4, person=person)
        between.append(float(judge(other.frames).person @ t.real.person))
    mean, deviation = float(np.mean(between)), float(np.std(between)) + 1e-9
    scores = [(value - mean) / deviation for value in made]
    return Figure("embedded.identity_z", *bootstrap(scores), len(trials), bar=">= -1")


def _motion(trials: Sequence[Trial]) -> Figure:
    """Mean change from frame to frame, over that of the rendered clips; 1 is alike, 1.4 the most allowed."""
    ratio = [_energy(t.frames) / _energy(t.target.frames) for t in trials]
    value, low, high = bootstrap(ratio, lambda sample: float(np.exp(np.log(sample).mean())))
    return Figure("embedded.motion", value, low, high, len(trials), bar=">= 0.7" if value < 1 else "<= 1.4")


def _energy(frames: ndarray) -> float:
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean()) + 1e-6


def _spread(trials: Sequence[Trial]) -> Iterator[Figure]:
    """Recall and coverage (prdc) and kernel distance on judged Action Unit trajectories."""
    from prdc import compute_prdc

    real = np.array([t.real.units[::4].ravel() for t in trials])
    made = np.array([t.made.units[::4].ravel() for t in trials])
    with redirect_stdout(StringIO()):  # it prints how many there are
        scores = compute_prdc(real_features=real, fake_features=made, nearest_k=5)
    for name in ("recall", "coverage"):
        value = float(scores[name])
        error = 1.96 * (value * (1 - value) / len(trials)) ** 0.5
        yield Figure(f"embedded.{name}", value, value - error, value + error, len(trials), bar=">= 0.6")
    half = len(real) // 2
    distance = _kernel_distance(real, made)
    null = [
        _kernel_distance(*np.split(np.random.default_rng(s).permutation(real)[: 2 * half], 2))
        for s in range(50)
    ]
    yield Figure("embedded.kernel_distance", distance, distance, distance, len(trials))
    low, high = np.percentile(null, [2.5, 97.5])
    yield Figure("embedded.kernel_distance.null", float(np.mean(null)), float(low), float(high), half)


def _kernel_distance(first: ndarray, second: ndarray) -> float:
    """Unbiased squared maximum mean discrepancy, cubic kernel (Binkowski et al. 2018)."""

    def kernel(a: ndarray, b: ndarray) -> ndarray:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    n, m = len(first), len(second)
    own, other = kernel(first, first), kernel(second, second)
    return float(
        (own.sum() - np.trace(own)) / (n * (n - 1))
        + (other.sum() - np.trace(other)) / (m * (m - 1))
        - 2 * kernel(first, second).mean()
    )


def _follows(pipe: LTXImageToVideoPipeline, judge: Judge, people: int) -> Figure:
    """One source, one seed, only the emotion's word swapped: does the judged label become the new emotion?"""
    sources = [shoot("evaluation", 20_000 + i, "neutral", "neutral", 0.1).frames[0] for i in range(people)]
    asked = [(source, emotion, i) for i, source in enumerate(sources) for emotion in BASIC]
    captions = [f"a person with a strong {emotion} expression." for _, emotion, _ in asked]
    clips = animate(pipe, [source for source, _, _ in asked], captions, [seed for *_, seed in asked])
    followed = [
        float(judge(clip).label == emotion) for clip, (_, emotion, _) in zip(clips, asked, strict=True)
    ]
    return Figure("embedded.follows_words", *bootstrap(followed), len(followed), bar=">= 0.6")


def _monotone(pipe: LTXImageToVideoPipeline, judge: Judge, people: int) -> Iterator[Figure]:
    """Share of the steps from one intensity word to the next that raise the mean of the judged units; and
    that mean (of the largest change of all units together) for each word.
    """
    emotions = [emotion for emotion in BASIC if emotion != "neutral"]
    sources = [shoot("evaluation", 30_000 + i, "neutral", "neutral", 0.1).frames[0] for i in range(people)]
    asked = [(i, emotion, level) for i in range(people) for emotion in emotions for level in LEVELS]
    captions = [f"a person with {with_article(level)} {emotion} expression." for _, emotion, level in asked]
    clips = animate(pipe, [sources[i] for i, *_ in asked], captions, [i for i, *_ in asked])
    change = np.array([_change(judge(clip)) for clip in clips]).reshape(people, len(emotions), len(LEVELS))
    rises = (np.diff(change.mean(axis=0), axis=1) > 0).ravel().astype(float)
    yield Figure("embedded.intensity_monotone", *bootstrap(rises), len(clips), bar=">= 1")
    for place, level in enumerate(LEVELS):
        yield Figure(
            f"embedded.intensity.{level}", *bootstrap(change[:, :, place].ravel()), change[..., place].size
        )


def _change(judged: Judgement) -> float:
    return float(np.abs(judged.units - judged.units[:1]).sum(axis=1).max())


def _speed(pipe: LTXImageToVideoPipeline, rounds: int) -> Figure:
    """Processor seconds a clip on one thread, in batches of 8: what a free core takes."""
    import torch

    torch.set_num_threads(1)
    source = shoot("evaluation", 1, "neutral").frames[0]
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        animate(pipe, [source] * BATCH, ["a person looks very happy."] * BATCH, range(BATCH))
        seconds.append((time.process_time() - started) / BATCH)
    return Figure("embedded.seconds_per_clip", *bootstrap(seconds), rounds * BATCH, bar="<= 1.5")


if __name__ == "__main__":
    main(measure, __doc__)
