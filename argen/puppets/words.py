"""The embedded checkpoint's language: a word-level tokenizer and a two-layer T5 encoder for our captions.

The encoder is taught, without a picture, to tell from a caption what it says (units, emotion, timing,
side), and then kept: the denoiser starts from words that already mean something.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from torch import Tensor

from argen.affect.captions import Motion, describe_units, load_prompts, read_motion, vocabulary, write_caption
from argen.puppets.expressions import PROTOTYPES, act
from argen.puppets.footage import FPS, FRAMES, LABELS, STRENGTHS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5EncoderModel

LENGTH = 128  # tokens the pipeline pads every prompt to
WIDTH = 96
EMOTIONS = tuple(PROTOTYPES)
ONSETS = ("sudden", "quick", "steady", "slow")
ENDINGS = ("held", "partly", "gone")
HEADS = ("still", "turns", "nods", "tilts")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Words and punctuation of the caption grammar, lower case; anything else is <unk>."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", ",", ".", *sorted(vocabulary() | set(EMOTIONS))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=LENGTH,
    )


def make_encoder(words: int) -> T5EncoderModel:
    """Small, with relative positions, so that an adverb finds its verb."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=words, d_model=WIDTH, d_kv=24, d_ff=192, num_layers=2, num_heads=4,
        relative_attention_num_buckets=16, relative_attention_max_distance=32, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return T5EncoderModel(config)


def tokenise(
    tokenizer: PreTrainedTokenizerFast, captions: list[str]
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
    """Ids and mask, padded as the pipeline pads."""
    batch = tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask


def caption_of(label: str, motion: Motion, rng: np.random.Generator) -> str:
    """A training caption: mostly the whole grammar, sometimes only the emotion, sometimes only the units."""
    prompts, kind = load_prompts(), rng.random()
    if kind < 0.10:
        return describe_units(motion.units, prompts)
    cues = prompts.emotions[label].cues if rng.random() < 0.6 else ()
    caption = write_caption(label, motion, cues, rng, prompts)
    return caption.split(".")[0] + "." if kind < 0.35 else caption


def motion_of(
    units: Float32[ndarray, "T 20"], lean: Float32[ndarray, "20"], pose: Float32[ndarray, "T 3"]
) -> Motion:
    """What the caption of a rendered clip tells."""
    return read_motion(units, lean, pose - pose[:1], FPS)


def meaning(label: str, motion: Motion) -> Float32[ndarray, "64"]:
    """Everything that a caption says, as numbers."""
    one_hot = [
        [float(word == known) for known in names]
        for word, names in (
            (label, EMOTIONS), (motion.onset, ONSETS), (motion.ending, ENDINGS), (motion.head, HEADS),
        )
    ]  # fmt: skip
    rest = [np.log(motion.hold + 0.1), float(motion.blinks)]
    return np.concatenate([2 * motion.units, motion.units * motion.asymmetry, *one_hot, rest]).astype(
        np.float32
    )


def teach_words(
    encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int = 0
) -> Iterator[float]:
    """Yield the loss of each step: captions in, meaning out through one linear layer on the mean token."""
    rng = np.random.default_rng([0x70, seed])
    generator = torch.Generator().manual_seed(seed)
    probe = torch.nn.Linear(WIDTH, 64)
    torch.nn.init.normal_(probe.weight, std=0.05, generator=generator)
    parameters = [*encoder.parameters(), *probe.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1, pct_start=0.1)
    for _ in range(steps):
        captions, wanted = _caption_batch(rng, 48)
        loss = (probe(_mean_token(encoder, *tokenise(tokenizer, captions))) - wanted).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        yield float(loss.detach())


def _caption_batch(rng: np.random.Generator, count: int) -> tuple[list[str], Float[Tensor, "B 64"]]:
    captions, wanted = [], []
    for _ in range(count):
        label = LABELS[int(rng.integers(len(LABELS)))]
        # As people act, "extreme" is too rare to come to mean more than "strong".
        even = rng.uniform(*STRENGTHS) if rng.random() < 0.5 else None
        performance = act(label, rng, FRAMES, FPS, rng.uniform(0.1, 0.7), strength=even).performance
        motion = motion_of(performance.action_units, performance.asymmetry, performance.pose)
        captions.append(caption_of(label, motion, rng))
        wanted.append(meaning(label, motion))
    return captions, torch.from_numpy(np.stack(wanted))


def _mean_token(encoder: T5EncoderModel, ids: Tensor, mask: Tensor) -> Float[Tensor, "B D"]:
    tokens = encoder(ids).last_hidden_state  # without the mask, as the pipeline calls it
    share = mask.float() / mask.sum(dim=1, keepdim=True)
    result: Tensor = (tokens * share[..., None]).sum(dim=1)
    return result
