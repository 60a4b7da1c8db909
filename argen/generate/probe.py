"""What a pipeline feeds its denoiser, learnt by running it with the denoiser cut out.

This is how families are told apart without naming one: a probe costs the encoders' time and no denoising,
and says which axis is time, which rows are guided, and whether a batch equals its singles.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import update_wrapper
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor, nn

Pipeline = Any
"""An instance of a diffusers pipeline; diffusers has no types."""
Method = Any
Result = Any

_DENOISER = re.compile(r"(transformer|unet|denoiser)(_\d+)?")


@dataclass(frozen=True)
class Probe:
    """The tensors that reach the denoiser, one mapping per call, and what reaches the scheduler's step."""

    calls: tuple[Mapping[str, Tensor], ...]
    sample: Tensor | None  # None where the pipeline never steps its scheduler

    @property
    def hidden(self) -> Tensor:
        """The noisy input of the first call."""
        return self.calls[0]["hidden_states"]


class _Reached(Exception):
    """Enough was seen; carries what the step was given."""


def denoisers(pipe: Pipeline) -> dict[str, nn.Module]:
    """The networks that denoise, by component name: diffusers calls them transformer, transformer_2, unet."""
    return {
        name: module
        for name, module in pipe.components.items()
        if isinstance(module, nn.Module) and _DENOISER.fullmatch(name)
    }


@contextmanager
def replaced(target: object, name: str, value: Method) -> Iterator[Method]:
    """Shadow a method on one instance, and put back whatever was there, hooks included; gives the old one."""
    shadowed = name in vars(target)
    before = getattr(target, name)
    setattr(target, name, update_wrapper(value, before))  # pipelines read the signature of what they call
    try:
        yield before
    finally:
        if shadowed:
            setattr(target, name, before)
        else:
            delattr(target, name)


def call(pipe: Pipeline, arguments: Mapping[str, Any]) -> Result:
    """`pipe(**arguments)` without the warnings that libraries write to each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return pipe(**arguments)


def probe(pipe: Pipeline, arguments: Mapping[str, Any]) -> Probe:
    """Run `pipe(**arguments)` until its first scheduler step, with a denoiser that answers zeros."""
    calls: list[dict[str, Tensor]] = []
    sample: Tensor | None = None
    with _without_denoiser(pipe, calls), replaced(pipe.scheduler, "step", _halt):
        try:
            call(pipe, arguments)
        except _Reached as reached:
            sample = reached.args[0]
        finally:
            pipe.maybe_free_model_hooks()
    return Probe(tuple(calls), sample)


def rehearse(pipe: Pipeline, arguments: Mapping[str, Any]) -> tuple[Probe, Float32[ndarray, "B T H W 3"]]:
    """Run `pipe(**arguments)` to its end, decoding included, with a denoiser that answers zeros."""
    calls: list[dict[str, Tensor]] = []
    with _without_denoiser(pipe, calls):
        frames = call(pipe, arguments).frames
    return Probe(tuple(calls), None), np.asarray(frames, np.float32)


@contextmanager
def _without_denoiser(pipe: Pipeline, calls: list[dict[str, Tensor]]) -> Iterator[None]:
    with ExitStack() as stack:
        for module in denoisers(pipe).values():
            stack.enter_context(replaced(module, "forward", _recorder(module, calls)))
        yield


def _recorder(module: nn.Module, calls: list[dict[str, Tensor]]) -> Method:
    names, real = list(inspect.signature(type(module).forward).parameters)[1:], module.forward

    def forward(*args: object, **kwargs: object) -> object:
        named = dict(zip(names, args, strict=False)) | kwargs
        tensors = {key: value.detach() for key, value in named.items() if isinstance(value, Tensor)}
        if "sample" in tensors:  # U-Nets call their noisy input so
            tensors["hidden_states"] = tensors.pop("sample")
        calls.append(tensors)
        answer = _blank(module, tensors)
        if answer is None:
            return _silenced(real(*args, **kwargs))
        return (answer,) if named.get("return_dict") is False else SimpleNamespace(sample=answer)

    return forward


def _blank(module: nn.Module, given: Mapping[str, Tensor]) -> Tensor | None:
    """Zeros in the shape of the answer: the noisy input with the channels that come out.

    None where the config doesn't tell: channels by other names, or several streams such as sound.
    """
    config: Any = module.config
    came, comes = config.get("in_channels"), config.get("out_channels") or config.get("in_channels")
    streams = [name for name in given if name.endswith("hidden_states") and not name.startswith("encoder")]
    shape = list(given["hidden_states"].shape)
    axes = [axis for axis in (1, 2, -1) if shape[axis] == came]
    if len(streams) != 1 or not axes:
        return None
    shape[axes[0]] = comes
    return given["hidden_states"].new_zeros(shape)


def _silenced(answer: Any) -> object:  # noqa: ANN401
    if isinstance(answer, Tensor):
        return answer * 0
    if isinstance(answer, tuple):
        return tuple(_silenced(part) for part in answer)
    for name, value in vars(answer).items():
        if isinstance(value, Tensor):
            answer[name] = value * 0
    return answer


def _halt(*args: object, **kwargs: object) -> None:
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.ndim > 1]
    raise _Reached(tensors[-1])
