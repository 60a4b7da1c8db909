"""Whether a pipeline can be tuned by replay, and how its latents lie: found by trying, never by name.

A handful of short runs: which axis is time, which frames the pipeline overwrites, how a batch is asked for,
and that our law without noise is the stock scheduler. What fails here is refused in one sentence.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from argen.errors import RecipeError, did_you_mean
from argen.generate.checkpoint import LENGTHS, unfit
from argen.generate.probe import denoisers, replaced
from argen.tuning.rollout import Answer, Layout, Pipeline, frames_of, generators, record
from argen.tuning.transition import STILL, first_order, mean, schedule, transition

log = logging.getLogger(__name__)

STEPS = 3
"""Denoising steps of a trial run: enough to pass the boundary of a two-stage pipeline."""
PER_SAMPLE = ("image", "prompt")
"""Arguments of a call of which each sample has its own."""
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5}
"""Largest relative difference from the stock scheduler; in half precisions rounding alone gives 2e-2."""


def admit(pipe: Pipeline, call: Mapping[str, Any]) -> Layout:
    """Give the pipeline a first-order scheduler, find its layout, and prove that it can be replayed.

    `call` is a call of the pipeline for one clip. Raises RecipeError, one sentence, if it can't be tuned.
    """
    problem = unfit(type(pipe))
    if problem:
        raise RecipeError(f"tune.model: {type(pipe).__name__} {problem}; choose an image-to-video checkpoint")
    if not denoisers(pipe):
        raise RecipeError(f"tune.model: {type(pipe).__name__} has no transformer or unet that could be tuned")
    dtypes = {weight.dtype for module in denoisers(pipe).values() for weight in module.parameters()}
    if torch.float16 in dtypes:
        raise RecipeError(
            "generate.dtype: most gradients are too small for float16; tune in bfloat16 or float32"
        )
    pipe.scheduler = first_order(pipe.scheduler)
    call = {**call, "output_type": "latent", "num_inference_steps": STEPS}
    images = _takes_images(pipe, call)
    layout = Layout(frames=None, images=bool(images), batches=images is not None)
    layout = replace(layout, frames=_time_axis(pipe, call, layout))
    layout = replace(
        layout, first=_conditions(pipe, call, layout, 1), last=_conditions(pipe, call, layout, -1)
    )
    difference = parity(pipe, call, layout)
    limit = max(TOLERANCE.get(dtype, 5e-2) for dtype in dtypes)
    if not difference <= limit:
        raise RecipeError(
            f"tune.model: {type(pipe).__name__} can't be replayed exactly: without noise our step differs "
            f"from {type(pipe.scheduler).__name__} by {difference:.1e} (at most {limit:.0e}); "
            "set a first-order scheduler"
        )
    return layout


def check_reference(pipe: Pipeline, reference: Mapping[str, Any]) -> None:
    """Raises RecipeError for an argument of `tune.reference` that the pipeline doesn't take."""
    known = set(inspect.signature(type(pipe).__call__).parameters)
    for name in sorted(set(reference) - known):
        raise RecipeError(
            f"tune.reference: {type(pipe).__name__} takes no '{name}'{did_you_mean(name, known)}"
        )


def batched(call: Mapping[str, Any], count: int, layout: Layout) -> dict[str, Any]:
    """The call for `count` samples of one clip's image and prompt."""
    call = dict(call)
    if not layout.batches and count == 1:
        return call
    if layout.images:
        call["image"] = [call["image"]] * count
    if call.get("prompt") is not None:
        call["prompt"] = [call["prompt"]] * count
    return call


def common(call: Mapping[str, Any]) -> dict[str, Any]:
    """What calls must have alike to be made together."""
    return {name: value for name, value in call.items() if name not in PER_SAMPLE}


