"""The embedded checkpoint's denoiser: LTX's transformer, small, trained by flow matching."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from argen.puppets.autoencoder import LATENT_CHANNELS
from argen.puppets.words import WIDTH

if TYPE_CHECKING:
    from diffusers import LTXVideoTransformer3DModel
    from transformers import T5EncoderModel

HEADS, HEAD_WIDTH, LAYERS = 4, 32, 7
FRAME_RATE = 25  # the pipeline's default; it only scales the positions in time
CAPTION_DROPOUT = 0.1
LEAST_TIME = 0.07  # of training; the sampler's last step of eight is at 0.08
FULL_PICTURE = 0.1  # share of steps that see more than the face


def make_transformer() -> LTXVideoTransformer3DModel:
    """Two million parameters; 320 tokens for 17 frames of 64 x 64 pixels."""
    from diffusers import LTXVideoTransformer3DModel

    return LTXVideoTransformer3DModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_WIDTH,
        cross_attention_dim=HEADS * HEAD_WIDTH,
        num_layers=LAYERS,
        caption_channels=WIDTH,
    )


@dataclass(frozen=True)
class Batch:
    """Normalised latents of whole clips and their captions' tokens."""

    latents: Float[Tensor, "B C t h w"]
    ids: Int[Tensor, "B L"]
    mask: Int[Tensor, "B L"]


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal (Jordan et al. 2024), in float32: bfloat16 is slow on most CPUs."""

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Scaled so that the root mean square of an update is AdamW's usual 0.2 times the rate."""
        group = self.param_groups[0]
        by_shape: dict[torch.Size, list[torch.nn.Parameter]] = {}
        for parameter in group["params"]:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        for shape, members in by_shape.items():
            updates = []
            for parameter in members:
                assert parameter.grad is not None
                held = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                held.lerp_(parameter.grad, 1 - group["momentum"])
                updates.append(parameter.grad.lerp(held, group["momentum"]))
            straight = _orthogonal(torch.stack(updates)) * (-0.2 * group["lr"] * max(shape) ** 0.5)
            for parameter, update in zip(members, straight, strict=True):
                parameter.add_(update)


def _orthogonal(matrices: Float[Tensor, "N a b"]) -> Float[Tensor, "N a b"]:
    """Five Newton-Schulz steps towards the nearest (semi-)orthogonal matrices."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Training:
    """The state of a run: models, their moving average, optimisers, and how far it is."""

    def __init__(
        self, transformer: LTXVideoTransformer3DModel, encoder: T5EncoderModel, rate: float = 2e-3
    ) -> None:
        self.models = torch.nn.ModuleDict({"transformer": transformer, "encoder": encoder})
        self.average = copy.deepcopy(self.models).requires_grad_(False)
        matrices = [
            p
            for name, p in transformer.named_parameters()
            if (p.ndim == 2 and ".attn" in name) or (".ff." in name and p.ndim == 2)
        ]
        chosen = {id(p) for p in matrices}
        encoder.requires_grad_(False)  # trained jointly it forgot, in 2,000 steps, much of what words mean
        rest = [p for p in transformer.parameters() if id(p) not in chosen]
        self.optimisers: tuple[torch.optim.Optimizer, ...] = (
            Muon(matrices, rate),
            torch.optim.AdamW(rest, lr=0.75 * rate, betas=(0.9, 0.98), weight_decay=0.0),
        )
        self.rates = (rate, 0.75 * rate)
        self.steps = 0
        self.seconds = 0.0

    def step(
        self, batch: Batch, weights: Float[Tensor, "S"], progress: float, generator: torch.Generator
    ) -> float:
        """One optimiser step; `progress` 0..1 of the run sets the rate (warm-up, plateau, cosine to 0)."""
        loss = flow_loss(self.models["transformer"], self.models["encoder"], batch, weights, generator)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.models.parameters(), 1.0)
        scale = min(1.0, (self.steps + 1) / 60) * _decay(progress)
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * scale
            optimiser.step()
        self.steps += 1
        self._follow()
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        """Moving average over about a tenth of the steps so far."""
        keep = min(0.998, 1 - 10 / (self.steps + 20))
        for mean, now in zip(self.average.parameters(), self.models.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on; tensors and numbers only."""
        return {
            "models": self.models.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "steps": self.steps,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.models.load_state_dict(state["models"])
        self.average.load_state_dict(state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.steps, self.seconds = state["steps"], state["seconds"]


def _decay(progress: float) -> float:
    """Constant for the first half, then a cosine to 2 %."""
    late = min(max(2 * progress - 1, 0.0), 1.0)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * late))


