"""How one pipeline is called: read from its signature, its VAE's ratios, and a probe. No family is named."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy import ndarray
from PIL import Image
from torch import Tensor

from argen.config import GenerateSettings
from argen.errors import MissingPackage, ModelUnavailable, RecipeError, UsageError, did_you_mean
from argen.generate.checkpoint import LENGTHS, Statement
from argen.generate.probe import Pipeline, Probe, denoisers, probe, rehearse

log = logging.getLogger(__name__)

Sharing = Literal["all", "picture", "nothing"]
"""What a call may hold: any clips, clips of one picture, or one clip."""

_RATES = ("fps", "frame_rate", "target_fps")
_GUIDANCE = frozenset({"guidance_scale", "min_guidance_scale", "max_guidance_scale"})
_OURS = {"image", "prompt", "generator", "output_type", "return_dict", "latents", "num_videos_per_prompt"}
_SETTINGS = {
    "height": "size",
    "width": "size",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "max_guidance_scale": "guidance",
    "negative_prompt": "negative_prompt",
} | dict.fromkeys(LENGTHS, "frames")


@dataclass(frozen=True)
class Item:
    """What differs from clip to clip in one call."""

    picture: Image.Image
    prompt: str
    seed: int


@dataclass(frozen=True)
class Form:
    """The arguments that every call of a pipeline shares."""

    shared: Mapping[str, Any]
    parameters: frozenset[str]
    negative: str
    size: int  # height and width that the model makes; the next allowed one from what was asked
    frames: int  # likewise
    ratio: int  # pixel frames per latent frame, after the first

    def arguments(
        self,
        items: Sequence[Item],
        sharing: Sharing = "all",
        noise_on: str = "cpu",
        changed: Mapping[str, Any] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Keywords of one call. Each clip has a generator of its own, so that it ignores its neighbours."""
        pictures = [item.picture for item in items]
        generators = [torch.Generator(noise_on).manual_seed(item.seed % 2**63) for item in items]
        single = len(items) == 1
        given: dict[str, Any] = {
            "image": pictures[0] if single or sharing == "picture" else pictures,
            "generator": generators[0] if single else generators,
        }
        if "prompt" in self.parameters:
            given["prompt"] = items[0].prompt if single else [item.prompt for item in items]
        if "prompt" in self.parameters and "negative_prompt" in self.parameters:
            given["negative_prompt"] = self.negative if single else [self.negative] * len(items)
        return given | dict(self.shared) | dict(changed)

    def guided(self, scale: float) -> dict[str, float]:
        """Arguments for one guidance scale over all frames; 1 switches classifier-free guidance off."""
        return dict.fromkeys(_GUIDANCE & self.parameters, scale)

    def fewest(self, latent: int = 2) -> dict[str, int]:
        """Arguments for so few frames that a probe is cheap and no axis is mistaken for the channels."""
        return dict.fromkeys(set(LENGTHS) & self.parameters, (latent - 1) * self.ratio + 1)


def read_form(pipe: Pipeline, settings: GenerateSettings, stated: Statement) -> Form:
    """How to call `pipe`. Raises RecipeError for what it can't do, with what it can."""
    parameters = frozenset(inspect.signature(type(pipe).__call__).parameters) - {"self", "args", "kwargs"}
    _check_extra(type(pipe).__name__, settings.extra, parameters)
    _check_trained(settings, stated)
    unknown = sorted(set(stated.call) - parameters)
    if unknown:
        raise ModelUnavailable(f"argen.json: call.{unknown[0]}: {type(pipe).__name__} takes none")
    ratio = temporal_ratio(pipe)
    frames = math.ceil((settings.frames - 1) / ratio) * ratio + 1
    shared: dict[str, Any] = {"num_inference_steps": settings.steps, "output_type": "np"}
    # Where a pipeline raises guidance along the frames, its own rise from 1 is kept.
    shared |= dict.fromkeys((_GUIDANCE & parameters) - {"min_guidance_scale"}, settings.guidance)
    shared |= {name: frames for name in LENGTHS if name in parameters}
    shared |= {name: _rate(pipe, name, settings.fps) for name in _RATES if name in parameters}
    shared |= stated.call | settings.extra
    form = Form(shared, parameters, settings.negative_prompt, settings.size, frames, ratio)
    return _fit_size(pipe, form)


def temporal_ratio(pipe: Pipeline) -> int:
    """Pixel frames per latent frame; pipelines keep their VAE's as an attribute of a telling name."""
    return _attribute(pipe, wanted=True)


def read_sharing(pipe: Pipeline, form: Form) -> Sharing:
    """What one call may hold so that every clip comes out as it would alone."""
    first, second = strangers(form)
    third = Item(first.picture, second.prompt, second.seed)
    fewest = form.fewest() | form.guided(1.0)
    ways: tuple[tuple[Sharing, tuple[Item, Item]], ...] = (
        ("all", (first, second)),
        ("picture", (first, third)),
    )
    for sharing, pair in ways:
        try:
            together, frames = rehearse(pipe, form.arguments(pair, sharing, changed=fewest))
            alone = [rehearse(pipe, form.arguments([item], changed=fewest)) for item in pair]
        except Exception as error:  # whatever a pipeline says to a batch that it does not take
            log.debug("%s: no batch of %s: %s", type(pipe).__name__, sharing, error)
            continue
        apart = np.concatenate([single for _, single in alone])
        # Other kernels for other batches round differently; two different clips differ by about 1.
        tolerance = 1e-3 if pipe.dtype == torch.float32 else 2e-2
        same = frames.shape == apart.shape and _close(frames, apart, tolerance)
        if same and _is_batch_of(together, [seen for seen, _ in alone], tolerance):
            return sharing
    return "nothing"


