"""Where networks of a recipe run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from argen.errors import EnvironmentFault, RecipeError


def torch_device(name: str, setting: str = "generate.device") -> torch.device:
    """The device of a recipe; `auto` is a GPU where there is one, and of launched processes each has its own.

    `setting` is what a message blames. Raises RecipeError for a name that torch doesn't know,
    EnvironmentFault for a GPU that isn't there.
    """
    if name == "auto":
        return _own_gpu(setting) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(f"{setting}: no device '{name}'; write auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(f"{setting}: {name}, but torch sees {torch.cuda.device_count()} GPUs")
    return device


def _own_gpu(setting: str) -> torch.device:
    """The GPU of this launched process; the only one, where each process is shown but one."""
    own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if there > 1 and own >= there:
        raise EnvironmentFault(
            f"{setting}: process {own} of this machine, but torch sees {there} GPUs; start that many"
        )
    return torch.device("cuda", own if there > 1 else 0)


@contextmanager
def fitting(what: str, remedy: str) -> Iterator[None]:
    """Say in one sentence that a model doesn't fit. Raises EnvironmentFault."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise EnvironmentFault(f"{what} doesn't fit into memory; {remedy}") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is about memory, of a GPU or of the machine."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
