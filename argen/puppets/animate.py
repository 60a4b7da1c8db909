"""The embedded checkpoint without the rest of ARGen: sources and captions in, clips out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen.errors import UsageError
from argen.puppets.footage import FRAMES, SIZE

if TYPE_CHECKING:
    from diffusers import LTXImageToVideoPipeline

STEPS, GUIDANCE, BATCH = 8, 5.0, 8  # the defaults of configs/augment/puppets.yaml


def load_embedded() -> LTXImageToVideoPipeline:
    """The shipped checkpoint, float32. Raises ModelUnavailable if a file is not as shipped."""
    from diffusers import DiffusionPipeline

    from argen.puppets.checkpoint import folder

    pipe = DiffusionPipeline.from_pretrained(folder())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def animate(
    pipe: LTXImageToVideoPipeline,
    sources: Sequence[UInt8[ndarray, "H W 3"]],
    captions: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> list[UInt8[ndarray, "T 64 64 3"]]:
    """One clip of 17 frames a source; clip i depends on its own source, caption and seed only.

    Raises UsageError for a source of another size, or a caption of which no word is known.
    """
    _check(pipe, sources, captions)
    clips: list[UInt8[ndarray, "T 64 64 3"]] = []
    for first in range(0, len(sources), BATCH):
        part = slice(first, first + BATCH)
        clips += _make(pipe, sources[part], captions[part], seeds[part], steps, guidance)
    return clips


def _check(pipe: LTXImageToVideoPipeline, sources: Sequence[ndarray], captions: Sequence[str]) -> None:
    for source in sources:
        if source.shape != (SIZE, SIZE, 3):
            raise UsageError(
                f"the embedded checkpoint makes clips of {SIZE} x {SIZE} pixels, not {source.shape[:2]}"
            )
    unknown = pipe.tokenizer.unk_token_id
    for caption in captions:
        ids = pipe.tokenizer(caption, add_special_tokens=False).input_ids
        if ids and all(number == unknown for number in ids):
            raise UsageError(
                f"no word of the caption '{caption}' is known to the embedded checkpoint; it knows those of "
                "argen.affect.captions.vocabulary()"
            )


def _make(  # noqa: PLR0917
    pipe: LTXImageToVideoPipeline,
    sources: Sequence[ndarray],
    captions: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    guidance: float,
) -> list[ndarray]:
    import torch
    from PIL import Image

    with torch.inference_mode():
        made = pipe(
            image=[Image.fromarray(source) for source in sources],
            prompt=list(captions),
            height=SIZE,
            width=SIZE,
            num_frames=FRAMES,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
        ).frames
    return list(np.round(255 * np.asarray(made)).astype(np.uint8))
