"""Tiny pipelines of families that diffusers has had only lately: tried, and said what happens with.

Their text encoders are small multimodal language models, of their own classes, with a byte vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_CALL: dict[str, Any] = {"prompt": "a person with a strong smile", "num_inference_steps": 2}
_SIZE = {"height": 32, "width": 32}

RECENT_CALLS: dict[str, dict[str, Any]] = {
    "sana_video": _CALL | _SIZE | {"frames": 9, "guidance_scale": 3.0, "use_resolution_binning": False},
    "hunyuanvideo15": _CALL | {"num_frames": 9},
    "kandinsky5": _CALL | _SIZE | {"num_frames": 21, "guidance_scale": 3.0},
    "ltx2": _CALL
    | _SIZE
    | {
        "num_frames": 9,
        "guidance_scale": 3.0,
        "stg_scale": 0.0,
        "modality_scale": 1.0,
        "image_crf": 0,
        "max_sequence_length": 16,
    },
}


def sana_video() -> Any:
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        SanaImageToVideoPipeline,
        SanaVideoTransformer3DModel,
    )
    from transformers import Gemma2Config, Gemma2Model

    return SanaImageToVideoPipeline(
        tokenizer=_gemma_tokenizer(),
        text_encoder=Gemma2Model(Gemma2Config(**_LANGUAGE, head_dim=8)),
        vae=AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        transformer=SanaVideoTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=12,
            cross_attention_dim=24,
            caption_channels=32,
            rope_max_seq_len=32,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def hunyuanvideo15() -> Any:
    from diffusers import (
        AutoencoderKLHunyuanVideo15,
        ClassifierFreeGuidance,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideo15ImageToVideoPipeline,
        HunyuanVideo15Transformer3DModel,
    )
    from transformers import (
        ByT5Tokenizer,
        Qwen2_5_VLTextConfig,
        Qwen2_5_VLTextModel,
        SiglipImageProcessor,
        SiglipVisionConfig,
        SiglipVisionModel,
        T5Config,
        T5EncoderModel,
    )

    return HunyuanVideo15ImageToVideoPipeline(
        text_encoder=Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig(**_LANGUAGE, rope_scaling=_ROPE)),
        tokenizer=_qwen_tokenizer(),
        transformer=HunyuanVideo15Transformer3DModel(
            in_channels=9,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            num_refiner_layers=1,
            text_embed_dim=32,
            text_embed_2_dim=32,
            image_embed_dim=32,
            rope_axes_dim=(4, 6, 6),
            target_size=32,
        ),
        vae=AutoencoderKLHunyuanVideo15(
            latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        ),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=3.0),
        image_encoder=SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=54,
                patch_size=2,  # 27 x 27 = 729 tokens, a constant of the pipeline
            )
        ),
        feature_extractor=SiglipImageProcessor(size={"height": 54, "width": 54}),
    )


def kandinsky5() -> Any:
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        Kandinsky5I2VPipeline,
        Kandinsky5Transformer3DModel,
    )
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
    }
    text = _LANGUAGE | {"rope_scaling": _ROPE}
    vocab, merges = _bytes("<|endoftext|>", "<|startoftext|>")
    tokenizer = _qwen_tokenizer()
    return Kandinsky5I2VPipeline(
        transformer=Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            out_visual_dim=4,
            in_text_dim=32,
            in_text_dim2=32,
            time_dim=16,
            model_dim=24,
            ff_dim=32,
            num_text_blocks=1,
            num_visual_blocks=2,
            axes_dims=(4, 4, 4),
            visual_cond=True,
        ),
        vae=AutoencoderKLHunyuanVideo(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=2,
            mid_block_add_attention=False,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision)
        ),
        tokenizer=Qwen2_5_VLProcessor(
            Qwen2VLImageProcessor(),
            tokenizer,
            Qwen2VLVideoProcessor(),
            chat_template=tokenizer.chat_template,
        ),
        text_encoder_2=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=400,
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                projection_dim=32,
                bos_token_id=1,
                eos_token_id=0,
                pad_token_id=0,
            )
        ),
        tokenizer_2=CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    )


def ltx2() -> Any:
    from diffusers import (
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        FlowMatchEulerDiscreteScheduler,
        LTX2ImageToVideoPipeline,
        LTX2VideoTransformer3DModel,
    )
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    return LTX2ImageToVideoPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLLTX2Video(
            latent_channels=4,
            block_out_channels=(8,),
            decoder_block_out_channels=(8,),
            layers_per_block=(1,),
            decoder_layers_per_block=(1, 1),
            spatio_temporal_scaling=(True,),
            decoder_spatio_temporal_scaling=(True,),
            decoder_inject_noise=(False, False),
            down_block_types=("LTX2VideoDownBlock3D",),
            downsample_type=("spatiotemporal",),
            upsample_type=("spatiotemporal",),
            upsample_residual=(False,),
            upsample_factor=(1,),
        ),
        audio_vae=AutoencoderKLLTX2Audio(
            base_channels=8,
            ch_mult=(1,),
            num_res_blocks=1,
            resolution=32,
            latent_channels=2,
            mel_bins=16,
        ),
        text_encoder=Gemma3ForConditionalGeneration(
            Gemma3Config(text_config=_LANGUAGE | {"head_dim": 8}, vision_config=vision, mm_tokens_per_image=4)
        ),
        tokenizer=_gemma_tokenizer(),
        connectors=LTX2TextConnectors(
            caption_channels=32,
            text_proj_in_factor=4,
            video_connector_num_attention_heads=2,
            video_connector_attention_head_dim=16,
            video_connector_num_layers=1,
            video_connector_num_learnable_registers=None,
            audio_connector_num_attention_heads=2,
            audio_connector_attention_head_dim=16,
            audio_connector_num_layers=1,
            audio_connector_num_learnable_registers=None,
            connector_rope_base_seq_len=32,
        ),
        transformer=LTX2VideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            audio_in_channels=8,
            audio_out_channels=8,
            audio_num_attention_heads=2,
            audio_attention_head_dim=8,
            audio_cross_attention_dim=16,
            num_layers=2,
            caption_channels=32,
        ),
        vocoder=LTX2Vocoder(
            in_channels=32,
            hidden_channels=16,
            upsample_kernel_sizes=[4, 4],
            upsample_factors=[2, 2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1, 3]],
        ),
    )


RECENT_BUILDERS: dict[str, Callable[[], Any]] = {
    "sana_video": sana_video,
    "hunyuanvideo15": hunyuanvideo15,
    "kandinsky5": kandinsky5,
    "ltx2": ltx2,
}

_LANGUAGE: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_ROPE = {"type": "mrope", "mrope_section": [1, 1, 2]}


def _bytes(*special: str) -> tuple[dict[str, int], list[Any]]:
    """A byte-level vocabulary without merges."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    pieces = [*special, *bytes_to_unicode().values()]
    return {piece: index for index, piece in enumerate(pieces)}, []


def _qwen_tokenizer() -> Any:
    from transformers import Qwen2Tokenizer

    specials = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>")
    vocab, merges = _bytes(*specials)
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": list(specials[1:])})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


def _gemma_tokenizer() -> Any:
    from transformers import GemmaTokenizer

    letters = [chr(code) for code in range(32, 127)]
    pieces = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        "▁",
        *letters,
        *(f"<0x{b:02X}>" for b in range(256)),
    ]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return GemmaTokenizer(vocab=vocab, merges=[], model_max_length=2048)
