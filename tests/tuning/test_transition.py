"""The law against diffusers' own stochastic steps, against torch.distributions, and against itself."""

import math

import diffusers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from argen.errors import RecipeError
from argen.tuning import transition as law

STEPS = 10
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def tensors(count, shape=(2, 3, 5, 4), seed=0):
    generator = rng(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def ready(scheduler, steps=STEPS):
    scheduler.set_timesteps(steps)
    return scheduler


def stock_steps(scheduler, sample, outputs, **kwargs):
    for t, output in zip(scheduler.timesteps, outputs, strict=True):
        scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else None
        following = scheduler.step(output, t, sample, **kwargs).prev_sample
        yield sample, output, following
        sample = following


DDIM = {
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
DETERMINISTIC = {
    "ddim epsilon": lambda: diffusers.DDIMScheduler(**DDIM, prediction_type="epsilon"),
    "ddim v": lambda: diffusers.DDIMScheduler(**DDIM, prediction_type="v_prediction", set_alpha_to_one=False),
    "ddim sample": lambda: diffusers.DDIMScheduler(**DDIM, prediction_type="sample"),
    "cogvideox": lambda: diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
        snr_shift_scale=3.0,
    ),
    "euler epsilon": lambda: diffusers.EulerDiscreteScheduler(prediction_type="epsilon"),
    "euler v karras": lambda: diffusers.EulerDiscreteScheduler(
        prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
        timestep_type="continuous",
    ),
    "edm": diffusers.EDMEulerScheduler,
    "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    "dpm flow": lambda: diffusers.DPMSolverMultistepScheduler(
        solver_order=1, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
    ),
    "dpm epsilon": lambda: diffusers.DPMSolverMultistepScheduler(solver_order=1),
}  # fmt: skip


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_without_noise_it_is_the_stock_step(name):
    scheduler = ready(DETERMINISTIC[name]())
    sample, *outputs = tensors(STEPS + 1)
    sample = sample * float(getattr(scheduler, "init_noise_sigma", 1.0))
    steps = law.schedule(scheduler)
    for step, (x, output, following) in zip(steps, stock_steps(scheduler, sample, outputs), strict=True):
        ours = law.mean(law.transition(step, law.STILL), x, output)
        assert (ours - following).abs().max() <= 1e-5 * following.abs().max().clamp(min=1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ddim_with_eta_one_is_diffusers_stochastic_step(prediction):
    scheduler = ready(diffusers.DDIMScheduler(**DDIM, prediction_type=prediction))
    for step, t in zip(law.schedule(scheduler), scheduler.timesteps, strict=True):
        x, output, noise = tensors(3, seed=int(t))
        ours = law.transition(step, law.Noise("ddim", eta=1.0))
        previous = int(t) - scheduler.config.num_train_timesteps // STEPS
        assert ours.std == pytest.approx(float(scheduler._get_variance(int(t), previous)) ** 0.5, abs=2e-6)
        theirs = scheduler.step(output, t, x, eta=1.0, variance_noise=noise).prev_sample
        assert (law.mean(ours, x, output) + ours.std * noise - theirs).abs().max() < 2e-4


def test_it_is_euler_ancestral_under_the_same_noise():
    scheduler = ready(diffusers.EulerAncestralDiscreteScheduler(prediction_type="v_prediction"))
    x, *outputs = tensors(STEPS + 1)
    for step, t, output in zip(law.schedule(scheduler), scheduler.timesteps, outputs, strict=True):
        scheduler.scale_model_input(x, t)
        theirs = scheduler.step(output, t, x, generator=rng(int(t))).prev_sample
        noise = torch.randn(x.shape, generator=rng(int(t)))
        ours = law.transition(step, law.Noise("ddim", eta=1.0))
        assert (law.mean(ours, x, output) + ours.std * noise - theirs).abs().max() < 1e-4
        x = theirs


def test_full_preserving_noise_is_flow_matching_stochastic_sampling():
    scheduler = ready(diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True))
    x, output = tensors(2)
    for step, t in zip(law.schedule(scheduler), scheduler.timesteps, strict=True):
        torch.manual_seed(int(t))
        theirs = scheduler.step(output, t, x).prev_sample
        torch.manual_seed(int(t))
        noise = torch.randn_like(x)
        ours = law.transition(step, law.Noise("cps", eta=1.0))
        assert torch.allclose(law.mean(ours, x, output) + ours.std * noise, theirs, atol=1e-5)


