"""Every family replays exactly; what would break the ratio does break it, so the guard can be trusted."""

import pytest
import torch

from argen.generate.probe import denoisers
from argen.tuning import transition as law
from argen.tuning.admission import admit, batched, parity
from argen.tuning.rollout import density, record, replay, walk
from tests.tiny import FAMILIES, tiny_pipeline

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 4
LAYOUTS = {
    "cogvideox": (1, 0), "ltx": (2, 0), "wan21": (2, 0), "wan22_ti2v": (2, 1),
    "wan22_a14b": (2, 0), "skyreels_v2": (2, 0), "svd": (1, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def admitted():
    """Pipelines are read-only here, except where a test builds its own."""
    made = {}

    def get(family, call):
        if family not in made:
            pipe = tiny_pipeline(family)
            made[family] = (pipe, admit(pipe, call))
        return made[family]

    return get


def rolled(pipe, layout, call, noise=law.Noise(), window=range(1, 3), seeds=(1, 2), **changes):  # noqa: B008
    call = {
        **batched(call, len(seeds), layout),
        "output_type": "latent",
        "num_inference_steps": STEPS,
        **changes,
    }
    return record(pipe, call, seeds, noise=noise, window=window, layout=layout)


def deviations(pipe, trajectory):
    found = []

    def compare(action, centre):
        new = density(action.law, centre, action.following, trajectory.layout)
        found.append(float((new - action.log_prob).abs().max()))

    replay(pipe, trajectory, compare)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_without_noise_it_is_the_stock_pipeline(family, admitted, call_of):
    pipe, layout = admitted(family, call_of(family))
    assert parity(pipe, call_of(family, num_inference_steps=STEPS), layout) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_walk_visits_the_models_own_states_with_gradients(family, admitted, call_of):
    pipe, layout = admitted(family, call_of(family))
    _, trajectory = rolled(pipe, layout, call_of(family), law.STILL, range(STEPS))
    seen = []

    def on_state(step, sample, output):
        known = trajectory.latents.get((step.index - 1, 0))
        assert known is None or torch.equal(sample, known)
        seen.append((step.index, output.requires_grad))

    for module in denoisers(pipe).values():
        module.requires_grad_(True)
    walk(pipe, trajectory.call, trajectory.seeds, on_state)
    for module in denoisers(pipe).values():
        module.requires_grad_(False)
    assert seen == [(index, True) for index in range(STEPS)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ratio_is_exactly_one_before_an_update(family, admitted, call_of):
    pipe, layout = admitted(family, call_of(family))
    for noise in (law.Noise(), law.Noise("ddim", 1.0, rho=0.4)):
        _, trajectory = rolled(pipe, layout, call_of(family), noise, range(STEPS))
        assert len(trajectory.actions) == STEPS - 1  # the last step ends on clean samples
        assert deviations(pipe, trajectory) == [0.0] * (STEPS - 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_layout_is_found_by_trying(family, admitted, call_of):
    _, layout = admitted(family, call_of(family))
    assert (layout.frames, layout.first) == LAYOUTS[family]
    assert layout.last == 0


LONG = {"svd", "wan22_ti2v", "wan22_a14b", "skyreels_v2"}


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in FAMILIES]
)
def test_the_ratio_is_one_in_half_precision_and_with_checkpointing(family, call_of):
    pipe = tiny_pipeline(family)
    layout = admit(pipe, call_of(family))
    for module in denoisers(pipe).values():
        module.enable_gradient_checkpointing()
    _, trajectory = rolled(pipe, layout, call_of(family))
    assert deviations(pipe, trajectory) == [0.0, 0.0]
    pipe.to(torch.bfloat16)
    _, trajectory = rolled(pipe, layout, call_of(family))
    assert deviations(pipe, trajectory) == [0.0, 0.0]


def test_a_window_runs_the_denoiser_only_where_it_trains(admitted, call_of):
    pipe, layout = admitted("wan21", call_of("wan21"))
    _, trajectory = rolled(pipe, layout, call_of("wan21"))
    ran = []
    handle = pipe.transformer.patch_embedding.register_forward_hook(lambda *_: ran.append(1))
    deviations(pipe, trajectory)
    handle.remove()
    assert len(ran) == 2 * 2  # two steps, with and without the prompt


def test_both_stages_of_a_two_transformer_model_are_replayed(admitted, call_of):
    pipe, layout = admitted("wan22_a14b", call_of("wan22_a14b"))
    _, trajectory = rolled(pipe, layout, call_of("wan22_a14b"), window=range(STEPS))
    assert set(trajectory.answers) == {"transformer", "transformer_2"}


def test_condition_frames_are_never_actions(admitted, call_of):
    pipe, layout = admitted("wan22_ti2v", call_of("wan22_ti2v"))
    _, trajectory = rolled(pipe, layout, call_of("wan22_ti2v"))
    action = trajectory.actions[0]
    disturbed = action.following.clone()
    disturbed[:, :, 0] += 100
    assert torch.equal(density(action.law, action.centre, disturbed, layout), action.log_prob)
    disturbed[:, :, 1] += 100
    assert not torch.equal(density(action.law, action.centre, disturbed, layout), action.log_prob)


def test_gradients_flow_and_end_with_their_step(admitted, call_of):
    pipe, layout = admitted("wan21", call_of("wan21"))
    weight = pipe.transformer.proj_out.weight.requires_grad_()
    _, trajectory = rolled(pipe, layout, call_of("wan21"))
    replay(pipe, trajectory, lambda action, centre: centre.mean().backward())
    assert weight.grad.abs().sum() > 0
    weight.requires_grad_(False).grad = None


def test_backward_inside_each_step_is_the_whole_gradient(admitted, call_of):
    pipe, layout = admitted("ltx", call_of("ltx"))
    weight = pipe.transformer.proj_out.weight.requires_grad_()
    _, trajectory = rolled(pipe, layout, call_of("ltx"), window=range(3))

    def loss(action, centre):
        return density(action.law, centre, action.following, layout).sum()

    replay(pipe, trajectory, lambda *both: loss(*both).backward())
    stepwise, weight.grad = weight.grad, None
    terms = []
    replay(pipe, trajectory, lambda *both: terms.append(loss(*both)))
    sum(terms).backward()
    assert torch.allclose(stepwise, weight.grad, rtol=1e-5)
    weight.requires_grad_(False).grad = None


def test_another_guidance_scale_breaks_the_ratio(admitted, call_of):
    pipe, layout = admitted("wan21", call_of("wan21"))
    _, trajectory = rolled(pipe, layout, call_of("wan21"))
    trajectory.call["guidance_scale"] = 1.0
    assert max(deviations(pipe, trajectory)) > 1e-6


def test_rounded_latents_break_the_ratio(admitted, call_of):
    pipe, layout = admitted("svd", call_of("svd"))
    _, trajectory = rolled(pipe, layout, call_of("svd"))
    for key, value in trajectory.latents.items():
        trajectory.latents[key] = value.bfloat16().float()
    assert max(deviations(pipe, trajectory)) > 1e-6


def test_a_sample_does_not_depend_on_its_batch(admitted, call_of):
    pipe, layout = admitted("ltx", call_of("ltx"))
    both, _ = rolled(pipe, layout, call_of("ltx"), seeds=(5, 6))
    alone, _ = rolled(pipe, layout, call_of("ltx"), seeds=(6,))
    assert torch.allclose(both[1:], alone, atol=1e-5)


def test_the_scheduler_is_left_as_it_was(admitted, call_of):
    pipe, layout = admitted("wan21", call_of("wan21"))
    rolled(pipe, layout, call_of("wan21"))
    assert "step" not in vars(pipe.scheduler)
    assert "forward" not in vars(pipe.transformer)