def flow_loss(
    transformer: LTXVideoTransformer3DModel,
    encoder: T5EncoderModel,
    batch: Batch,
    weights: Float[Tensor, "S"],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Velocity matching on every frame but the first, which stays clean at time 0.

    x_t = (1 - t) x_0 + t n; the target is n - x_0. `weights` (mean 1, one per place of the picture, the same
    for every clip) spend more of the loss where faces move; being fixed, they leave the minimiser unchanged.
    """
    window = _window(batch.latents.shape[3:], generator)
    clean, coordinates = _tokens(batch.latents, window)
    place = clean.shape[1] // batch.latents.shape[2]  # tokens of one latent frame
    time = _sample_times(len(clean), generator)
    noise = torch.randn(clean.shape, generator=generator)
    level = time[:, None].expand(clean.shape[:2]).clone()
    level[:, :place] = 0.0
    noisy = (1 - level[..., None]) * clean + level[..., None] * noise
    ids, mask = _drop_captions(batch, generator)
    longest = int(mask.sum(dim=1).max())  # what the mask hides costs time and changes nothing
    predicted = transformer(
        hidden_states=noisy,
        encoder_hidden_states=encoder(ids).last_hidden_state[:, :longest],
        timestep=1000 * level,
        encoder_attention_mask=mask[:, :longest],
        video_coords=coordinates,
        return_dict=False,
    )[0]
    error = (predicted - (noise - clean))[:, place:].pow(2).mean(dim=2)
    share, _ = _tokens(weights.view(1, 1, 1, *batch.latents.shape[3:]).expand(1, 1, 2, -1, -1), window)
    result: Tensor = (error * share[:, place:, 0].repeat(1, batch.latents.shape[2] - 1)).mean()
    return result


def _window(shape: torch.Size, generator: torch.Generator) -> tuple[slice, slice]:
    """Mostly the 6 x 6 places where the face is, for speed; else the whole picture, as in use."""
    whole = bool(torch.rand((), generator=generator) < FULL_PICTURE)
    if whole:
        return slice(0, shape[0]), slice(0, shape[1])
    return slice(1, 7), slice(1, 7)


def _tokens(
    latents: Tensor, window: tuple[slice, slice]
) -> tuple[Float[Tensor, "B S C"], Float[Tensor, "B 3 S"]]:
    """Packed as the pipeline packs (patch size 1), and each token's time and place."""
    count, _, frames, height, width = latents.shape
    axes = (torch.arange(frames) * 4 / FRAME_RATE, torch.arange(height) * 8.0, torch.arange(width) * 8.0)
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))[:, :, window[0], window[1]]
    tokens = latents[:, :, :, window[0], window[1]].flatten(2).transpose(1, 2)
    return tokens, grid.flatten(1)[None].expand(count, -1, -1)


def _sample_times(count: int, generator: torch.Generator) -> Float[Tensor, "B"]:
    """Mostly high (logit-normal, median 0.77), a third uniform; none below the sampler's last step.

    At high times only the source and the words tell what comes: there the caption is learnt. Near 0 the
    target is all noise that cannot be known: loss without a lesson.
    """
    uniform = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    normal = torch.sigmoid(1.2 + 1.1 * torch.randn(count, generator=generator))
    chosen = torch.where(torch.rand(count, generator=generator) < 0.35, uniform, normal)
    return LEAST_TIME + (1 - LEAST_TIME) * chosen


def _drop_captions(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace some captions by the empty one (only its end token), for classifier-free guidance."""
    drop = torch.rand(len(batch.ids), generator=generator) < CAPTION_DROPOUT
    ids, mask = batch.ids.clone(), batch.mask.clone()
    ids[drop], mask[drop] = 0, 0
    ids[drop, 0], mask[drop, 0] = 1, 1
    return ids, mask


def motion_weights(latents: Float[Tensor, "N C t h w"]) -> Float[Tensor, "S"]:
    """Mean 1 over the picture; follows the root of how much each place moves."""
    energy = (latents[:, :, 1:] - latents[:, :, :1]).pow(2).mean(dim=(0, 1, 2)).sqrt().flatten()
    weights = (energy / energy.mean()).clamp(0.35, 2.5)
    return weights / weights.mean()


def drawn(weights: Float[Tensor, "N"], batch: int, generator: torch.Generator) -> Iterator[Int[Tensor, "B"]]:
    """Endless batches of row numbers, each without repeats; heavier rows come more often."""
    while True:
        yield torch.multinomial(weights, min(batch, len(weights)), generator=generator)
