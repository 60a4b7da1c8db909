"""Autoencoder, words and denoiser: the identities they rest on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from argen.puppets import autoencoder, denoiser, words
from argen.puppets.animate import load_embedded
from argen.puppets.checkpoint import folder
from argen.puppets.export import pipeline_of
from argen.puppets.footage import shoot
from pipelines.train_embedded import begin_from


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    return torch.from_numpy(np.stack([shoot("embedded", i).frames[:9, 16:48, 16:48] for i in range(5)]))


def test_linear_algebra_alone_gives_an_autoencoder(clips: torch.Tensor) -> None:
    vae = autoencoder.make_autoencoder()
    pixels = autoencoder.to_tensor(clips)
    autoencoder.initialise(vae, pixels)
    latents = autoencoder.encode(vae, clips)
    with torch.no_grad():
        seen = vae.decode(latents).sample
        first = vae.encode(pixels[:, :, :1]).latent_dist.mode()
    assert autoencoder.psnr(seen, pixels) > 26
    # The encoder is causal: one picture has the latent of a clip that starts with it, whatever follows.
    assert torch.allclose(first, latents[:, :, :1], atol=1e-3)
    autoencoder.set_normalisation(vae, latents)
    normal = autoencoder.normalise(vae, latents)
    assert float((normal[:, :, 1:] - normal[:, :, :1]).pow(2).mean().sqrt()) == pytest.approx(0.5, rel=1e-3)


def test_every_word_of_a_caption_is_known() -> None:
    tokenizer = words.make_tokenizer()
    captions, meaning = words._caption_batch(np.random.default_rng(0), 40)
    ids, mask = words.tokenise(tokenizer, captions)
    assert ids.shape == (40, words.LENGTH)
    assert not (ids == tokenizer.unk_token_id).any()
    assert mask.sum(dim=1).max() < words.LENGTH  # nothing is cut
    assert torch.isfinite(meaning).all()
    assert words.tokenise(tokenizer, [""])[1].sum() == 1  # the empty caption still has its end


def test_teaching_words_lowers_the_loss() -> None:
    torch.manual_seed(0)
    tokenizer = words.make_tokenizer()
    losses = list(words.teach_words(words.make_encoder(len(tokenizer)), tokenizer, 8))
    assert losses[-1] < losses[0]


def test_tokens_are_packed_and_placed_as_the_pipeline_does() -> None:
    transformer = denoiser.make_transformer().eval()
    latents = torch.randn(1, 40, 5, 8, 8)
    tokens, places = denoiser._tokens(latents, (slice(0, 8), slice(0, 8)))
    text, mask = torch.randn(1, 6, words.WIDTH), torch.ones(1, 6)
    shared = {"encoder_hidden_states": text, "encoder_attention_mask": mask, "return_dict": False}
    level = torch.rand(1, 320) * 1000
    with torch.no_grad():
        ours = transformer(tokens, timestep=level, video_coords=places, **shared)[0]
        theirs = transformer(
            tokens, timestep=level, num_frames=5, height=8, width=8,
            rope_interpolation_scale=(4 / denoiser.FRAME_RATE, 8, 8), **shared,
        )[0]  # fmt: skip
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_few_steps_lower_the_loss_and_state_comes_back() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    state = denoiser.Training(denoiser.make_transformer(), words.make_encoder(50), rate=4e-3)
    ids, mask = torch.randint(3, 50, (2, words.LENGTH)), torch.ones(2, words.LENGTH, dtype=torch.long)
    batch = denoiser.Batch(torch.randn(2, 40, 2, 8, 8) * 0.3, ids, mask)
    weights = denoiser.motion_weights(batch.latents)
    losses = [state.step(batch, weights, 0.0, generator) for _ in range(14)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    again = denoiser.Training(denoiser.make_transformer(), words.make_encoder(50))
    again.load(state.state())
    assert again.steps == 14
    for mine, theirs in zip(again.models.parameters(), state.models.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_newton_schulz_makes_singular_values_alike() -> None:
    matrices = torch.randn(2, 16, 48, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(denoiser._orthogonal(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.5
    flipped = denoiser._orthogonal(matrices.mT.contiguous()).mT
    assert torch.allclose(flipped, denoiser._orthogonal(matrices), atol=1e-4)


def test_dropped_captions_are_the_empty_caption() -> None:
    ids, mask = torch.full((400, 12), 7), torch.ones(400, 12, dtype=torch.long)
    batch = denoiser.Batch(torch.zeros(400, 40, 2, 8, 8), ids, mask)
    dropped, kept = denoiser._drop_captions(batch, torch.Generator().manual_seed(1))
    empty = kept.sum(dim=1) == 1
    assert 15 < int(empty.sum()) < 75
    assert (dropped[empty][:, 0] == 1).all()
    assert (dropped[~empty] == 7).all()


def test_a_run_goes_on_from_the_shipped_weights(tmp_path: Path) -> None:
    begin_from(folder(), tmp_path)
    ours, shipped = pipeline_of(tmp_path, average=False), load_embedded()
    for part in ("transformer", "text_encoder", "vae"):
        for mine, theirs in zip(
            getattr(ours, part).parameters(), getattr(shipped, part).parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)
