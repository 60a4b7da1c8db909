"""LoRA on the denoisers of a pipeline: one way for transformers and U-Nets, one or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from argen.errors import RecipeError
from argen.generate.adapter import NAME
from argen.generate.probe import denoisers
from argen.tuning.rollout import Pipeline

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
"""What diffusers calls the projections of its attention layers."""


def inject(pipe: Pipeline, rank: int, alpha: float, seed: int, targets: Sequence[str] = ()) -> None:
    """Freeze the pipeline and add low-rank matrices, in single precision, to its denoisers' attention.

    The output is unchanged until the first update. `targets` are ends of layer names; by default the
    attention projections. There is no dropout: it would make a replay differ from its rollout. Rank 0
    trains every weight instead, for denoisers too small to have a low rank. An adapter that is there
    already (`generate.adapter`) is gone on from. Raises RecipeError if it has another rank or scale.
    """
    from peft import LoraConfig, inject_adapter_in_model

    for component in pipe.components.values():
        if isinstance(component, nn.Module):
            component.requires_grad_(False).eval()
    begun = [module for module in denoisers(pipe).values() if NAME in getattr(module, "peft_config", {})]
    if begun:
        for module in begun:
            _go_on(module, rank, alpha)
        return
    if rank == 0:
        for module in denoisers(pipe).values():
            module.requires_grad_(True)
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in denoisers(pipe).items():
            layers = _layers(module, targets)
            if not layers:
                raise RecipeError(
                    f"tune.targets: no linear layer of the {name} ends with {', '.join(targets)}"
                )
            config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, lora_dropout=0.0)
            inject_adapter_in_model(config, module, adapter_name=NAME)
    for weight in adapter(pipe).values():
        weight.data = weight.data.float()


def _go_on(module: nn.Module, rank: int, alpha: float) -> None:
    config: Any = module.peft_config[NAME]  # type: ignore[index]
    if config.rank_pattern or config.alpha_pattern or config.use_rslora:
        raise RecipeError(
            "generate.adapter: its layers differ in rank or scale, so tuning can't go on from it"
        )
    if (config.r, float(config.lora_alpha)) != (rank, alpha):
        raise RecipeError(
            f"generate.adapter: its rank is {config.r} and its scale {config.lora_alpha:g}; to go on from it "
            f"set tune.rank={config.r} and tune.alpha={config.lora_alpha:g}"
        )
    for name, weight in module.named_parameters():
        if f".{NAME}." in name:
            weight.requires_grad_(True)
            weight.data = weight.data.float()


def adapter(pipe: Pipeline) -> dict[str, nn.Parameter]:
    """The trainable matrices, by the names that an adapter file gives them."""
    return {
        f"{name}.{key.replace(f'.{NAME}.', '.')}": weight
        for name, module in denoisers(pipe).items()
        for key, weight in module.named_parameters()
        if weight.requires_grad
    }


def shard(pipe: Pipeline) -> None:
    """Spread the frozen weights of the denoisers over the processes (FSDP2); the adapter stays whole on each.

    Every process must then run the denoisers equally often.
    """
    from torch.distributed.fsdp import fully_shard

    for module in denoisers(pipe).values():
        own = {weight for weight in module.parameters() if weight.requires_grad}
        blocks = [
            layer for layers in module.modules() if isinstance(layers, nn.ModuleList) for layer in layers
        ]
        for block in blocks:
            if any(block is not other and block in set(other.modules()) for other in blocks):
                continue  # inside another block
            fully_shard(block, ignored_params=own)
        fully_shard(module, ignored_params=own)


@contextmanager
def untuned(pipe: Pipeline) -> Iterator[None]:
    """The model without its adapter: the reference policy."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [
        layer
        for module in denoisers(pipe).values()
        for layer in module.modules()
        if isinstance(layer, BaseTunerLayer)
    ]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@contextmanager
def swapped(pipe: Pipeline, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other matrices (an average, a checkpoint's), for as long as the context lasts."""
    own = adapter(pipe)
    kept = {name: weight.detach().clone() for name, weight in own.items()}
    put(own, weights)
    try:
        yield
    finally:
        put(own, kept)


def put(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], prefix: str = "") -> None:
    """Copy matrices by name into those that are there."""
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[prefix + name])


def save_adapter(weights: Mapping[str, Tensor], path: Path, rank: int, alpha: float) -> None:
    """Write matrices where `pipe.load_lora_weights` and `generate.adapter` read them; atomically."""
    from safetensors.torch import save_file

    layers: dict[str, list[str]] = {}
    for name in weights:
        component, _, layer = name.partition(".")
        if layer.endswith(".lora_A.weight"):
            layers.setdefault(component, []).append(layer.removesuffix(".lora_A.weight"))
    settings: dict[str, Any] = {}
    for component, names in layers.items():
        of_one = {"r": rank, "lora_alpha": alpha, "target_modules": sorted(names)}
        settings |= {f"{component}.{key}": value for key, value in of_one.items()}
    partial = path.with_suffix(".part")
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(tensors, partial, metadata={"format": "pt", "lora_adapter_metadata": json.dumps(settings)})
    partial.replace(path)


def _layers(module: nn.Module, targets: Sequence[str]) -> list[str]:
    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if targets:
        return [name for name in linear if name.endswith(tuple(f".{end}" for end in targets))]
    usual = [name for name in linear if name.endswith(tuple(f".{end}" for end in PROJECTIONS))]
    return usual or [name for name in linear if "attention" in name or "attn" in name]
