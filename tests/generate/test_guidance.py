"""Inter-frame guidance against stock pipelines, in latents, on families that guide and pack differently."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from argen.errors import UsageError
from argen.generate.calling import Item
from argen.generate.guidance import guidance_along, latent_intensity, neighbours
from argen.generate.layout import read_layout
from argen.generate.probe import call, denoisers, replaced

FAMILIES = ("cogvideox", "ltx", "svd", "wan21", "wan22_a14b", "wan22_ti2v")
CONDITIONED = ("ltx", "wan22_ti2v")  # the source frame is in the input, clean, at every step
FRAMES = 5  # latent


@pytest.fixture(scope="module")
def loaded(load_tiny):
    """family -> (generator, layout), read once."""
    cache = {}

    def load(family):
        if family not in cache:
            generator = load_tiny(family, guidance=3.0, steps=3)
            cache[family] = generator, read_layout(generator.pipe, generator.form)
        return cache[family]

    return load


def latents(generator, layout, *contexts, clips=1, **changed):
    """Final latents of the pipeline as [B, F, ...], inside the contexts."""
    from PIL import Image

    noise = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    items = [Item(picture, f"a person with a strong smile {index}", 11 + index) for index in range(clips)]
    form = generator.form
    sharing = "all" if layout.branches == "rows" else "picture"
    arguments = form.arguments(
        items, sharing, changed=form.fewest(FRAMES) | {"output_type": "latent"} | changed
    )
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        out = call(generator.pipe, arguments).frames
    return layout.split(out, FRAMES)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_layouts_are_found_without_naming_a_family(loaded):
    found = {family: loaded(family)[1] for family in FAMILIES}
    assert {family: layout.hidden for family, layout in found.items()} == {
        "cogvideox": 1, "ltx": "tokens", "svd": 1, "wan21": 2, "wan22_a14b": 2, "wan22_ti2v": 2,
    }  # fmt: skip
    assert {family for family, layout in found.items() if layout.condition} == {"ltx"}
    assert {family for family, layout in found.items() if layout.branches == "rows"} == {
        "cogvideox",
        "ltx",
        "svd",
    }
    assert {family for family, layout in found.items() if layout.prompted_first} == {
        "wan21", "wan22_a14b", "wan22_ti2v",
    }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_constant_curve_is_a_constant_guidance(family, loaded):
    """Called at 4, with every frame held to 2: the stock pipeline at 2."""
    generator, layout = loaded(family)
    form, pipe = generator.form, generator.pipe
    third = torch.full((2, FRAMES), 1 / 3)  # 1 + (4 - 1) / 3 = 2
    stock = latents(generator, layout, clips=2, **form.guided(2.0))
    held = latents(generator, layout, guidance_along(pipe, layout, third, 4.0), clips=2, **form.guided(4.0))
    assert relative(held, stock) < 1e-5
    assert relative(latents(generator, layout, clips=2, **form.guided(4.0)), stock) > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_each_frame_and_each_clip_gets_its_own_scale(family, loaded):
    """After one step no frame has seen another's guidance: frame f equals the stock frame at w_f."""
    generator, layout = loaded(family)
    form, pipe = generator.form, generator.pipe
    curves = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 1.0, 1.0, 0.5, 0.0]])
    one_step = {"num_inference_steps": 1, "clips": 2}
    guided = latents(
        generator, layout, guidance_along(pipe, layout, curves, 5.0), **form.guided(5.0), **one_step
    )
    for scale in (1.0, 2.0, 3.0, 5.0):
        stock = latents(generator, layout, **form.guided(scale), **one_step)
        for clip, frame in (curves * 4 + 1 == scale).nonzero().tolist():
            assert relative(guided[clip, frame], stock[clip, frame]) < 1e-4  # SVD subtracts at sigma 700


@pytest.mark.parametrize("family", FAMILIES)
def test_no_neighbour_weight_is_the_stock_pipeline_bit_for_bit(family, loaded):
    generator, layout = loaded(family)
    stock = latents(generator, layout)
    assert torch.equal(latents(generator, layout, neighbours(generator.pipe, layout, FRAMES, 0.0)), stock)
    left = latents(generator, layout, neighbours(generator.pipe, layout, FRAMES, 0.5))
    assert not torch.equal(left, stock)
    assert torch.equal(latents(generator, layout), stock)  # nothing stays behind


