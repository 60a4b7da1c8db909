"""RGB patch features of any vision transformer of transformers or timm, from a folder or the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from argen.errors import ModelUnavailable

DINO = "timm/vit_base_patch8_224.dino"
"""The authors' choice: ViT-B/8, 28x28 patches of a 224-pixel picture."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Vit:
    """A loaded transformer: picture in, the last layer's normalised patch tokens out, no class token."""

    forward: Callable[[Tensor], Tensor]  # pixels -> tokens
    size: int  # height and width that it was made for
    patch: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    device: str

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return (self.size // self.patch, self.size // self.patch)

    @torch.inference_mode()
    def __call__(self, rgb: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B N D"]:
        """Patch features of a batch of pictures of any size."""
        image = rgb.to(self.device).permute(0, 3, 1, 2).float() / 255
        image = torch.nn.functional.interpolate(
            image, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False
        )
        mean, deviation = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in self._norm)
        tokens = self.forward((image.clamp(0, 1) - mean) / deviation)
        count = self.grid[0] * self.grid[1]
        return tokens[:, tokens.shape[1] - count :].float().clone()

    @property
    def _norm(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.mean, self.deviation


def load_vit(reference: str = DINO, device: str = "cpu") -> Vit:
    """A folder, a hub id (`facebook/dinov2-base`), or a timm model (`timm/...` on the hub, or its bare name).

    Weights are read as safetensors, or as tensors only; no code from the folder is run. Raises
    ModelUnavailable.
    """
    folder = Path(reference)
    try:
        if _is_timm(reference):
            return _from_timm(f"local-dir:{folder}" if folder.is_dir() else _timm_name(reference), device)
        return _from_transformers(reference, device)
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailable(
            f"{reference}: no vision transformer could be loaded ({first}); give a folder with "
            "config.json and safetensors, a hub id, or use --rgb colour-hog"
        ) from error


def _is_timm(reference: str) -> bool:
    config = Path(reference) / "config.json"
    if config.is_file():
        return "architecture" in json.loads(config.read_text(encoding="utf-8"))
    return reference.startswith("timm/") or "/" not in reference


def _timm_name(reference: str) -> str:
    return f"hf-hub:{reference}" if "/" in reference else reference


def _from_timm(name: str, device: str) -> Vit:
    import timm

    model = timm.create_model(name, pretrained=True, num_classes=0).eval().to(device)
    data = timm.data.resolve_model_data_config(model)
    patch = model.patch_embed.patch_size[0]
    return Vit(
        model.forward_features, data["input_size"][-1], patch, tuple(data["mean"]), tuple(data["std"]), device
    )


def _from_transformers(reference: str, device: str) -> Vit:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(reference).eval().to(device)
    model = getattr(model, "vision_model", model)  # of CLIP and its kin only the eyes
    config = model.config
    mean, deviation = _normalisation(reference)

    def tokens(pixels: Tensor) -> Tensor:
        out: Tensor = model(pixel_values=pixels).last_hidden_state
        return out

    return Vit(tokens, int(config.image_size), int(config.patch_size), mean, deviation, device)


def _normalisation(reference: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the model's own image processor says; ImageNet's where the folder has none."""
    from transformers import AutoImageProcessor

    try:
        processor: Any = AutoImageProcessor.from_pretrained(reference)
    except (OSError, ValueError):
        return IMAGENET
    return tuple(processor.image_mean), tuple(processor.image_std)