def strangers(form: Form) -> tuple[Item, Item]:
    """Two clips that have nothing in common, to tell what depends on what."""
    noise = np.random.default_rng(0).integers(0, 256, (2, form.size, form.size, 3), dtype=np.uint8)
    return (
        Item(Image.fromarray(noise[0]), "a calm face", 1),
        Item(Image.fromarray(noise[1]), "strong disgust, nose wrinkled", 2),
    )


def _is_batch_of(together: Probe, alone: Sequence[Probe], tolerance: float) -> bool:
    """Is every input of the batched denoiser that of the singles, row by row?"""
    if any(len(single.calls) != len(together.calls) for single in alone):
        return False
    return all(
        _rows_agree(call[name], [single.calls[index].get(name) for single in alone], tolerance)
        for index, call in enumerate(together.calls)
        for name in call
    )


def _rows_agree(batch: Tensor, singles: Sequence[Tensor | None], tolerance: float) -> bool:
    for index, single in enumerate(singles):
        if single is None:
            return False
        rows = batch
        if batch.ndim and batch.shape[0] == len(singles) * single.shape[0]:
            rows = batch[index :: len(singles)]
        if rows.shape != single.shape or not _close(rows.float(), single.float(), tolerance):
            return False
    return True


def _close(a: Tensor | ndarray, b: Tensor | ndarray, tolerance: float) -> bool:
    return bool(((a - b) ** 2).sum() <= tolerance**2 * (b**2).sum() + 1e-12)


def _fit_size(pipe: Pipeline, form: Form) -> Form:
    """The smallest size from the one asked for that the pipeline accepts."""
    step = _attribute(pipe, wanted=False) * _patch(pipe)
    refusal: Exception | None = None
    for multiple in dict.fromkeys(math.lcm(step, other) for other in (1, 16, 32, 64)):
        size = math.ceil(form.size / multiple) * multiple
        sized: dict[str, Any] = dict.fromkeys({"height", "width"} & form.parameters, size)
        fitted = replace(form, shared={**sized, **form.shared}, size=size)
        try:
            probe(pipe, fitted.arguments(strangers(fitted)[:1], changed=fitted.fewest()))
        except ValueError as error:
            refusal = error
        except NameError as error:  # diffusers leaves the import of an optional package to the call
            raise MissingPackage(
                f"{type(pipe).__name__} needs the package {error.name}; pip install {error.name}"
            ) from error
        except ImportError as error:
            raise MissingPackage(f"{type(pipe).__name__}: {str(error).splitlines()[0]}") from error
        else:
            return fitted
    raise UsageError(f"generate.size: {form.size}: {type(pipe).__name__} refuses the call: {refusal}")


def _attribute(pipe: Pipeline, wanted: bool) -> int:
    """Temporal (`wanted`) or spatial compression of the VAE, from the pipeline's attributes."""
    ratios = [
        int(value)
        for name, value in vars(pipe).items()
        if ("scale_factor" in name or "compression" in name) and "audio" not in name
        if isinstance(value, int | float) and ("temporal" in name) == wanted
    ]
    return max(ratios, default=1)


def _patch(pipe: Pipeline) -> int:
    config: Any = next(iter(denoisers(pipe).values())).config
    size = config.get("patch_size") or 1
    return int(size if isinstance(size, int) else size[-1])


def _rate(pipe: Pipeline, name: str, fps: float) -> int | float:
    default = inspect.signature(type(pipe).__call__).parameters[name].default
    return round(fps) if isinstance(default, int) else fps


def _check_extra(name: str, extra: Mapping[str, Any], parameters: frozenset[str]) -> None:
    problems = []
    for key in extra:
        if key in _SETTINGS and key in parameters:
            problems.append(f"generate.extra.{key}: set generate.{_SETTINGS[key]} instead")
        elif key in _OURS:
            problems.append(f"generate.extra.{key}: made by the generator for every clip; leave it out")
        elif key not in parameters:
            problems.append(f"generate.extra.{key}: {name} takes none{did_you_mean(key, parameters - _OURS)}")
    if problems:
        raise RecipeError("\n".join(problems))


def _check_trained(settings: GenerateSettings, stated: Statement) -> None:
    problems = []
    if stated.frames and settings.frames > stated.frames:
        problems.append(
            f"generate.frames: {settings.frames}, but {settings.model} was trained on at most "
            f"{stated.frames}; set generate.frames={stated.frames}"
        )
    if stated.sizes and settings.size not in stated.sizes:
        sizes = " or ".join(map(str, stated.sizes))
        problems.append(
            f"generate.size: {settings.size}, but {settings.model} was trained on {sizes}; "
            f"set generate.size={stated.sizes[0]}"
        )
    if problems:
        raise RecipeError("\n".join(problems))