@given(a=st.floats(0.01, 1), g=st.floats(0.05, 1), closer=st.floats(0, 0.95), eta=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_noise_preserving_kinds_keep_the_marginal(a, g, closer, eta):
    """With the true denoiser of one data point, x' has exactly the next coefficients."""
    p, q = law._meaning("flow", 1 - g, g, None)
    step = law.Step(0, 1 - g, g, 1 - g * closer, g * closer, p, q, True)
    for kind in ("ddim", "cps"):
        ours = law.transition(step, law.Noise(kind, eta))
        # x = a x0 + g e and output e - x0: read off what multiplies x0 and e in the mean.
        clean = ours.carry * step.a - ours.gain
        noise = ours.carry * step.g + ours.gain
        assert clean == pytest.approx(step.a_next, abs=1e-9)
        assert math.hypot(noise, ours.std) == pytest.approx(step.g_next, abs=1e-9)


def sampled_spread(kind, eta, steps=6, count=100_000):
    """Mean and variance that a linear-Gaussian model ends with: data N(0.5, 0.3²), exact velocity."""
    scheduler = ready(diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), steps)
    x = torch.randn(count, 1, generator=rng(1))
    for step in law.schedule(scheduler):
        total = step.a**2 * 0.09 + step.g**2
        clean = 0.5 + step.a * 0.09 / total * (x - step.a * 0.5)
        output = (x - step.a * clean) / step.g - clean
        ours = law.transition(step, law.Noise(kind, eta))
        x = law.mean(ours, x, output)
        x = x + ours.std * torch.randn(x.shape, generator=rng(step.index + 2))
    return float(x.mean()), float(x.var())


def test_flow_sde_is_the_one_that_leaves_the_marginal_at_few_steps():
    mean, variance = sampled_spread("cps", 0.0)
    for kind, eta in (("cps", 0.7), ("ddim", 1.0)):
        found = sampled_spread(kind, eta)
        assert found[0] == pytest.approx(mean, abs=0.01)
        assert abs(found[1] / variance - 1) < 0.3  # only the discretisation of the exact flow differs
    assert sampled_spread("sde", 0.7)[1] > 1.5 * variance


def test_flow_sde_needs_flow_matching():
    step = law.schedule(ready(diffusers.DDIMScheduler(**DDIM)))[0]
    with pytest.raises(RecipeError, match="flow-matching"):
        law.transition(step, law.Noise("sde"))


def test_flow_sde_tends_to_the_flow_without_noise():
    for step in law.schedule(ready(diffusers.FlowMatchEulerDiscreteScheduler())):
        ours, still = law.transition(step, law.Noise("sde", 0.0)), law.transition(step, law.STILL)
        assert (ours.carry, ours.gain) == pytest.approx((still.carry, still.gain), abs=1e-9)


def test_the_last_step_has_no_noise():
    flow, other = diffusers.FlowMatchEulerDiscreteScheduler(), diffusers.EulerDiscreteScheduler()
    for kind, scheduler in (("ddim", flow), ("cps", flow), ("sde", flow), ("ddim", other), ("cps", other)):
        assert law.transition(law.schedule(ready(scheduler))[-1], law.Noise(kind, 1.0)).std == 0


def test_log_probability_is_a_normal_density_exactly():
    centre, following = tensors(2)
    for std in (1e-3, 0.3, 40.0):
        ours = law.log_prob(law.Transition(0, 1.0, 1.0, std), centre, following)
        assert torch.equal(ours, Normal(centre, torch.tensor(std)).log_prob(following))


def frame_covariance(std, rho, frames):
    distance = (torch.arange(frames)[:, None] - torch.arange(frames)[None]).abs()
    return std**2 * rho**distance


