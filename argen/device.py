"""Where networks of a recipe run."""

from __future__ import annotations

import os

import torch

from argen.errors import EnvironmentFault, RecipeError


def torch_device(name: str) -> torch.device:
    """The device of a recipe; `auto` is a GPU where there is one, and of launched processes each has its own.

    Raises RecipeError for a name that torch doesn't know, EnvironmentFault for a GPU that isn't there.
    """
    if name == "auto":
        own = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", own) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(f"generate.device: no device '{name}'; write auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(f"generate.device: {name}, but torch sees {torch.cuda.device_count()} GPUs")
    return device
