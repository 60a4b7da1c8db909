"""Inter-frame conditional guidance without any tuning: what each part changes of the embedded model's clips.

Every arm gets the same sources, captions and first noise as `plain`, eight steps with guidance 5 throughout,
and is compared with it clip by clip, by the judge, on people that nothing was trained on. `along` lets
guidance follow the target's intensity (beside it the same scale without that), `neighbours` leans each
estimate of a clean frame on the frames beside it. Roughness is the mean second difference of pixels over
time, relative to plain. What exploration that is correlated along frames is worth in tuning,
`benchmarks.tuning` tells.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.config import GenerateSettings
from argen.generate.diffusion import DiffusionGenerator
from argen.generate.request import Request
from argen.puppets.animate import GUIDANCE, STEPS
from argen.puppets.footage import FPS, FRAMES, SIZE, Footage
from argen.puppets.judge import Judge
from benchmarks.embedded import caption_of
from benchmarks.figures import Figure, bootstrap, main
from benchmarks.tuned import Marks, differences, likeness, marks, resampled, targets_of

ARMS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "scale_9": {"guidance": 9.0},
    "along_5": {"guidance_follows_intensity": True},
    "along_9": {"guidance": 9.0, "guidance_follows_intensity": True},
    "neighbours_0.1": {"neighbour_weight": 0.1},
    "neighbours_0.3": {"neighbour_weight": 0.3},
}


@dataclass(frozen=True)
class Made:
    """One arm's clips: what the judge says of them, and how rough they are."""

    marks: Marks
    roughness: Float[ndarray, "n"]  # mean absolute second difference over time, 0..255


def measure(quick: bool) -> Iterator[Figure]:
    """Each arm less plain."""
    people = 1 if quick else 30
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        made = dict(zip(ARMS, pool.map(made_by, ARMS.values(), repeat(people)), strict=True))
    wanted = np.array([target.act.units for target in targets_of(people, first=70_000)])
    plain = made.pop("plain")
    for name, arm in made.items():
        for what, statistic in (
            *differences([arm.marks], plain.marks, wanted), ("identity", likeness([arm.marks], plain.marks)),
        ):  # fmt: skip
            yield Figure(f"guidance.{name}.{what}", *resampled(statistic, len(wanted), 1), len(wanted))
        rougher = bootstrap(arm.roughness / plain.roughness - 1)
        yield Figure(f"guidance.{name}.roughness", *rougher, len(wanted))


def made_by(changes: Mapping[str, Any], people: int) -> Made:
    """One arm's clips, made as `argen-augment` makes them, and judged."""
    import torch

    torch.set_num_threads(1)
    plain = {"generator": "diffusion", "model": "puppets", "frames": FRAMES, "fps": FPS, "size": SIZE}
    settings = GenerateSettings(**{**plain, "steps": STEPS, "guidance": GUIDANCE, "batch": 7, **changes})
    generator = DiffusionGenerator.load(settings, "cpu")
    targets, judge = targets_of(people, first=70_000), Judge()
    requests = [request_of(target, number) for number, target in enumerate(targets)]
    clips = [clip for i in range(0, len(requests), 7) for clip in generator(requests[i : i + 7])]
    seen = marks([judge(c) for c in clips], targets, [judge(t.frames[:1]) for t in targets])
    return Made(seen, np.array([rough(clip) for clip in clips]))


def request_of(target: Footage, number: int) -> Request:
    """A rendered clip as it is asked for: its first frame, its caption and its intensity over time."""
    performance = target.act.performance
    affect = Affect(
        target.act.label, caption_of(target, number), "template", performance.action_units,
        performance.asymmetry, performance.pose, (), "prototype",
    )  # fmt: skip
    return Request(target.frames[0], target.landmarks[0], performance.action_units[0], affect, number)


def rough(clip: UInt8[ndarray, "T H W 3"]) -> float:
    """Mean absolute second difference over time."""
    return float(np.abs(np.diff(clip.astype(np.float32), n=2, axis=0)).mean())


if __name__ == "__main__":
    main(measure, __doc__ or "")