def together(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One call for the samples of several that `batched` made, alike in all but images and prompts."""
    call = dict(calls[0])
    for name in PER_SAMPLE:
        if isinstance(call.get(name), list):
            call[name] = [one for other in calls for one in other[name]]
    return call


def parity(pipe: Pipeline, call: Mapping[str, Any], layout: Layout) -> float:
    """Largest difference between the stock scheduler and our law without noise, relative to the latents."""
    call = {**batched(call, 1, layout), "output_type": "latent"}
    with torch.no_grad():
        stock = frames_of(pipe(**call, generator=generators([0])))
    ours, _ = record(pipe, call, [0], noise=STILL, window=range(0), layout=layout)
    return float((ours.float() - stock.float()).abs().max() / stock.float().abs().max().clamp(min=1e-6))


def _takes_images(pipe: Pipeline, call: Mapping[str, Any]) -> bool | None:
    """Whether two samples are asked for by two images, or by one image and two prompts; None for neither."""
    for images in (True, False):
        try:
            sample = _at_step(pipe, batched(call, 2, Layout(None, images=images)), 0)[1]
        except Exception as error:  # whatever a pipeline says to a batch that it does not take
            log.debug("%s takes no batch (images: %s): %s", type(pipe).__name__, images, error)
            continue
        if sample.shape[0] == 2:
            return images
    return None


def _time_axis(pipe: Pipeline, call: Mapping[str, Any], layout: Layout) -> int | None:
    """The axis that grows with the number of frames; None where latents are packed."""
    parameters = inspect.signature(type(pipe).__call__).parameters
    name = next(name for name in LENGTHS if name in parameters)
    length = call.get(name) or parameters[name].default or 14
    call = batched(call, 1, layout)
    long = _at_step(pipe, call, 0)[1]
    short = _at_step(pipe, {**call, name: (length + 1) // 2}, 0)[1]
    differing = [axis for axis in range(long.ndim) if long.shape[axis] != short.shape[axis]]
    return differing[0] if long.ndim == 5 and len(differing) == 1 else None


def _conditions(pipe: Pipeline, call: Mapping[str, Any], layout: Layout, side: int) -> int:
    """Frames at the start (side 1) or end (-1) whose latents change nothing: the pipeline overwrites them."""
    if layout.frames is None:
        return 0
    call = batched(call, 1, layout)
    expected, sample = _at_step(pipe, call, 1)
    for count in range(sample.shape[layout.frames]):
        frame = count if side == 1 else sample.shape[layout.frames] - 1 - count
        found, _ = _at_step(pipe, call, 1, disturb=(layout.frames, frame))
        if not torch.equal(found, expected):
            return count
    raise RecipeError(f"tune.model: {type(pipe).__name__} overwrites every frame, so nothing can be explored")


class _Reached(Exception):
    """The step that was asked for; carries the denoiser's answer and the sample."""


def _at_step(
    pipe: Pipeline, call: Mapping[str, Any], stop: int, disturb: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """What reaches step `stop`; a frame (axis, index) of the sample before it can be disturbed."""
    seen = 0
    time: float | None = None

    def step(
        model_output: Tensor, timestep: Tensor | float, sample: Tensor, *_: object, **options: object
    ) -> Answer:
        nonlocal seen, time
        beside, time = float(timestep) == time, float(timestep)
        if not beside and seen == stop:
            raise _Reached(model_output, sample)
        seen += not beside
        following = mean(transition(schedule(pipe.scheduler)[seen - 1], STILL), sample, model_output)
        if disturb is not None and not beside:
            following = following.clone()
            following.select(*disturb).add_(1.0)
        following = following.to(sample.dtype)
        return (following,) if options.get("return_dict") is False else _Step(following)

    with torch.no_grad(), replaced(pipe.scheduler, "step", step):
        try:
            pipe(**call, generator=generators(range(_count(call))), return_dict=False)
        except _Reached as reached:
            return reached.args[0], reached.args[1]
    raise RecipeError(
        f"tune.model: {type(pipe).__name__} never calls its scheduler's step, so it can't be tuned"
    )


class _Step(tuple[Tensor]):
    """Minimal answer of a step: a tuple with the name that pipelines read."""

    def __new__(cls, following: Tensor) -> _Step:
        return super().__new__(cls, (following,))

    @property
    def prev_sample(self) -> Tensor:
        return self[0]


def _count(call: Mapping[str, Any]) -> int:
    several = [value for value in (call.get("prompt"), call.get("image")) if isinstance(value, list)]
    return len(several[0]) if several else 1
