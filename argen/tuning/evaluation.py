"""Fixed jobs, tried again and again by the averaged adapter: what rewards say, and what the judge says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from argen.tuning.lora import swapped
from argen.tuning.rollout import record
from argen.tuning.scoring import Case, Scorer, as_pictures
from argen.tuning.trainer import Tuner
from argen.tuning.transition import STILL

Course = Literal["best", "on", "stop"]


@dataclass(frozen=True)
class Evaluation:
    """Means over the fixed jobs: of the rewards, of the judge; and the clips."""

    iteration: int
    proxy: float  # weighted sum of the rewards
    judge: float | None  # weighted sum of the held-out rewards; None without any
    values: Mapping[str, float]  # each mean, the share of gated clips, and how many values are missing
    clips: Sequence[UInt8[ndarray, "T H W 3"]]

    @property
    def worth(self) -> float:
        """What decides which adapter is the best: the judge's word, where there is a judge."""
        return self.proxy if self.judge is None else self.judge


def evaluate(
    tuner: Tuner, cases: Sequence[Case], judge: Scorer | None, weights: Mapping[str, float]
) -> Evaluation:
    """Make every case once, without noise and with its own seed, and score it twice.

    A clip that a reward can't judge counts as the lowest that this run's evaluations have seen: who loses the
    faces of hard jobs must not be judged by the easy ones.
    """
    found: dict[str, list[float]] = {}
    clips, gated = [], 0
    steps = max(tuner.settings.steps)
    with swapped(tuner.pipe, tuner.average), tuner.memory.of(tuner.pipe):
        for place, case in enumerate(cases):
            call = tuner.call(case, 1, steps)
            made, _ = record(tuner.pipe, call, [place], noise=STILL, window=range(0), layout=tuner.layout)
            frames = made.float()
            clips.append(as_pictures(frames)[0])
            for prefix, scorer in (("reward", tuner.scorer), ("judge", judge)):
                if scorer is None:
                    continue
                scores = scorer(frames, case, steps)
                gated += int(scores.gated)
                for name, values in scores.rewards.items():
                    found.setdefault(f"{prefix}/{name}", []).append(float(values))
    lowest = tuner.notes.setdefault("lowest", {})
    for name, given in found.items():
        lowest[name] = float(np.nanmin([*given, lowest.get(name, np.inf)]))
    means = {name: _mean(given, lowest[name]) for name, given in found.items()}
    proxy = _weighted(means, "reward", tuner.settings.rewards)
    worth = _weighted(means, "judge", weights) if judge else None
    missing = sum(math.isnan(value) for given in found.values() for value in given)
    told = means | {"gate_rate": gated / max(len(cases), 1), "missing": float(missing)}
    return Evaluation(tuner.iteration, proxy, worth, told, clips)


def course(worth: Sequence[float], proxy: Sequence[float], patience: int) -> Course:
    """What the latest of some evaluations means: a new best, rewards that are fooled, or neither.

    Stops when, for `patience` evaluations, the judge stayed below its best while the rewards rose above what
    they were then.
    """
    best = int(np.argmax(worth))
    if best == len(worth) - 1:
        return "best"
    since = list(proxy[best + 1 :])
    fooled = len(since) >= patience and all(value > proxy[best] for value in since[-patience:])
    return "stop" if fooled else "on"


def contact_sheet(
    clips: Sequence[UInt8[ndarray, "T H W 3"]], path: Path, columns: int = 8, side: int = 96, most: int = 21
) -> None:
    """One row a clip, frames evenly spread over it; of more than `most` clips, some evenly spread."""
    rows = []
    for place in np.linspace(0, len(clips) - 1, min(len(clips), most)).round().astype(int):
        clip = clips[place]
        chosen = np.linspace(0, len(clip) - 1, columns).round().astype(int)
        rows.append(
            np.concatenate([np.asarray(Image.fromarray(clip[i]).resize((side, side))) for i in chosen], 1)
        )
    if rows:
        Image.fromarray(np.concatenate(rows, 0)).save(path)


def _mean(given: Sequence[float], lowest: float) -> float:
    """Of all clips; minus infinity where none was ever judged."""
    known = lowest if math.isfinite(lowest) else -math.inf
    return float(np.mean([known if math.isnan(value) else value for value in given]))


def _weighted(means: Mapping[str, float], prefix: str, weights: Mapping[str, float]) -> float:
    return sum(weight * means[f"{prefix}/{name}"] for name, weight in weights.items())
