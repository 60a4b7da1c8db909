"""Towers: frames and texts into one space. Any CLIP of transformers, or a small one trained from scratch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from argen.errors import ModelUnavailable
from argen.recogniser.settings import Settings

if TYPE_CHECKING:
    from transformers import CLIPModel

STEM, MIDDLE = 32, 64  # channels of the small tower


class Tower(Protocol):
    """What the recogniser needs of a vision-language model."""

    width: int
    size: int  # height and width of the frames it takes

    def frames(self, clips: UInt8[Tensor, "B T H W 3"]) -> Float[Tensor, "B T D"]:
        """One token a frame."""

    def texts(self) -> Float[Tensor, "K D"]:
        """Features of the texts that the tower was made with, in their order; not normalised."""

    def forget_texts(self) -> int:
        """Drop the text side, for a model that has no use for it; the number of parameters dropped."""


def make_tower(settings: Settings, texts: Sequence[str]) -> SmallTower | ClipTower:
    """The tower that `settings.tower` names, for these texts. Raises ModelUnavailable."""
    if settings.small:
        return SmallTower(settings.width, settings.size, texts)
    return ClipTower(settings, texts)


class SmallTower(nn.Module):
    """Strided convolutions for frames and a bag of words for texts, both trained from scratch.

    A frame is seen beside its difference from the clip's first frame: motion, in which the person cancels.
    Words share their vectors over all texts, so that what a class says of a brow is learnt by all that do.
    No weights of the embedded checkpoint, its reader or its judge are in it.
    """

    words: Int64[Tensor, "K W"]

    def __init__(self, width: int, size: int, texts: Sequence[str]) -> None:
        super().__init__()
        self.width, self.size = width, size
        self.convolutions = nn.Sequential(
            nn.Conv2d(6, STEM, 4, 4), nn.GroupNorm(8, STEM), nn.LeakyReLU(0.2),
            nn.Conv2d(STEM, MIDDLE, 3, 2, 1), nn.GroupNorm(8, MIDDLE), nn.LeakyReLU(0.2),
            nn.Conv2d(MIDDLE, width, 3, 2, 1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2), nn.Flatten(),
        )  # fmt: skip
        side = (size // 4 + 3) // 4  # of the last map: two strides of 2, each rounded up
        self.last = nn.Linear(width * side * side, width)
        numbers, self.vocabulary = _word_numbers(texts)
        self.register_buffer("words", numbers)
        self.vectors = nn.Embedding(len(self.vocabulary) + 1, width, padding_idx=0)

    def frames(self, clips: UInt8[Tensor, "B T H W 3"]) -> Float[Tensor, "B T D"]:
        """One token a frame."""
        pixels = clips.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        seen = torch.cat([pixels, pixels - pixels[:, :1]], dim=2)
        tokens: Tensor = self.last(self.convolutions(seen.flatten(0, 1)))
        return tokens.reshape(*clips.shape[:2], -1)

    def texts(self) -> Float[Tensor, "K D"]:
        """Mean of the words' vectors."""
        count = (self.words > 0).sum(dim=1, keepdim=True).clamp(min=1)
        total: Tensor = self.vectors(self.words).sum(dim=1)
        return total / count

    def forget_texts(self) -> int:
        """Drop the words' vectors."""
        dropped = self.vectors.weight.numel()
        del self.vectors, self.words
        return dropped


def _word_numbers(texts: Sequence[str]) -> tuple[Int64[Tensor, "K W"], list[str]]:
    """Numbers of the words of each text, 0 beyond its end."""
    split = [re.findall(r"[^\W_]+", text.lower()) for text in texts]
    vocabulary = sorted({word for words in split for word in words})
    place = {word: i + 1 for i, word in enumerate(vocabulary)}
    numbers = torch.zeros(len(texts), max((len(words) for words in split), default=1), dtype=torch.int64)
    for row, words in enumerate(split):
        numbers[row, : len(words)] = torch.tensor([place[word] for word in words], dtype=torch.int64)
    return numbers, vocabulary


# CLIP's own constants, for models whose folder has no image processor.
CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)
LORA_TARGETS: Final = ("q_proj", "k_proj", "v_proj", "out_proj")


class ClipTower(nn.Module):
    """A CLIP of transformers. Its text tower is asked once, and never trained."""

    text_features: Float32[Tensor, "K D"]
    mean: Float32[Tensor, "3 1 1"]
    std: Float32[Tensor, "3 1 1"]

    def __init__(self, settings: Settings, texts: Sequence[str]) -> None:
        super().__init__()
        model, tokenizer, mean, std = _load_clip(settings)
        self.width = int(model.config.projection_dim)
        self.size = int(model.config.vision_config.image_size)
        self.register_buffer("text_features", _ask(model, tokenizer, texts))
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.vision, self.projection = model.vision_model, model.visual_projection
        self.requires_grad_(settings.tuning == "full")
        if settings.tuning == "lora":
            _add_lora(self.vision, settings)

    def frames(self, clips: UInt8[Tensor, "B T H W 3"]) -> Float[Tensor, "B T D"]:
        """One token a frame."""
        pixels = (clips.permute(0, 1, 4, 2, 3).flatten(0, 1).float() / 255 - self.mean) / self.std
        tokens: Tensor = self.projection(self.vision(pixel_values=pixels).pooler_output)
        return tokens.reshape(*clips.shape[:2], -1)

    def texts(self) -> Float[Tensor, "K D"]:
        """Features of the frozen text tower."""
        return self.text_features

    def forget_texts(self) -> int:
        """Drop the features; none of them are parameters."""
        del self.text_features
        return 0


def _load_clip(settings: Settings) -> tuple[CLIPModel, Any, Sequence[float], Sequence[float]]:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    place, kwargs = settings.tower, {"revision": settings.revision} if settings.revision else {}
    try:
        model = CLIPModel.from_pretrained(place, attn_implementation="eager", **kwargs)
        tokenizer = AutoTokenizer.from_pretrained(place, **kwargs)
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnavailable(
            f"tower: {place}: cannot be loaded as a CLIP of transformers ({str(error).splitlines()[0]}); "
            "give a folder that CLIPModel.save_pretrained wrote, its hub id, or small"
        ) from error
    if not Path(place).is_dir() or (Path(place) / "preprocessor_config.json").is_file():
        processor = AutoImageProcessor.from_pretrained(place, **kwargs)
        return model, tokenizer, processor.image_mean, processor.image_std
    return model, tokenizer, CLIP_MEAN, CLIP_STD


@torch.no_grad()
def _ask(model: CLIPModel, tokenizer: Any, texts: Sequence[str]) -> Float32[Tensor, "K D"]:  # noqa: ANN401 (untyped)
    most = int(model.config.text_config.max_position_embeddings)
    parts = []
    for start in range(0, len(texts), 64):
        tokens = tokenizer(
            list(texts[start : start + 64]),
            padding=True,
            truncation=True,
            max_length=most,
            return_tensors="pt",
        )
        pooled = model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        parts.append(model.text_projection(pooled))
    return torch.cat(parts).float()


def _add_lora(vision: nn.Module, settings: Settings) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_rank, target_modules=list(LORA_TARGETS)
    )
    inject_adapter_in_model(config, vision)
