"""The diffusion generator on tiny checkpoints of every family, each loaded from disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from argen.config import GenerateSettings
from argen.errors import EnvironmentFault, JobError, RecipeError
from argen.generate.load import load_generator
from argen.generate.probe import denoisers, replaced
from tests.tiny import FAMILIES

SHARES = {"cogvideox": "all", "ltx": "all", "svd": "all"}  # the others take one picture a call


def difference(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_is_the_same_in_any_batch(family, load_tiny, make_request):
    generator = load_tiny(family)
    picture = make_request(7).frame
    requests = [make_request(1), make_request(2, "a calm person", picture), make_request(3, frame=picture)]
    together = generator(requests)
    assert [clip.shape for clip in together] == [(5, 32, 32, 3)] * 3
    alone = [generator([request])[0] for request in requests]
    assert max(map(difference, together, alone)) <= 1  # of 255: other kernels for other batches
    assert difference(together[1], together[2]) > 1
    assert generator._sharing == SHARES.get(family, "picture")
    assert np.array_equal(load_tiny(family)([requests[0]])[0], alone[0])


def test_prompts_and_seeds_matter(load_tiny, make_request):
    generator = load_tiny("ltx", guidance=5.0)
    frame = make_request(7).frame
    one, other_words, other_seed = (
        generator([make_request(seed, words, frame)])[0]
        for seed, words in ((1, "happy smile"), (1, "nose wrinkled"), (2, "happy smile"))
    )
    assert difference(one, other_words) > 0
    assert difference(one, other_seed) > 5


def test_order_and_grouping_do_not_mix_clips_up(load_tiny, make_request):
    generator = load_tiny("wan22_ti2v")
    a, b = make_request(1).frame, make_request(2).frame
    requests = [make_request(seed, frame=frame) for seed, frame in enumerate([a, b, a, b, a])]
    together = generator(requests)
    assert all(difference(clip, generator([r])[0]) <= 1 for clip, r in zip(together, requests, strict=True))


def test_sizes_and_lengths_that_the_model_cannot_make(load_tiny, make_request):
    generator = load_tiny("wan22_ti2v", frames=7, size=40)
    assert (generator.form.size, generator.form.frames) == (48, 9)
    (clip,) = generator([make_request(frames=7)])
    assert clip.shape == (7, 40, 40, 3)
    assert load_tiny("ltx", size=40).form.size == 64  # it only takes multiples of 32, and says so when called
    assert load_tiny("svd", frames=6).form.frames == 6  # no temporal compression, no rule


def test_the_face_is_placed_or_the_centre_is_cut(load_tiny, make_request):
    generator = load_tiny("ltx", steps=1)
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 255
    assert np.asarray(generator.item(make_request(frame=wide)).picture).min() == 255
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:, 0] = np.linspace(85, 110, 478)
    landmarks[:, 1] = np.linspace(20, 45, 478)
    placed = np.asarray(generator.item(make_request(frame=wide, landmarks=landmarks)).picture)
    assert 0.2 < (placed < 128).mean() < 0.7


def test_out_of_memory_halves_the_batch(load_tiny, make_request):
    generator = load_tiny("ltx", batch=4, guidance=1.0)
    requests = [make_request(seed) for seed in range(4)]
    expected = [generator([request])[0] for request in requests]
    rows = []
    (module,) = denoisers(generator.pipe).values()
    real = module.forward

    def small_machine(*args, **kwargs):
        rows.append(len(kwargs["hidden_states"]))
        if rows[-1] > 1 and len(rows) > 1:  # the second: the first is the probe of batching
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return real(*args, **kwargs)

    with replaced(module, "forward", small_machine):
        clips = generator(requests)
    assert generator.batch == 1
    assert max(rows) == 4
    assert all(difference(a, b) <= 1 for a, b in zip(clips, expected, strict=True))


def test_out_of_memory_for_one_clip_says_what_to_lower(load_tiny, make_request):
    generator = load_tiny("ltx")
    (module,) = denoisers(generator.pipe).values()

    def no_machine(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with (
        replaced(module, "forward", no_machine),
        pytest.raises(
            EnvironmentFault, match=r"5 frames at 32x32 on cpu.*generate\.size.*generate\.offload=model"
        ),
    ):
        generator([make_request()])


def one_at_a_time(decode):
    def decode_one(latents, *args, **kwargs):
        if len(latents) > 1:
            raise TypeError("randn(): argument 'generator' must be Generator, not list")
        return decode(latents, *args, **kwargs)

    return decode_one


def test_a_pipeline_that_cannot_decode_a_batch_is_rehearsed_first(load_tiny, make_request, caplog):
    """As LTX with a noisy decoder, which would otherwise fail after all of the denoising."""
    generator = load_tiny("ltx", guidance=1.0)
    requests = [make_request(seed) for seed in range(3)]
    expected = [generator([request])[0] for request in requests]
    with replaced(generator.pipe.vae, "decode", one_at_a_time(generator.pipe.vae.decode)):
        clips = generator(requests)
    assert generator._sharing == "nothing"
    assert not caplog.text
    assert all(difference(a, b) <= 1 for a, b in zip(clips, expected, strict=True))


def test_a_pipeline_that_fails_on_a_batch_later_goes_one_by_one(load_tiny, make_request, caplog):
    generator = load_tiny("ltx", guidance=1.0)
    requests = [make_request(seed) for seed in range(3)]
    expected = generator(requests)
    with replaced(generator.pipe.vae, "decode", one_at_a_time(generator.pipe.vae.decode)):
        clips = generator(requests)
    assert "one by one" in caplog.text
    assert all(difference(a, b) <= 1 for a, b in zip(clips, expected, strict=True))


def test_a_pipeline_that_mixes_its_clips_is_called_for_one_at_a_time(load_tiny, make_request):
    generator = load_tiny("ltx", guidance=1.0)
    decode = generator.pipe.vae.decode

    def mixing(latents, *args, **kwargs):
        return decode(latents + 0.1 * latents.flip(0), *args, **kwargs)

    with replaced(generator.pipe.vae, "decode", mixing):
        requests = [make_request(seed) for seed in range(2)]
        clips = generator(requests)
        assert generator._sharing == "nothing"
        assert all(np.array_equal(a, generator([r])[0]) for a, r in zip(clips, requests, strict=True))


def test_a_failing_job_says_what_the_pipeline_said(load_tiny, make_request):
    generator = load_tiny("ltx")

    def broken(*args, **kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nmore")

    with (
        replaced(generator.pipe.transformer, "forward", broken),
        pytest.raises(
            JobError, match=r"^LTXImageToVideoPipeline: mat1 and mat2 shapes cannot be multiplied$"
        ),
    ):
        generator([make_request()])


def test_frames_that_are_not_numbers_fail_the_job(load_tiny, make_request):
    generator = load_tiny("ltx")
    decode = generator.pipe.vae.decode

    def overflowing(*args, **kwargs):
        return (decode(*args, **kwargs)[0] * float("nan"),)

    with (
        replaced(generator.pipe.vae, "decode", overflowing),
        pytest.raises(JobError, match=r"not numbers; set generate\.dtype=bfloat16"),
    ):
        generator([make_request()])


def test_noise_moves_to_the_device_where_a_pipeline_insists(load_tiny, make_request):
    generator = load_tiny("ltx")
    expected = generator([make_request()])[0]
    decode, calls = generator.pipe.vae.decode, []

    def insisting(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        return decode(*args, **kwargs)

    generator._noise_on = "cpu"
    with replaced(generator.pipe.vae, "decode", insisting):
        clip = generator([make_request()])[0]
    assert len(calls) == 2
    assert np.array_equal(clip, expected)


def test_chunks_of_frames_never_run_across_clips(load_tiny, make_request):
    generator = load_tiny("svd", extra={"decode_chunk_size": 3}, steps=1)
    requests = [make_request(1), make_request(2)]
    together = generator(requests)
    assert generator._sharing == "nothing"
    assert all(np.array_equal(a, generator([r])[0]) for a, r in zip(together, requests, strict=True))


def test_provenance_names_what_made_the_pixels(load_tiny, tiny_folder):
    provenance = load_tiny("ltx", guidance=2.5).provenance
    assert provenance["pipeline"] == "LTXImageToVideoPipeline"
    assert provenance["model"] == str(tiny_folder("ltx"))
    assert provenance["revision"].startswith("sha256:")
    assert provenance["revision"] != load_tiny("cogvideox").provenance["revision"]
    assert (provenance["steps"], provenance["guidance"], provenance["adapter"]) == ("2", "2.5", "")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            {"decode_timestap": 0.1},
            "extra.decode_timestap: LTXImageToVideoPipeline takes none; did you mean 'decode_timestep'?",
        ),
        ({"num_frames": 9}, "extra.num_frames: set generate.frames instead"),
        ({"generator": 3}, "extra.generator: made by the generator for every clip"),
    ],
)
def test_extra_arguments_are_checked_at_loading(load_tiny, extra, said):
    with pytest.raises(RecipeError) as caught:
        load_tiny("ltx", extra=extra)
    assert said in str(caught.value)


def test_extra_arguments_reach_the_call(load_tiny, make_request):
    plain, rescaled = (
        load_tiny("ltx", extra=extra, guidance=6.0)([make_request()])[0]
        for extra in ({}, {"guidance_rescale": 0.7})
    )
    assert difference(plain, rescaled) > 0


def test_the_number_of_steps_is_the_recipes(load_tiny, make_request):
    generator = load_tiny("cogvideox", steps=3)
    calls = []
    real = generator.pipe.transformer.forward

    def counting(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    with replaced(generator.pipe.transformer, "forward", counting):
        generator([make_request()])
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"device": "gpu0"}, RecipeError, "generate.device: no device 'gpu0'"),
        ({"device": "cuda:99"}, EnvironmentFault, "generate.device: cuda:99, but torch sees"),
        ({"device": "cpu", "offload": "model"}, EnvironmentFault, "generate.offload: model needs a GPU"),
    ],
)
def test_devices_that_are_not_there(tiny_folder, changed, error, said):
    settings = {"generator": "diffusion", "model": str(tiny_folder("ltx")), "frames": 5, "size": 32}
    with pytest.raises(error) as caught:
        load_generator(GenerateSettings(**(settings | changed)))
    assert said in str(caught.value)


def test_half_precision_runs(load_tiny, make_request):
    generator = load_tiny("ltx", dtype="bfloat16")
    assert generator.pipe.transformer.dtype == torch.bfloat16
    assert generator([make_request()])[0].shape == (5, 32, 32, 3)
