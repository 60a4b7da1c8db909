"""Reward tuning: exactness on every family, reward queries to a toy threshold, time and memory of an update.

The toy: tiny random denoisers, eight steps, one source, groups of 16; the reward wants latents of mean 0.5
that are still from frame to frame. A query is one clip that the reward sees. Both objectives are run at
several learning rates, and each counts at the one that was best on other seeds. A run that isn't there after
960 queries counts as those, so a ratio is true or too high. How soon the ddpo preset gets there is luck
(some of its runs do in two iterations, some never): five seeds gave 0.196 on one machine and 0.25 on
another, and fifteen had an interval from 0.13 to 0.38, so 64 fresh ones are asked. In groups of 16 grpo is
there after two iterations, and can't be much sooner; so smaller groups are compared too, 8 being the default.
In the same way exploration that is correlated along frames (`rho` 0.5) is compared with white noise. All that
takes an hour of a core, most of it for ddpo. A smooth toy on random weights shows how gradients scale and
what they cost, and nothing about the quality of video.
"""

from __future__ import annotations

import gc
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from argen.tuning.admission import admit, batched, parity
from argen.tuning.memory import Memory
from argen.tuning.rollout import Action, Pipeline, Trajectory, density, record, replay
from argen.tuning.scoring import Case, Scorer
from argen.tuning.settings import TuneSettings
from argen.tuning.trainer import Tuner
from argen.tuning.transition import STILL, Noise
from benchmarks.figures import Figure, bootstrap, main
from tests.tiny import CALLS, FAMILIES, tiny_pipeline

THRESHOLD = -3.0  # of the toy reward: it starts near -12 and good runs end near -2
GROUP = 16
BUDGET = 960  # queries
RATES = (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2)  # of equals the first, which is the steadiest
TRIALS = range(100, 108)  # seeds that rates are chosen on
REPORTED = range(200, 264)  # seeds that figures are of
Options = Mapping[str, Any]
"""Settings of a run of the toy: objective, rho, ..."""
PICTURE = Image.fromarray(np.full((32, 32, 3), 128, np.uint8))


def measure(quick: bool) -> Iterator[Figure]:
    """All figures of this topic."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    yield from exactness()
    yield window_time(repeats=3 if quick else 15)
    yield activation_growth()
    seeds = REPORTED[:1] if quick else REPORTED
    families = {"transformer": "wan21"} if quick else {"transformer": "wan21", "unet": "svd"}
    default, published = {"objective": "grpo"}, {"objective": "ddpo"}
    for kind, family in families.items():
        yield queries_ratio(kind, family, (default, published), seeds, quick, "<= 0.2")
    if not quick:
        for size in (8, 4):
            group = {"num_generations": size, "batch": size}
            pair = ({**default, **group}, {**published, **group})
            yield queries_ratio(f"groups_of_{size}", "wan21", pair, seeds, quick)
        yield queries_ratio("rho", "wan21", ({**default, "rho": 0.5}, default), seeds, quick)


def exactness() -> Iterator[Figure]:
    """Ratio before an update, and difference from the stock pipeline, on every family."""
    worst = 0.0
    for family in FAMILIES:
        pipe = tiny_pipeline(family)
        call = {**CALLS[family], "image": PICTURE, "num_inference_steps": 4}
        layout = admit(pipe, call)
        worst = max(worst, parity(pipe, call, layout))
        found: list[float] = []
        for noise in (Noise(), Noise("ddim", 1.0, rho=0.4)):
            batch = {**batched(call, 2, layout), "output_type": "latent"}
            _, path = record(pipe, batch, [1, 2], noise=noise, window=range(4), layout=layout)
            replay(pipe, path, lambda a, centre: found.append(_deviation(a, centre, path)))  # noqa: B023
        yield Figure(
            f"tuning.ratio_deviation.{family}", max(found), min(found), max(found), len(found), "== 0"
        )
    yield Figure("tuning.parity", worst, 0.0, worst, len(FAMILIES), "<= 1e-05")


def _deviation(action: Action, centre: Tensor, path: Trajectory) -> float:
    new = density(action.law, centre, action.following, path.layout)
    return float(((new - action.log_prob).exp() - 1).abs().max())


def window_time(repeats: int) -> Figure:
    """Processor time of an update of 2 of 10 steps, against all; encoders remember, as in training."""
    pipe, call, layout = _ready("wan21", 10)
    ratios, memory = [], Memory()
    for repeat in range(repeats + 1):
        seconds = []
        for window in (range(2, 4), range(10)):
            with memory.of(pipe):
                _, path = record(pipe, call, range(4), noise=Noise(), window=window, layout=layout)
                start = time.process_time()
                replay(pipe, path, lambda _, centre: torch.autograd.backward(centre.mean()))
                seconds.append(time.process_time() - start)
        if repeat:  # the first one warms up
            ratios.append(seconds[0] / seconds[1])
    return Figure("tuning.window_time_ratio", *bootstrap(ratios, np.median), len(ratios), "<= 0.5")


def activation_growth() -> Figure:
    """Peak of what the update keeps for its backward passes: 20 steps against 5."""
    peaks = []
    for steps in (5, 20):
        pipe, call, layout = _ready("wan21", steps)
        _, path = record(pipe, call, range(4), noise=Noise(), window=range(steps), layout=layout)
        with _saved_bytes() as saved:
            replay(pipe, path, lambda _, centre: torch.autograd.backward(centre.mean()))
        peaks.append(saved["peak"])
    growth = peaks[1] / peaks[0]
    return Figure("tuning.activation_growth", growth, growth, growth, 2, "<= 1.01")


def _ready(family: str, steps: int) -> tuple[Pipeline, dict[str, Any], Any]:
    pipe = tiny_pipeline(family)
    call = {**CALLS[family], "image": PICTURE}
    layout = admit(pipe, call)
    pipe.transformer.requires_grad_(True)
    return pipe, {**batched(call, 4, layout), "output_type": "latent", "num_inference_steps": steps}, layout


@contextmanager
def _saved_bytes() -> Iterator[dict[str, int]]:
    """Bytes that autograd holds on to, now and at most."""
    count = {"now": 0, "peak": 0}

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
            count["now"] += self.size
            count["peak"] = max(count["peak"], count["now"])

        def __del__(self) -> None:
            count["now"] -= self.size

    gc.collect()
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        yield count


def queries_ratio(  # noqa: PLR0917
    name: str, family: str, pair: Sequence[Options], seeds: Sequence[int], quick: bool, bar: str = ""
) -> Figure:
    """Reward queries to the threshold: the first settings over the second, each at its best rate.

    The rate is the one with the fewest queries on seeds of its own, which are not among the reported.
    """
    rates, trials, most = (RATES[1:4], TRIALS[:1], BUDGET // 4) if quick else (RATES, TRIALS, BUDGET)
    counts = []
    for options in pair:
        rate = best_rate(family, options, rates, trials, most)
        counts.append([queries(family, options, rate, seed, most) for seed in seeds])
    pairs = np.array(counts, float).T
    value, low, high = bootstrap(
        range(len(pairs)), lambda i: float(np.divide(*pairs[i.astype(int)].mean(axis=0)))
    )
    return Figure(f"tuning.queries_ratio_{name}", value, low, high, len(pairs), bar, tuple(seeds))


def best_rate(
    family: str, options: Options, rates: Sequence[float], seeds: Sequence[int], most: int
) -> float:
    """The learning rate that needs the fewest queries; one that can't be it any more stops."""
    best, fewest = rates[0], len(seeds) * most + 1
    for rate in rates:
        asked = 0
        for seed in seeds:
            left = fewest - asked
            asked += queries(family, options, rate, seed, min(most, left)) if left > 0 else 0
        if asked < fewest:
            best, fewest = rate, asked
    return best


