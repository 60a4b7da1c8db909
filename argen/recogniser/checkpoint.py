"""A trained recogniser on disk: safetensors, settings, classes and whom it has seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from argen.errors import ArgenError, ModelUnavailable
from argen.recogniser.model import Recogniser
from argen.recogniser.settings import Settings

WEIGHTS, SETTINGS, FACTS = "model.safetensors", "settings.yaml", "facts.json"


@dataclass(frozen=True)
class Trained:
    """A recogniser, what it was trained as and on whom."""

    model: Recogniser
    settings: Settings
    classes: tuple[str, ...]
    subjects: frozenset[str]  # of its training and validation clips
    facts: Mapping[str, Any]


def own_tensors(model: Recogniser) -> dict[str, Tensor]:
    """The model's tensors, less the frozen ones, which come from where the tower came from."""
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def save_trained(
    folder: Path,
    model: Recogniser,
    classes: Sequence[str],
    subjects: Sequence[str],
    facts: Mapping[str, Any],
) -> Path:
    """Write a checkpoint folder; it appears whole or not at all."""
    from safetensors.torch import save_file

    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: value.detach().cpu().contiguous() for name, value in own_tensors(model).items()},
              partial / WEIGHTS)  # fmt: skip
    model.settings.write(partial / SETTINGS)
    told = {"classes": list(classes), "subjects": sorted(set(subjects)), **facts}
    (partial / FACTS).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return folder


def load_trained(folder: Path, device: str = "cpu") -> Trained:
    """Read a checkpoint folder. Raises ModelUnavailable where it is none, or is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / WEIGHTS).is_file():
        inside = folder / "checkpoint"
        hint = f"; you mean {inside}" if inside.is_dir() else "; `argen recognise train` writes one"
        raise ModelUnavailable(f"{folder}: holds no recogniser{hint}")
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        classes, subjects = tuple(facts.pop("classes")), frozenset(facts.pop("subjects"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise ModelUnavailable(f"{folder}: damaged ({str(error).splitlines()[0]}); train it again") from error
    try:
        settings = Settings.read(folder / SETTINGS)
    except ModelUnavailable:
        raise
    except ArgenError as error:
        raise ModelUnavailable(f"{folder}: {error}; written by another version; train it again") from error
    model = Recogniser(settings, classes)
    _put(folder, model, tensors)
    return Trained(model.eval().to(torch.device(device)), settings, classes, subjects, facts)


def _put(folder: Path, model: Recogniser, tensors: Mapping[str, Tensor]) -> None:
    wanted = {name: tuple(value.shape) for name, value in own_tensors(model).items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    odd = sorted(set(wanted.items()) ^ set(found.items()))
    if odd:
        raise ModelUnavailable(
            f"{folder}: its weights are not those of its settings and classes ({odd[0][0]}); the prompts may "
            "have changed since; train it again"
        )
    model.load_state_dict(dict(tensors), strict=False)
