"""Rendered training clips on disk, in shards of 250: frames, latents, and what captions are written from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from argen.affect.captions import Motion, level_of
from argen.puppets.autoencoder import encode, normalise
from argen.puppets.footage import shoot
from argen.puppets.words import caption_of, motion_of, tokenise

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTXVideo
    from transformers import PreTrainedTokenizerFast

SHARD = 250
LEAST_KIND = 60  # clips; of fewer, each would come too often


def render_shards(folder: Path, use: str, clips: int, begin: int = 0) -> None:
    """Render what is missing from clip `begin`, a multiple of 250, on; a shard whose .npz exists is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(begin, clips, SHARD):
        stem = folder / f"{first:06d}"
        if stem.with_suffix(".npz").exists():
            continue
        shots = [shoot(use, first + i) for i in range(SHARD)]
        np.save(stem.with_suffix(".npy"), np.stack([shot.frames for shot in shots]))
        performances = [shot.act.performance for shot in shots]
        np.savez(
            stem.with_suffix(".npz"),
            units=np.stack([p.action_units for p in performances]),
            lean=np.stack([p.asymmetry for p in performances]),
            pose=np.stack([p.pose for p in performances]),
            label=np.array([shot.act.label for shot in shots]),
            apex=np.array([shot.act.apex for shot in shots]),
            person=np.array([shot.person for shot in shots]),
        )


def frames_of(folder: Path, shards: int | None = None) -> UInt8[Tensor, "N T H W 3"]:
    """All frames of the first finished shards."""
    stems = sorted(folder.glob("*.npz"))[:shards]
    return torch.from_numpy(np.concatenate([np.load(stem.with_suffix(".npy")) for stem in stems]))


@dataclass(frozen=True)
class Latents:
    """Normalised latents of all finished shards, and the motions their captions tell of."""

    latents: Float[Tensor, "N C t h w"]
    labels: tuple[str, ...]
    motions: tuple[Motion, ...]

    @property
    def weights(self) -> Float[Tensor, "N"]:
        """How often to show each clip: every label equally at every level that a caption can name."""
        kinds = [
            (label, level_of(motion.intensity))
            for label, motion in zip(self.labels, self.motions, strict=True)
        ]
        count = Counter(kinds)
        return torch.tensor([1 / max(count[kind], LEAST_KIND) for kind in kinds])

    def tokens(
        self, rows: Int[Tensor, "B"], tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator
    ) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
        """A new caption of each clip each time."""
        return tokenise(tokenizer, [caption_of(self.labels[i], self.motions[i], rng) for i in rows.tolist()])


def load_latents(folder: Path, vae: AutoencoderKLLTXVideo) -> Latents:
    """Encode new shards (kept beside them as float16), read all."""
    latents, labels, motions = [], [], []
    for stem in sorted(folder.glob("*.npz")):
        kept = stem.with_name(f"{stem.stem}-latents.npy")
        if not kept.exists():
            made = encode(vae, torch.from_numpy(np.load(stem.with_suffix(".npy"))))
            np.save(kept, made.half().numpy())
        latents.append(normalise(vae, torch.from_numpy(np.load(kept)).float()))
        with np.load(stem, allow_pickle=False) as truth:
            labels += [str(label) for label in truth["label"]]
            motions += [
                motion_of(*row) for row in zip(truth["units"], truth["lean"], truth["pose"], strict=True)
            ]
    return Latents(torch.cat(latents), tuple(labels), tuple(motions))
