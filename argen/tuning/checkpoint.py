"""Checkpoints that a kill at any moment leaves loadable: written beside, then renamed. No pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from argen.config import differing_keys
from argen.errors import RecipeError

Weights = Mapping[str, Parameter]

FREE = (
    "tune.iterations", "tune.checkpoint_every", "tune.tracker", "tune.reward_processes", "tune.reward_device",
    "generate.device", "generate.batch",
)  # fmt: skip
"""Settings that may change between the parts of a run."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `iteration` iterations."""

    iteration: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int = 2) -> int:
    """Write a checkpoint, and drop all but the newest `keep`; the iteration of the oldest that is left."""
    from safetensors.torch import save_file

    root = folder / "checkpoints"
    target = root / f"{checkpoint.iteration:06d}"
    partial = root / f".{target.name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, partial / "state.safetensors")
    text = json.dumps({"iteration": checkpoint.iteration, **checkpoint.state}, indent=1)
    (partial / "state.json").write_text(text, encoding="utf-8")
    for path in partial.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    complete = _complete(root)
    for old in complete[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return int(complete[-keep:][0].name)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of a run that can be read; None if there is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for path in reversed(_complete(folder / "checkpoints")):
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            return Checkpoint(int(state.pop("iteration")), load_file(path / "state.safetensors"), state)
        except (OSError, ValueError, KeyError, SafetensorError):
            continue
    return None


def check_recipe(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Write down the recipe of a run, or refuse to go on with another one. Raises RecipeError.

    A run that has logged nothing yet has nothing to be true to: a typo may be mended in its folder.
    """
    path = folder / "recipe.json"
    if not path.is_file() or not (folder / "log.jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(recipe, indent=1), encoding="utf-8")
        partial.replace(path)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(recipe))
    changed = [line for line in differing_keys(before, now) if not line.startswith(FREE)]
    if changed:
        raise RecipeError(
            f"{folder}: made with another recipe ({'; '.join(changed)}); choose another folder or put it back"
        )


def check_origin(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with other jobs, models or reward files than a checkpoint names. Raises RecipeError."""
    changed = differing_keys(before, json.loads(json.dumps(now)))
    if changed:
        raise RecipeError(
            f"{folder}: this run was begun with others than now ({'; '.join(changed)}); put them back, or "
            "choose another folder as tune.out"
        )


def optimizer_tensors(names: Weights, optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors."""
    return {
        f"optimizer.{key}/{name}": torch.as_tensor(value)
        for name, weight in names.items()
        for key, value in optimizer.state[weight].items()
    }


def restore_optimizer(names: Weights, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put named tensors back into an optimiser."""
    for full, value in tensors.items():
        if full.startswith("optimizer."):
            key, _, name = full.removeprefix("optimizer.").partition("/")
            weight = names[name]
            optimizer.state[weight][key] = value if key == "step" else value.to(weight.device)


def _complete(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("[0-9]*") if (path / "state.json").is_file())