def queries(family: str, options: Options, rate: float, seed: int, most: int) -> int:
    """Clips that the reward sees until clips without noise reach the threshold; `most` if they don't."""
    tuner = toy_tuner(family, rate, seed, options)
    for asked in range(0, most, tuner.settings.num_generations):
        value = toy_value(tuner)
        if value >= THRESHOLD:
            return asked
        if not value > -1000:  # diverged: it would not come back
            break
        tuner.step()
    return most


def toy_tuner(family: str, rate: float, seed: int, options: Options) -> Tuner:
    """A tuner of a tiny denoiser on the toy reward."""
    pipe = tiny_pipeline(family)
    call: Mapping[str, Any] = {
        **CALLS[family],
        "image": PICTURE,
        "num_inference_steps": 8,
        "output_type": "latent",
    }
    if family == "svd":
        pipe.unet = _one_block_unet(seed)
        pipe._encode_image = (
            _blank  # a grey picture has nothing to tell, and resizing it costs as much as the rest
        )
        call = {**call, "max_guidance_scale": 1.0, "height": 8, "width": 8, "num_frames": 3}
    else:
        from diffusers import FlowMatchEulerDiscreteScheduler

        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
        call = {**call, "guidance_scale": 1.0, "num_frames": 9}
    recipe = {"prompts": 1, "num_generations": GROUP, "batch": GROUP, "rewards": {"toy": 1.0}, **options}
    settings = TuneSettings(iterations=BUDGET, learning_rate=rate, **recipe)
    settings = settings.model_copy(update={"rank": 0})  # every weight: these denoisers have no rank to save
    axis = 1 if family == "svd" else 2

    def toy(frames: Tensor) -> Tensor:
        change = frames.diff(dim=axis).pow(2).flatten(1).mean(1)
        return -50 * (frames.flatten(1).mean(1) - 0.5) ** 2 - change

    return Tuner(pipe, [Case("toy", call)], Scorer({"toy": toy}), settings, seed=seed)


def _one_block_unet(seed: int) -> Any:  # noqa: ANN401  as pipelines
    """A spatio-temporal U-Net of one block down and one up: two would cost twice and learn the same."""
    from diffusers import UNetSpatioTemporalConditionModel

    torch.manual_seed(seed)
    return UNetSpatioTemporalConditionModel(
        sample_size=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal",),
        up_block_types=("CrossAttnUpBlockSpatioTemporal",),
        block_out_channels=(32,),
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        layers_per_block=1,
        cross_attention_dim=32,
        num_attention_heads=2,
        num_frames=3,
    )


def _blank(image: Any, *_: object) -> Tensor:  # noqa: ANN401  one picture or several
    return torch.zeros(len(image) if isinstance(image, list) else 1, 1, 32)


def toy_value(tuner: Tuner) -> float:
    """The toy reward of eight clips without noise, always of the same seeds."""
    with tuner.memory.of(tuner.pipe):
        call = tuner.call(tuner.cases[0], 8, 8)
        made, _ = record(tuner.pipe, call, range(100, 108), noise=STILL, window=range(0), layout=tuner.layout)
    return float(tuner.scorer.rewards["toy"](made.float()).mean())


if __name__ == "__main__":
    main(measure, __doc__ or "")
