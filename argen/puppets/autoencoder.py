"""The embedded checkpoint's video autoencoder: a standard class, set to principal components, then tuned.

Gradient descent from random weights takes hours to learn what linear algebra gives in seconds: the encoder
is set to a two-level principal component analysis of 2x2x2 groups, the decoder's up-convolutions
to the ridge regressions that undo it. Residual branches start at zero. Only the decoder is trained after
that, so latents made in the first minute stay valid.

The classes normalise by root mean square before their last convolutions. A constant channel that outweighs
the others makes that division a constant, and a channel beside its negative passes SiLU exactly:
silu(x) - silu(-x) = x.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTXVideo

LATENT_CHANNELS = 40
ENCODER_WIDTH = 84
DECODER_WIDTH = 64
CONSTANT = 300.0  # of the constant channel, far above any code
LOGVAR = -14.0  # sampling the latent is as good as taking its mean
TAPS = tuple(product((1, 2), repeat=3))  # the 2x2x2 of a stride-2 kernel of 3 that doesn't overlap


def make_autoencoder() -> AutoencoderKLLTXVideo:
    """8x in space, 4x in time; 17 frames of 64 x 64 become 5 x 8 x 8 latents of 40 channels."""
    from diffusers import AutoencoderKLLTXVideo

    return AutoencoderKLLTXVideo(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(ENCODER_WIDTH, ENCODER_WIDTH),
        down_block_types=("LTXVideoDownBlock3D", "LTXVideoDownBlock3D"),
        spatio_temporal_scaling=(True, True),
        layers_per_block=(0, 0, 0),
        downsample_type=("conv", "conv"),
        decoder_block_out_channels=(DECODER_WIDTH, DECODER_WIDTH),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_layers_per_block=(1, 1, 1),
        decoder_inject_noise=(False, False, False),
        upsample_residual=(False, False),
        upsample_factor=(2, 1),
        patch_size=2,
        patch_size_t=1,
    )


@torch.no_grad()
def initialise(vae: AutoencoderKLLTXVideo, clips: Float[Tensor, "N 3 T H W"]) -> None:
    """Set every weight from rendered clips (-1..1); about a minute for 200 of them."""
    for parameter in vae.parameters():
        if parameter.ndim in {1, 5}:
            parameter.zero_()
    _set_encoder(vae, clips)
    _set_decoder(vae, clips)
    for name, module in vae.decoder.named_modules():
        if name.endswith("conv1"):
            torch.nn.init.kaiming_normal_(module.conv.weight, generator=torch.Generator().manual_seed(0))


def _set_encoder(vae: AutoencoderKLLTXVideo, clips: Tensor) -> None:
    encoder = vae.encoder
    for channel in range(12):
        encoder.conv_in.conv.weight[channel, channel, 2, 1, 1] = 1.0
    hidden = _patches(clips)
    first, second = (block.downsamplers[0].conv for block in encoder.down_blocks)
    mean, basis = _principal(_groups(hidden), ENCODER_WIDTH)
    _set_taps(first, basis, -basis @ mean, 12)
    hidden = encoder.down_blocks[0](encoder.conv_in(_patches(clips)))
    mean, basis = _principal(_groups(hidden), LATENT_CHANNELS)
    code, shift = LATENT_CHANNELS, -basis @ mean
    rows = torch.zeros(ENCODER_WIDTH, basis.shape[1])
    bias = torch.zeros(ENCODER_WIDTH)
    rows[:code], rows[code : 2 * code] = basis, -basis
    bias[:code], bias[code : 2 * code], bias[2 * code] = shift, -shift, CONSTANT
    _set_taps(second, rows, bias, ENCODER_WIDTH)
    gain = CONSTANT / ENCODER_WIDTH**0.5
    for channel in range(code):
        encoder.conv_out.conv.weight[channel, channel, 2, 1, 1] = gain
        encoder.conv_out.conv.weight[channel, code + channel, 2, 1, 1] = -gain
    encoder.conv_out.conv.bias[code] = LOGVAR


def _patches(clips: Tensor) -> Tensor:
    """The encoder's own patching (3 x 2 x 2 pixels to 12 channels)."""
    batch, channels, frames, height, width = clips.shape
    split = clips.reshape(batch, channels, frames, 1, height // 2, 2, width // 2, 2)
    return split.permute(0, 1, 3, 7, 5, 2, 4, 6).flatten(1, 4)


def _groups(hidden: Tensor) -> Float[Tensor, "rows K"]:
    """What the eight taps of a stride-2 causal convolution see, tap after tap."""
    return torch.cat(_tap_views(hidden), dim=1).movedim(1, -1).flatten(0, 3)


def _tap_views(hidden: Tensor) -> list[Tensor]:
    padded = torch.cat([hidden[:, :, :1], hidden], dim=2)  # frames -1, 0, 1, ...: pairs end at even frames
    return [padded[:, :, t - 1 :: 2, y - 1 :: 2, x - 1 :: 2] for t, y, x in TAPS]


def _principal(rows: Float[Tensor, "n K"], count: int) -> tuple[Tensor, Tensor]:
    mean = rows.mean(dim=0)
    centred = (rows - mean).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return mean, vectors.flip(1)[:, :count].T.float().contiguous()


def _set_taps(conv: torch.nn.Conv3d, rows: Tensor, bias: Tensor, channels: int) -> None:
    for index, (t, y, x) in enumerate(TAPS):
        part = rows[:, index * channels : (index + 1) * channels]
        conv.weight[: len(rows), :channels, t, y, x] = part
    if conv.bias is not None:
        conv.bias[: len(bias)] = bias


def _set_decoder(vae: AutoencoderKLLTXVideo, clips: Tensor) -> None:
    decoder = vae.decoder
    for channel in range(LATENT_CHANNELS):
        decoder.conv_in.conv.weight[channel, channel, 1, 1, 1] = 1.0
    pixels = _patches(clips)
    mean, basis = _principal(_groups(pixels), DECODER_WIDTH)
    codes = torch.cat([view.movedim(1, -1) for view in _tap_views(pixels)], dim=-1)
    codes = ((codes - mean) @ basis.T).movedim(-1, 1)  # one code per 2x2x2 group, at the middle resolution
    latents = torch.cat([vae.encode(clip[None]).latent_dist.mode() for clip in clips])
    first, second = (block.upsamplers[0] for block in decoder.up_blocks)
    _regress(first.conv.conv, decoder.conv_in(latents), codes, range(DECODER_WIDTH))
    middle = torch.cat([first(decoder.conv_in(latent[None])) for latent in latents])
    width = second.conv.conv.out_channels // 8
    _regress(second.conv.conv, middle, pixels, range(12))
    weight, bias = (
        second.conv.conv.weight.view(width, 8, *second.conv.conv.weight.shape[1:]),
        second.conv.conv.bias,
    )
    weight[12:24] = -weight[:12]
    bias.view(width, 8)[12:24] = -bias.view(width, 8)[:12]
    bias.view(width, 8)[24] = 10.0  # pixels are within -1..1
    gain = 10.0 / width**0.5
    for channel in range(12):
        decoder.conv_out.conv.weight[channel, channel, 1, 1, 1] = gain
        decoder.conv_out.conv.weight[channel, 12 + channel, 1, 1, 1] = -gain


def _regress(conv: torch.nn.Conv3d, inputs: Tensor, targets: Tensor, channels: range) -> None:
    """Ridge regression of the up-convolution: all 27 neighbours to the 2x2x2 outputs of each input cell."""
    outputs = torch.cat(_tap_views(targets), dim=1)  # tap-major: 8 x channels
    design, answer = _normal_equations(inputs, outputs)
    size = len(design)
    design.diagonal().add_(1e-4 * design.diagonal()[: size - 1].mean())
    solved = torch.linalg.solve(design, answer).float().T  # outputs x (27 * inputs + 1)
    used = inputs.shape[1]
    kernel = solved[:, :-1].reshape(8, len(channels), 27, used).permute(1, 0, 3, 2)
    weight = conv.weight.view(conv.out_channels // 8, 8, used, 27)
    weight[: len(channels)] = kernel
    if conv.bias is not None:
        conv.bias.view(-1, 8)[: len(channels)] = solved[:, -1].reshape(8, len(channels)).T


def _normal_equations(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    design = answer = torch.zeros(())
    for cell, target in zip(inputs.split(8), outputs.split(8), strict=True):  # type: ignore[no-untyped-call]
        padded = torch.cat([cell[:, :, :1], cell, cell[:, :, -1:]], dim=2)
        padded = torch.nn.functional.pad(padded, (1, 1, 1, 1))
        t, y, x = cell.shape[2:]
        views = [padded[:, :, a : a + t, b : b + y, c : c + x] for a, b, c in product(range(3), repeat=3)]
        rows = torch.cat(views, dim=1).movedim(1, -1).flatten(0, 3)
        rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
        wanted = target.movedim(1, -1).flatten(0, 3)
        design = design + (rows.T @ rows).double()
        answer = answer + (rows.T @ wanted).double()
    return design, answer


def to_tensor(frames: UInt8[Tensor, "N T H W 3"]) -> Float[Tensor, "N 3 T H W"]:
    """Frames as the autoencoder takes them, -1..1."""
    return frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


@torch.no_grad()
def encode(vae: AutoencoderKLLTXVideo, frames: UInt8[Tensor, "N T H W 3"]) -> Float[Tensor, "N C t h w"]:
    """Latents as the encoder gives them, before normalisation."""
    parts = [vae.encode(to_tensor(part)).latent_dist.mode() for part in frames.split(16)]  # type: ignore[no-untyped-call]
    return torch.cat(parts)


def set_normalisation(vae: AutoencoderKLLTXVideo, latents: Float[Tensor, "N C t h w"]) -> None:
    """Scale channels by the square root of how much each moves after the first frame.

    What the denoiser has to invent is the change from the first frame. Equal scales would bury the fine
    channels, in which eyes and mouths move, under the noise; full whitening would make it work on detail
    nobody sees.
    """
    motion = (latents[:, :, 1:] - latents[:, :, :1]).pow(2).mean(dim=(0, 2, 3, 4)).sqrt()
    scale = motion.sqrt()
    unit = (latents[:, :, 1:] - latents[:, :, :1]) / scale.view(1, -1, 1, 1, 1)
    scale = scale * unit.pow(2).mean().sqrt() / 0.5
    vae.latents_mean.copy_(latents.mean(dim=(0, 2, 3, 4)))
    vae.latents_std.copy_(scale)


def normalise(vae: AutoencoderKLLTXVideo, latents: Float[Tensor, "N C t h w"]) -> Float[Tensor, "N C t h w"]:
    """As the pipeline does it."""
    result: Tensor = (latents - vae.latents_mean.view(1, -1, 1, 1, 1)) / vae.latents_std.view(1, -1, 1, 1, 1)
    return result


def psnr(first: Tensor, second: Tensor) -> float:
    """Of two tensors in -1..1, decibels."""
    return float(10 * torch.log10(4 / (first - second).pow(2).mean()))


def tune_decoder(
    vae: AutoencoderKLLTXVideo, batches: Iterator[UInt8[Tensor, "N T H W 3"]], steps: int, rate: float = 3e-4
) -> Iterator[float]:
    """Adam on the decoder only; the loss of each step. Latents carry a little noise, as generated ones do."""
    parameters = list(vae.decoder.parameters())
    optimiser = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        frames = next(batches)
        latents = encode(vae, frames)
        noise = torch.randn(latents.shape, generator=generator) * vae.latents_std.view(1, -1, 1, 1, 1)
        seen = vae.decode(latents + 0.05 * noise).sample
        error = seen - to_tensor(frames)
        loss = error.abs().mean() + error.pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        yield float(loss)