@pytest.mark.parametrize("axis", [1, 2])
def test_coupled_frames_are_a_multivariate_normal(axis):
    centre, following = tensors(2, (2, 3, 3, 4))
    ours = law.log_prob(law.Transition(0, 1.0, 1.0, 0.4, rho=0.5), centre, following, axis)
    joint = MultivariateNormal(torch.zeros(3), frame_covariance(0.4, 0.5, 3))
    by_frame = (following - centre).movedim(axis, -1)
    assert torch.allclose(ours.sum(axis), joint.log_prob(by_frame), atol=2e-5)


def test_coupled_noise_has_the_marginal_and_the_correlation_it_claims():
    centre = torch.zeros(4000, 6, 2)
    drawn = law.draw(law.Transition(0, 1.0, 1.0, 0.5, rho=0.5), centre, [rng(i) for i in range(4000)], axis=1)
    covariance = torch.cov(drawn.movedim(1, -1).reshape(-1, 6).T)
    assert torch.allclose(covariance, frame_covariance(0.5, 0.5, 6), atol=0.015)


def test_kl_is_the_distributions_own():
    centre, other = tensors(2)
    ours = law.kl_divergence(law.Transition(0, 1.0, 1.0, 0.3), centre, other)
    std = torch.tensor(0.3)
    assert torch.allclose(ours, kl_divergence(Normal(centre, std), Normal(other, std)), atol=1e-5)
    coupled = law.kl_divergence(law.Transition(0, 1.0, 1.0, 0.3, rho=0.4), centre, other, 1).sum(1)
    covariance = frame_covariance(0.3, 0.4, 3)
    joint = [MultivariateNormal(m.movedim(1, -1), covariance) for m in (centre, other)]
    assert torch.allclose(coupled, kl_divergence(*joint), rtol=1e-4)


def test_a_sample_is_drawn_from_its_own_generator_only():
    centre = torch.zeros(3, 2, 4)
    ours = law.Transition(0, 1.0, 1.0, 0.5)
    together = law.draw(ours, centre, [rng(i) for i in (5, 6, 7)], None)
    alone = law.draw(ours, centre[:1], [rng(6)], None)
    assert torch.equal(together[1:2], alone)


FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 5.0}


COUSINS = [
    ("UniPCMultistepScheduler", FLOW, "DPMSolverMultistepScheduler"),
    ("DPMSolverMultistepScheduler", {}, "DPMSolverMultistepScheduler"),
    ("CogVideoXDPMScheduler", {}, "CogVideoXDDIMScheduler"),
    ("CogVideoXDDIMScheduler", {}, "CogVideoXDDIMScheduler"),
    ("FlowMatchHeunDiscreteScheduler", {}, "FlowMatchEulerDiscreteScheduler"),
    ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}, "FlowMatchEulerDiscreteScheduler"),
    ("LTXEulerAncestralRFScheduler", {}, "FlowMatchEulerDiscreteScheduler"),
    ("EulerAncestralDiscreteScheduler", {}, "EulerDiscreteScheduler"),
    ("HeunDiscreteScheduler", {}, "EulerDiscreteScheduler"),
    ("LMSDiscreteScheduler", {}, "EulerDiscreteScheduler"),
    ("DDPMScheduler", {}, "DDIMScheduler"),
    ("PNDMScheduler", {}, "DDIMScheduler"),
]


@pytest.mark.parametrize(("name", "options", "cousin"), COUSINS, ids=lambda value: str(value)[:30])
def test_cousins_by_a_rule_on_the_scheduler(name, options, cousin):
    scheduler = getattr(diffusers, name)(**options)
    found = law.first_order(scheduler)
    assert type(found).__name__ == cousin
    assert len(law.schedule(ready(found, 5))) == 5
    assert type(law.first_order(found)).__name__ == cousin


def test_the_cousin_of_a_flow_solver_keeps_its_time_grid():
    original = ready(diffusers.UniPCMultistepScheduler(**FLOW))
    cousin = ready(law.first_order(original))
    assert torch.allclose(original.sigmas, cousin.sigmas, atol=4e-3)


def test_a_scheduler_without_cousin_is_refused_in_one_sentence():
    with pytest.raises(RecipeError, match="first-order cousin") as caught:
        law.first_order(diffusers.VQDiffusionScheduler(num_vec_classes=4))
    assert "\n" not in str(caught.value)
