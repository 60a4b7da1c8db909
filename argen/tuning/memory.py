"""Frozen encoders answer the same question once: prompts and source frames come back every iteration."""

from __future__ import annotations

import copy
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from argen.generate.probe import denoisers, replaced
from argen.tuning.rollout import Pipeline

Method = Callable[..., Any]


TOGETHER = 2**24
"""Pixels of clips that a decoder gets at once: its memory is the peak of a rollout, its calls cost time."""


def decode_within(pipe: Pipeline, call: Mapping[str, Any], clips: int) -> None:
    """A batch of so many clips is decoded one by one, where they are large and the decoder can."""
    sides = [call.get(name) for name in ("num_frames", "height", "width")]
    pixels = clips * math.prod(side for side in sides if isinstance(side, int)) if all(sides) else TOGETHER
    for module in pipe.components.values():
        if hasattr(module, "use_slicing"):
            module.use_slicing = pixels >= TOGETHER


class Memory:
    """The latest answers, `size` bytes of them, of the text, image and latent encoders of a pipeline."""

    def __init__(self, size: int = 2**29) -> None:
        self.size, self.held = size, 0
        self.asked = self.known = 0
        self._answers: OrderedDict[str, Any] = OrderedDict()

    @contextmanager
    def of(self, pipe: Pipeline) -> Iterator[None]:
        """Within the context, an encoder that is asked again doesn't run again."""
        networks = denoisers(pipe)
        with ExitStack() as stack:
            for name, module in pipe.components.items():
                if isinstance(module, nn.Module) and name not in networks:
                    method = "encode" if hasattr(module, "encode") else "forward"
                    answer = self._remembering(name, getattr(module, method))
                    stack.enter_context(replaced(module, method, answer))
            yield

    def _remembering(self, name: str, method: Method) -> Method:
        def ask(*args: object, **kwargs: object) -> object:
            key = f"{name} {fingerprint((args, kwargs))}"
            self.asked += 1
            if key in self._answers:
                self.known += 1
                self._answers.move_to_end(key)
                return copy.deepcopy(self._answers[key])  # a pipeline may change what it was given
            with torch.no_grad():
                self._answers[key] = method(*args, **kwargs)
            self.held += _bytes(self._answers[key])
            while self.held > self.size and len(self._answers) > 1:
                self.held -= _bytes(self._answers.popitem(last=False)[1])
            return copy.deepcopy(self._answers[key])

        return ask


def fingerprint(value: object) -> str:
    """A hash of everything in nested arguments, tensors by their content."""
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest = hashlib.blake2b(data.numpy().data, digest_size=16).hexdigest()
        return f"{value.device} {value.dtype} {tuple(value.shape)} {digest}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={fingerprint(value[key])}" for key in sorted(value))
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(fingerprint, value))}]"
    return repr(value)


def _bytes(value: object) -> int:
    """Of the tensors in a nested answer."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return sum(map(_bytes, vars(value).values())) if hasattr(value, "__dict__") else 0
