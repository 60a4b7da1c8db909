"""Inter-frame conditional guidance: calm first, full affect at the apex, each frame in keeping with the next.

The abstract names it and gives no formula; these are ours, from public ancestry.

- *Guidance per frame*: w_f = 1 + (w - 1)·s_f, with s_f the target's intensity, 0 calm to 1 apex. The two
  branches of classifier-free guidance are caught at the denoiser, and the later one is shifted so that
  the pipeline's own `uncond + w·(cond - uncond)` comes out as if w were w_f.
- *Neighbour-conditioned estimate*: x̂0_f moves toward ½(x̂0_{f-1} + x̂0_{f+1}) by ½·weight·g/(a + g), much
  while all is noise and nothing at the end, with the source frame as the fixed boundary. At full weight and
  full noise that is the kernel 1-2-1, the strongest that does not turn flicker into its negative. The
  scheduler's step then gets the output that would have given this estimate, so every scheduler takes part.

Both act on one pipeline instance for the length of a `with`, and know no family: see `layout.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor, nn

from argen.errors import UsageError
from argen.generate.layout import Layout
from argen.generate.probe import Method, Pipeline, denoisers, replaced
from argen.tuning.transition import Step, schedule


@contextmanager
def guidance_along(
    pipe: Pipeline, layout: Layout, intensity: Float32[Tensor, "B F"], scale: float
) -> Iterator[None]:
    """Within: guidance of latent frame f of clip b is 1 + (scale - 1)·intensity[b, f].

    The pipeline must be called with a constant `guidance_scale` of `scale`, above 1, and with these B clips.
    """
    check_guided(layout, scale)
    state = _Branches(layout, 1 + (scale - 1) * intensity, scale)
    with ExitStack() as stack:
        for module in denoisers(pipe).values():
            before = module.forward
            stack.enter_context(replaced(module, "forward", state.wrap(before)))
        yield


def check_guided(layout: Layout, scale: float) -> None:
    """Raises UsageError where there is no guidance to vary."""
    if scale <= 1 or layout.branches is None:
        raise UsageError(
            "generate.guidance_follows_intensity: needs a pipeline that guides by two branches, with and "
            "without the prompt, and generate.guidance above 1"
        )


@contextmanager
def neighbours(pipe: Pipeline, layout: Layout, frames: int, weight: float) -> Iterator[None]:
    """Within: each estimate of a clean frame leans on its neighbours by `weight`, 0..1; 0 changes nothing."""
    if weight == 0:
        yield
        return
    if layout.step is None:
        raise UsageError(
            f"generate.neighbour_weight: {type(pipe).__name__} hands its scheduler packed frames; set it to 0"
        )
    state = _Neighbours(layout, frames, weight, pipe.scheduler)
    with ExitStack() as stack:
        for module in denoisers(pipe).values():
            stack.enter_context(replaced(module, "forward", state.watch(module)))
        stack.enter_context(replaced(pipe.scheduler, "step", state.wrap(pipe.scheduler.step)))
        yield


def latent_intensity(trajectory: Float32[ndarray, "T 20"], frames: int, ratio: int) -> Float32[ndarray, "F"]:
    """How far the target is from its start, 0..1 of its farthest, per latent frame of a clip of `frames`.

    Latent frame 0 is the first frame alone; each later one stands for `ratio` frames and takes their mean.
    """
    away = np.abs(trajectory - trajectory[0]).sum(axis=1)
    curve = away / away.max() if away.max() > 0 else np.zeros(len(away), np.float32)
    places = np.linspace(0, len(curve) - 1, frames)
    per_frame = np.interp(places, np.arange(len(curve)), curve)
    later = per_frame[1:].reshape(-1, ratio).mean(axis=1)
    return np.concatenate([per_frame[:1], later]).astype(np.float32)


@dataclass
class _Branches:
    """Turns one scale into one per frame, at whichever branch comes second."""

    layout: Layout
    scales: Float32[Tensor, "B F"]
    scale: float
    waiting: Tensor | None = None

    def wrap(self, before: Method) -> Method:
        def forward(*args: object, **kwargs: object) -> object:
            return _replace_output(before(*args, **kwargs), self._answer)

        return forward

    def _answer(self, output: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        prompted_last = not self.layout.prompted_first
        if self.layout.branches == "rows":
            first, second = output.chunk(2)
            return torch.cat([first, self._second(first, second, prompted_last)])
        if self.waiting is None:
            self.waiting = output
            return output
        first, self.waiting = self.waiting, None
        return self._second(first, output, prompted_last)

    def _second(self, first: Tensor, second: Tensor, prompted_last: bool) -> Tensor:
        frames = self.scales.shape[1]
        a, b = (self.layout.split(branch.float(), frames) for branch in (first, second))
        wanted = self.scales.to(a.device).reshape(*self.scales.shape, *[1] * (a.ndim - 2))
        if prompted_last:  # a uncond, b cond: a + w·(b' - a) = a + w_f·(b - a)
            shifted = a + wanted / self.scale * (b - a)
        else:  # a cond, b uncond: b' + w·(a - b') = b + w_f·(a - b)
            shifted = b + (self.scale - wanted) / (self.scale - 1) * (a - b)
        return self.layout.join(shifted).to(second.dtype)


@dataclass
class _Neighbours:
    """Sees what the denoiser is given, and corrects what the scheduler is given."""

    layout: Layout
    frames: int
    weight: float
    scheduler: Any
    hidden: Tensor | None = None
    steps: Sequence[Step] = field(default_factory=tuple)
    index: int = 0

    def watch(self, module: nn.Module) -> Method:
        before, names = module.forward, list(inspect.signature(type(module).forward).parameters)[1:]

        def forward(*args: object, **kwargs: object) -> object:
            named: dict[str, Any] = dict(zip(names, args, strict=False)) | kwargs
            self.hidden = named["hidden_states"] if "hidden_states" in named else named["sample"]
            return before(*args, **kwargs)

        return forward

    def wrap(self, before: Method) -> Method:
        signature = inspect.signature(before)

        def step(*args: object, **kwargs: object) -> object:
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            given["model_output"] = self._corrected(given["model_output"], given["sample"])
            return before(*bound.args, **bound.kwargs)

        return step

    def _corrected(
        self, output: Float[Tensor, "B *D"], sample: Float[Tensor, "B *D"]
    ) -> Float[Tensor, "B *D"]:
        if not self.steps:  # the time grid is only known once the pipeline has set it
            self.steps = schedule(self.scheduler)
        step = self.steps[self.index]
        self.index += 1
        axis = self.layout.step or 1
        x, m = sample.float().movedim(axis, 1), output.float().movedim(axis, 1)
        clean = step.from_sample * x + step.from_output * m
        lean = self.weight / 2 * step.g / (step.a + step.g)
        corrected = m + lean * self._change(clean, x) / step.from_output
        return corrected.movedim(1, axis).to(output.dtype)

    def _change(self, clean: Float32[Tensor, "B f *D"], x: Float32[Tensor, "B f *D"]) -> Tensor:
        source = self._source(x)
        if self.layout.condition:
            before = clean[:, :1] if source is None else source
            return _toward_neighbours(torch.cat([before, clean], dim=1))[:, 1:]
        if source is not None:
            clean = torch.cat([source, clean[:, 1:]], dim=1)
        return _toward_neighbours(clean)

    def _source(self, x: Float32[Tensor, "B f *D"]) -> Float32[Tensor, "B 1 *D"] | None:
        """The source frame's own latent, where the denoiser's input shows it clean."""
        if self.hidden is None:
            return None
        seen = self.layout.split(self.hidden[: x.shape[0]].float(), self.frames)
        if self.layout.hidden == "tokens":
            channels, height, width = x.shape[2:]
            if seen.shape[2:] != (height * width, channels):  # a token is more than one latent
                return None
            seen = seen.movedim(-1, 2).reshape(*seen.shape[:2], channels, height, width)
        for axis in (2, 3, 4):  # what comes after the noise, on the channels' axis, is the condition
            seen = seen.narrow(axis, 0, min(seen.shape[axis], x.shape[axis]))
        if seen.shape[2:] != x.shape[2:]:
            return None
        shown = self.layout.condition or not _same_direction(seen, x)
        return seen[:, :1] if shown else None


def _same_direction(seen: Float32[Tensor, "B F *D"], x: Float32[Tensor, "B F *D"]) -> bool:
    """Is the first frame of the input the scheduler's own sample, scaled like the others?"""
    scale = (seen[:, 1:] * x[:, 1:]).sum() / (x[:, 1:] ** 2).sum().clamp_min(1e-12)
    return bool((seen[:, :1] - scale * x[:, :1]).norm() <= 1e-2 * (scale * x[:, :1]).norm() + 1e-6)


def _toward_neighbours(clean: Float32[Tensor, "B F *D"]) -> Float32[Tensor, "B F *D"]:
    """½(left + right) - itself. The first frame is the boundary; the last has itself on its right."""
    right = torch.cat([clean[:, 2:], clean[:, -1:]], dim=1)
    change = torch.zeros_like(clean)
    change[:, 1:] = (clean[:, :-1] + right) / 2 - clean[:, 1:]
    return change


def _replace_output(output: object, change: Method) -> object:
    if isinstance(output, tuple):
        return (change(output[0]), *output[1:])
    if isinstance(output, Tensor):
        return change(output)
    output.sample = change(output.sample)  # type: ignore[attr-defined]
    return output