@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_smooth_the_clip_and_leave_the_source(family, loaded):
    generator, layout = loaded(family)

    def run(weight, **changed):
        return latents(generator, layout, neighbours(generator.pipe, layout, FRAMES, weight), **changed)

    def jerk(clip):
        return float((clip[:, 2:] - 2 * clip[:, 1:-1] + clip[:, :-2]).norm())

    curve = [jerk(run(weight)) for weight in (0.0, 0.5, 1.0)]
    assert curve[0] > curve[1] > curve[2]
    steps = {} if family in CONDITIONED else {"num_inference_steps": 1}
    assert torch.equal(run(1.0, **steps)[:, 0], run(0.0, **steps)[:, 0])


def test_the_estimate_is_the_formula(loaded):
    """One step of flow matching ends on the estimate itself: check it against the three lines of algebra."""
    generator, layout = loaded("ltx")
    one = {"num_inference_steps": 1}
    stock = latents(generator, layout, **one)
    leaning = latents(generator, layout, neighbours(generator.pipe, layout, FRAMES, 0.6), **one)
    right = torch.cat([stock[:, 2:], stock[:, -1:]], dim=1)
    expected = stock.clone()
    expected[:, 1:] += 0.3 * ((stock[:, :-1] + right) / 2 - stock[:, 1:])  # noise level 1 at the first step
    assert relative(leaning, expected) < 1e-5


def test_both_together_in_the_generator(load_tiny, make_request):
    requests = [make_request(1), make_request(2)]
    for family in ("ltx", "wan21"):
        plain = load_tiny(family, guidance=4.0)
        both = load_tiny(family, guidance=4.0, guidance_follows_intensity=True, neighbour_weight=0.5)
        together = both(requests)
        assert not np.array_equal(together[0], plain(requests[:1])[0])
        for clip, request in zip(together, requests, strict=True):
            assert np.abs(clip.astype(int) - both([request])[0]).max() <= 1


def test_a_calm_target_is_not_guided(load_tiny, make_request):
    calm = make_request(1)
    calm.affect.trajectory[:] = 0.3
    followed = load_tiny("ltx", guidance=6.0, guidance_follows_intensity=True)([calm])[0]
    assert np.abs(followed.astype(int) - load_tiny("ltx", guidance=1.0)([calm])[0]).max() <= 1


def test_the_pipeline_is_as_it_was_after_an_error(loaded):
    generator, layout = loaded("wan21")
    before = {name: dict(vars(module)) for name, module in denoisers(generator.pipe).items()}

    def fail(*args, **kwargs):
        raise ValueError("midway")

    with (
        pytest.raises(ValueError, match="midway"),
        replaced(generator.pipe.vae, "encode", fail),
    ):
        latents(
            generator,
            layout,
            guidance_along(generator.pipe, layout, torch.ones(1, FRAMES), 3.0),
            neighbours(generator.pipe, layout, FRAMES, 1.0),
        )
    for name, module in denoisers(generator.pipe).items():
        assert vars(module).keys() == before[name].keys()
    assert "step" not in vars(generator.pipe.scheduler)


def test_guidance_per_frame_needs_guidance(loaded, load_tiny):
    generator, layout = loaded("ltx")
    with (
        pytest.raises(UsageError, match="needs a pipeline that guides"),
        guidance_along(generator.pipe, layout, torch.ones(1, FRAMES), 1.0),
    ):
        pass
    with pytest.raises(UsageError, match=r"generate\.guidance"):
        load_tiny("ltx", guidance=1.0, guidance_follows_intensity=True)


@given(
    arrays(np.float32, (9, 20), elements=st.floats(0, 1, width=32)),
    st.sampled_from([(9, 1), (9, 2), (9, 4), (17, 4), (5, 4), (33, 8)]),
)
def test_intensity_starts_calm_and_stays_in_bounds(trajectory, shape):
    frames, ratio = shape
    curve = latent_intensity(trajectory, frames, ratio)
    assert curve.shape == ((frames - 1) // ratio + 1,)
    assert curve[0] == 0
    assert curve.min() >= 0
    assert curve.max() <= 1 + 1e-6


def test_intensity_of_a_rise_and_a_still_target():
    rise = np.zeros((9, 20), np.float32)
    rise[:, 4] = np.linspace(0.1, 0.9, 9)
    assert np.allclose(latent_intensity(rise, 9, 1), np.linspace(0, 1, 9), atol=1e-6)
    assert np.allclose(latent_intensity(rise, 9, 4), [0, 0.3125, 0.8125], atol=1e-6)
    assert not latent_intensity(np.full((9, 20), 0.5, np.float32), 9, 4).any()
