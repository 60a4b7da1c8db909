"""Tiny, randomly initialised, real diffusers pipelines: every image-to-video family, on a CPU, from a folder.

    pipe = tiny_pipeline("wan21", tmp_path / "wan21")   # also saved there, loads with DiffusionPipeline
    clip = pipe(image=image, **CALLS["wan21"])          # the smallest sensible call

Every family has its own scheduler, text encoder, tokenizer and VAE class; only the widths are small.
The same family gives the same weights in every process.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.tiny_recent import RECENT_BUILDERS, RECENT_CALLS

WORDS = (
    "a person with strong slight smile brows raised lowered nose wrinkled happy sad angry fear disgust calm"
)

_CALL: dict[str, Any] = {
    "prompt": "a person with a strong smile",
    "height": 32,
    "width": 32,
    "num_inference_steps": 3,
}

# The smallest call of each family that exercises it: several latent frames, guidance where there is any.
CALLS: dict[str, dict[str, Any]] = {
    "cogvideox": _CALL | {"num_frames": 9, "guidance_scale": 3.0},
    "ltx": _CALL | {"num_frames": 7, "guidance_scale": 3.0},
    "wan21": _CALL | {"num_frames": 13, "guidance_scale": 3.0, "max_sequence_length": 32},
    "wan22_ti2v": _CALL | {"num_frames": 13, "guidance_scale": 3.0, "max_sequence_length": 32},
    "wan22_a14b": _CALL | {"num_frames": 13, "guidance_scale": 3.0, "max_sequence_length": 32},
    "skyreels_v2": _CALL | {"num_frames": 13, "guidance_scale": 3.0, "max_sequence_length": 32},
    "svd": {
        "height": 32,
        "width": 32,
        "num_frames": 4,
        "num_inference_steps": 3,
        "min_guidance_scale": 1.0,
        "max_guidance_scale": 3.0,
    },
}

FAMILIES = tuple(CALLS)
"""Supported; `RECENT` is tried, and what happens is written down in the tests."""
RECENT = tuple(RECENT_CALLS)
CALLS |= RECENT_CALLS


def tiny_pipeline(family: str, folder: Path | None = None) -> Any:
    """A tiny pipeline of `family` in eval mode, with its progress bar off; saved to `folder` if given."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        pipe = _BUILDERS[family]()
        if folder is not None:
            pipe.save_pretrained(folder)
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _cogvideox() -> Any:
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXImageToVideoPipeline,
        CogVideoXTransformer3DModel,
    )

    return CogVideoXImageToVideoPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_t5(),
        vae=AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
            sample_height=32,
            sample_width=32,
        ),
        transformer=CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=8,  # noisy latents beside the image's
            out_channels=4,
            time_embed_dim=8,
            text_embed_dim=32,
            num_layers=2,
            sample_width=4,
            sample_height=4,
            sample_frames=9,
            use_rotary_positional_embeddings=True,
        ),
        scheduler=CogVideoXDDIMScheduler(
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
    )


def _ltx() -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXImageToVideoPipeline,
        LTXVideoTransformer3DModel,
    )

    return LTXImageToVideoPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8,),
            decoder_block_out_channels=(8,),
            down_block_types=("LTXVideoDownBlock3D",),
            downsample_type=("conv",),
            layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            spatio_temporal_scaling=(True,),
            decoder_spatio_temporal_scaling=(True,),
            decoder_inject_noise=(False, False),
            upsample_residual=(False,),
            upsample_factor=(1,),
        ),
        text_encoder=_t5(),
        tokenizer=_t5_tokenizer(),
        transformer=LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            num_layers=2,
            caption_channels=32,
        ),
    )


def _wan21() -> Any:
    from diffusers import WanImageToVideoPipeline

    return WanImageToVideoPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_umt5(),
        vae=_wan_vae(),
        scheduler=_unipc(),
        image_processor=_clip_processor(),
        image_encoder=_clip_vision(projection=False),
        transformer=_wan_transformer(in_channels=36, image_dim=32, added_kv_proj_dim=24),
    )


def _wan22_ti2v() -> Any:
    from diffusers import WanImageToVideoPipeline

    return WanImageToVideoPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_umt5(),
        vae=_wan_vae(),
        scheduler=_unipc(),
        transformer=_wan_transformer(in_channels=16),
        expand_timesteps=True,
    )


def _wan22_a14b() -> Any:
    from diffusers import WanImageToVideoPipeline

    return WanImageToVideoPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_umt5(),
        vae=_wan_vae(),
        scheduler=_unipc(),
        transformer=_wan_transformer(in_channels=36),
        transformer_2=_wan_transformer(in_channels=36),
        boundary_ratio=0.875,
    )


def _skyreels_v2() -> Any:
    from diffusers import SkyReelsV2ImageToVideoPipeline, SkyReelsV2Transformer3DModel

    return SkyReelsV2ImageToVideoPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_umt5(),
        image_encoder=_clip_vision(projection=True),
        image_processor=_clip_processor(),
        transformer=SkyReelsV2Transformer3DModel(
            **_WAN_SIZE, in_channels=36, image_dim=32, added_kv_proj_dim=24
        ),
        vae=_wan_vae(),
        scheduler=_unipc(),
    )


def _svd() -> Any:
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )

    return StableVideoDiffusionPipeline(
        vae=AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            block_out_channels=(32, 32),
        ),
        image_encoder=_clip_vision(projection=True, image_size=224),
        unet=UNetSpatioTemporalConditionModel(
            sample_size=16,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            block_out_channels=(32, 32),
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24,
            layers_per_block=1,
            cross_attention_dim=32,
            num_attention_heads=2,
            num_frames=4,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear",
            interpolation_type="linear",
            prediction_type="v_prediction",
            sigma_max=700.0,
            sigma_min=0.002,
            steps_offset=1,
            timestep_spacing="leading",
            timestep_type="continuous",
            use_karras_sigmas=True,
        ),
        feature_extractor=_clip_processor(size=224),
    )


_WAN_SIZE: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}


def _wan_transformer(**kwargs: Any) -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(**_WAN_SIZE, **kwargs)


def _wan_vae() -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def _unipc() -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)


def _t5() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(feed_forward_proj="gated-gelu", **_T5_SIZE))


def _umt5() -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(UMT5Config(**_T5_SIZE))


_T5_SIZE: dict[str, Any] = {
    "vocab_size": 96,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
}


def _t5_tokenizer() -> Any:
    from transformers import T5TokenizerFast

    # A unigram vocabulary: our words, then letters so that no text is unknown.
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS.split())]
    pieces += [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocab = [(piece, 0.0 if index < 3 else -1.0 - len(piece) % 2) for index, piece in enumerate(pieces)]
    return T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=128)


def _clip_vision(projection: bool, image_size: int = 32) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=image_size,
        patch_size=image_size // 4,
    )
    return (CLIPVisionModelWithProjection if projection else CLIPVisionModel)(config)


def _clip_processor(size: int = 32) -> Any:
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


_BUILDERS: dict[str, Callable[[], Any]] = {
    "cogvideox": _cogvideox,
    "ltx": _ltx,
    "wan21": _wan21,
    "wan22_ti2v": _wan22_ti2v,
    "wan22_a14b": _wan22_a14b,
    "skyreels_v2": _skyreels_v2,
    "svd": _svd,
} | RECENT_BUILDERS
