"""LoRA adapters: low-rank changes to the denoisers of a pipeline, from a safetensors file.

The names inside are peft's with the component in front, `transformer.blocks.0.attn1.to_q.lora_A.weight`,
which is what diffusers writes. Files of other trainers go through the pipeline's own converter.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from argen.errors import ModelUnavailable
from argen.generate.probe import Pipeline, denoisers

NAME = "argen"
"""What peft calls the adapter inside the model."""
_METADATA = "lora_adapter_metadata"  # diffusers' key in the header; JSON of `component.setting`


def load_adapter(pipe: Pipeline, path: Path) -> str:
    """Add the adapter of a file, or of a folder with one, to the denoisers; gives the file's hash.

    Raises ModelUnavailable if it is missing, no safetensors file, or made for another model.
    """
    from safetensors import SafetensorError, safe_open

    file = find_adapter(path)
    try:
        with safe_open(file, "pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = json.loads((opened.metadata() or {}).get(_METADATA, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelUnavailable(f"generate.adapter: {file}: not a safetensors file: {error}") from error
    parts = _by_component(pipe, weights)
    if parts is None:
        _convert(pipe, file)
    else:
        for name, part in parts.items():
            _inject(denoisers(pipe)[name], part, _settings(metadata, name), f"{file}: {name}")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def find_adapter(path: Path) -> Path:
    """The safetensors file that `path` is or holds."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        what = f"holds {len(files)} .safetensors files" if path.is_dir() else "does not exist"
        raise ModelUnavailable(f"generate.adapter: {path} {what}; name one LoRA file")
    if files[0].suffix != ".safetensors":
        raise ModelUnavailable(
            f"generate.adapter: {files[0]}: only .safetensors is read; a pickle can run code when loaded"
        )
    return files[0]


def _by_component(pipe: Pipeline, weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]] | None:
    """Weights per denoiser if every one is named as peft does, else None."""
    known, parts = denoisers(pipe), defaultdict(dict)  # type: dict[str, nn.Module], dict[str, dict[str, Tensor]]
    for name, weight in weights.items():
        component, _, rest = name.partition(".")
        if component not in known or not rest.endswith((".lora_A.weight", ".lora_B.weight")):
            return None
        parts[component][rest] = weight
    return dict(parts)


def _inject(
    module: nn.Module, weights: Mapping[str, Tensor], settings: Mapping[str, Any], where: str
) -> None:
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    ranks = {
        name.removesuffix(".lora_A.weight"): w.shape[0] for name, w in weights.items() if "lora_A" in name
    }
    absent = sorted(set(ranks) - {name for name, _ in module.named_modules()})
    if absent:
        raise ModelUnavailable(
            f"generate.adapter: {where} has no layer {absent[0]}; it was made for another model"
        )
    rank = max(set(ranks.values()), key=list(ranks.values()).count)
    config = LoraConfig(
        r=rank,
        lora_alpha=settings.get("lora_alpha", rank),
        target_modules=sorted(ranks),
        rank_pattern={name: other for name, other in ranks.items() if other != rank},
        alpha_pattern=settings.get("alpha_pattern", {}),
        use_rslora=settings.get("use_rslora", False),
    )
    try:
        inject_adapter_in_model(config, module, adapter_name=NAME)
        outcome = set_peft_model_state_dict(module, dict(weights), adapter_name=NAME)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelUnavailable(f"generate.adapter: {where} does not fit this model: {reason}") from error
    lost = [name for name in outcome.missing_keys if "lora_" in name] + list(outcome.unexpected_keys)
    if lost:
        raise ModelUnavailable(f"generate.adapter: {where} does not fit this model: {lost[0]}")
    module.requires_grad_(False)


def _convert(pipe: Pipeline, file: Path) -> None:
    """Names of another trainer: the pipeline's own loader knows the usual ones."""
    if not hasattr(pipe, "load_lora_weights"):
        raise ModelUnavailable(
            f"generate.adapter: {file}: its names are not peft's (component.layer.lora_A.weight), and "
            f"{type(pipe).__name__} has no converter"
        )
    try:
        pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name=NAME)
    except Exception as error:  # each family's converter fails in its own way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailable(
            f"generate.adapter: {file}: not a LoRA for {type(pipe).__name__}: {reason}"
        ) from error
    if not any(NAME in getattr(module, "peft_config", {}) for module in denoisers(pipe).values()):
        raise ModelUnavailable(f"generate.adapter: {file}: nothing in it fits {type(pipe).__name__}")


def _settings(metadata: Mapping[str, Any], component: str) -> dict[str, Any]:
    """The LoRA settings of one component from diffusers' flat `component.setting` names."""
    prefix = f"{component}."
    return {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
