"""Frozen encoders answer the same question once: prompts and source frames come back every iteration."""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from argen.generate.probe import denoisers, replaced
from argen.tuning.rollout import Pipeline

Method = Callable[..., Any]


def decode_singly(pipe: Pipeline) -> None:
    """Clips of a batch are decoded one after the other, where the decoder can: its memory is the peak."""
    for module in pipe.components.values():
        if hasattr(module, "use_slicing"):
            module.use_slicing = True


class Memory:
    """The latest `size` answers of the text, image and latent encoders of a pipeline."""

    def __init__(self, size: int = 128) -> None:
        self.size = size
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
            key = f"{name} {_fingerprint((args, kwargs))}"
            self.asked += 1
            if key in self._answers:
                self.known += 1
                self._answers.move_to_end(key)
                return copy.deepcopy(self._answers[key])  # a pipeline may change what it was given
            with torch.no_grad():
                self._answers[key] = method(*args, **kwargs)
            if len(self._answers) > self.size:
                self._answers.popitem(last=False)
            return copy.deepcopy(self._answers[key])

        return ask


def _fingerprint(value: object) -> str:
    """A hash of everything in nested arguments, tensors by their content."""
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest = hashlib.blake2b(data.numpy().data, digest_size=16).hexdigest()
        return f"{value.device} {value.dtype} {tuple(value.shape)} {digest}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_fingerprint(value[key])}" for key in sorted(value))
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_fingerprint, value))}]"
    return repr(value)
