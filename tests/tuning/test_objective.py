"""Objectives against closed forms, and DDPO against the published algorithm written out independently."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from argen.tuning.advantage import PerPromptStatistics
from argen.tuning.objective import (
    PRESETS,
    Knobs,
    Moment,
    ddpo,
    forward_process,
    grpo,
    leading_to,
    nft,
    reflow,
)
from argen.tuning.rollout import Action, Layout, Trajectory, density
from argen.tuning.transition import Noise, Transition, draw, mean, schedule, transition

LAYOUT = Layout(frames=1)
SHAPE = (6, 3, 4)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def moment_of(advantage, std=0.5, moved=0.0, seed=0):
    law = Transition(2, 1.0, 1.0, std)
    centre = torch.randn(SHAPE, generator=rng(seed))
    following = centre + std * torch.randn(SHAPE, generator=rng(seed + 1))
    action = Action(law, centre, following, density(law, centre, following, LAYOUT))
    now = (centre + moved * torch.randn(SHAPE, generator=rng(seed + 2))).requires_grad_()
    return Moment(action, now, torch.as_tensor(advantage, dtype=torch.float32), LAYOUT)


def gradient(objective, moment, knobs):
    return torch.autograd.grad(objective(moment, knobs).loss.sum(), moment.centre)[0]


def test_before_an_update_ddpo_follows_the_score():
    """d(-A ratio)/d mean = -A (x' - mean) / (std² D) at ratio 1."""
    advantage = torch.linspace(-2, 2, 6)
    moment = moment_of(advantage)
    found = gradient(ddpo, moment, Knobs(clip=1e-4))
    score = (moment.action.following - moment.action.centre) / 0.25 / 12
    assert torch.allclose(found, -advantage.view(6, 1, 1) * score, atol=1e-6)


def test_grpo_takes_the_steps_own_scale_out():
    small, large = (gradient(grpo, moment_of(torch.ones(6), std), Knobs()).norm() for std in (0.01, 1.0))
    assert small / large == pytest.approx(1.0, rel=1e-3)
    small, large = (gradient(ddpo, moment_of(torch.ones(6), std), Knobs()).norm() for std in (0.01, 1.0))
    assert small / large == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("objective", [ddpo, grpo])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_clip_stops_the_gradient_on_the_right_side_only(objective, sign):
    moment = moment_of(sign * torch.ones(6), moved=0.3)
    terms = objective(moment, Knobs(clip=1e-3))
    found = gradient(objective, moment, Knobs(clip=1e-3)).flatten(1).norm(dim=1)
    beyond = terms.ratio > 1.001 if sign > 0 else terms.ratio < 0.999
    assert beyond.any()
    assert not beyond.all()
    assert torch.equal(found == 0, beyond)
    assert torch.equal(terms.clipped.bool(), beyond)


def test_a_policy_gradient_of_a_linear_reward_is_its_vector():
    """x' ~ N(theta, s²), r = c·x': the expected gradient of the reward is c."""
    count, c, std = 200_000, torch.tensor([1.0, -2.0, 0.5]), 0.7
    law = Transition(0, 1.0, 1.0, std)
    theta = torch.zeros(3, requires_grad=True)
    centre = theta.expand(count, 3)
    following = (centre + std * torch.randn(count, 3, generator=rng())).detach()
    action = Action(law, centre.detach(), following, density(law, centre.detach(), following, Layout(None)))
    loss = ddpo(Moment(action, centre, following @ c, Layout(None)), Knobs()).loss.mean()
    found = torch.autograd.grad(loss, theta)[0]
    assert torch.allclose(-found * 3, c, atol=0.02)  # the density is a mean over 3 elements


def test_kl_pulls_back_to_the_reference():
    moment = replace(moment_of(torch.zeros(6), moved=0.1))
    moment = replace(moment, reference=moment.action.centre)
    found = gradient(grpo, moment, Knobs(beta=1.0))
    away = moment.centre.detach() - moment.action.centre
    assert torch.allclose(found, away / 0.25 / 12, atol=1e-6)


def test_condition_frames_have_no_gradient():
    for objective in (ddpo, grpo):
        moment = replace(moment_of(torch.ones(6), moved=0.01), layout=Layout(frames=1, first=1))
        found = gradient(objective, moment, Knobs(clip=1.0))
        assert not found[:, 0].any()
        assert found[:, 1:].any()


def published_ddpo(model, prompts, rewards, seed, epochs=3):
    """DDPO-IS as its paper and code have it, for a one-weight denoiser on a DDIM schedule, in numpy.

    Standard deviation of DDIM with eta 1, log-probability averaged over elements, advantages from per-prompt
    running statistics cut at 5, ratio clipped at 1e-4, plain gradient descent.
    """
    weight, path = 0.3, []
    record: list[float] = []
    for epoch in range(epochs):
        x, noises = model.start(seed + epoch), model.noises(seed + epoch)
        samples = []
        for i, (alpha, previous) in enumerate(model.alphas):
            out = weight * np.tanh(x)
            clean = (x - math.sqrt(1 - alpha) * out) / math.sqrt(alpha)
            variance = (1 - previous) / (1 - alpha) * (1 - alpha / previous)
            direction = math.sqrt(1 - previous - variance) * out
            centre = math.sqrt(previous) * clean + direction
            following = centre + math.sqrt(variance) * noises[i]
            logp = (-((following - centre) ** 2) / (2 * variance)).mean(axis=1)
            if variance > 0:
                samples.append((x, following, logp, alpha, previous, variance))
            x = following
        reward = rewards(x)
        record = (record + list(reward))[-16:]
        base = reward if len(record) < 16 else np.array(record)
        advantage = np.clip((reward - base.mean()) / (base.std() + 1e-6), -5, 5)
        gradient = 0.0
        for x0, following, _, alpha, previous, variance in samples:
            slope = math.sqrt(1 - previous - variance) - math.sqrt(previous) * math.sqrt(
                1 - alpha
            ) / math.sqrt(alpha)
            centre = math.sqrt(previous) / math.sqrt(alpha) * x0 + slope * weight * np.tanh(x0)
            dlogp = ((following - centre) / variance * slope * np.tanh(x0)).mean(axis=1)
            gradient += (-advantage * dlogp).mean() / len(samples)
        weight -= 0.01 * gradient
        path.append(weight)
    return path


class Model:
    """The schedule and the noise that both writers of DDPO share."""

    def __init__(self, count=8, size=5, steps=6):
        import diffusers

        self.scheduler = diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
        )
        self.scheduler.set_timesteps(steps)
        stride, powers = 1000 // steps, self.scheduler.alphas_cumprod.double().numpy()
        times = self.scheduler.timesteps.tolist()
        self.alphas = [(powers[t], powers[t - stride] if t >= stride else powers[0]) for t in times]
        self.count, self.size, self.steps = count, size, steps

    def start(self, seed):
        return np.random.default_rng(seed).normal(size=(self.count, self.size))

    def noises(self, seed):
        return np.random.default_rng(seed + 1000).normal(size=(self.steps, self.count, self.size))


def test_ddpo_agrees_step_by_step_with_the_published_algorithm():
    model, reward = Model(), lambda x: -((x - 0.4) ** 2).mean(axis=1)
    expected = published_ddpo(model, None, reward, seed=3)
    noise, window, knobs = PRESETS["ddpo"]
    assert (noise, window, knobs.clip) == (Noise("ddim", eta=1.0), None, 1e-4)
    weight, statistics, found = torch.tensor(0.3, requires_grad=True), PerPromptStatistics(), []
    layout = Layout(None)
    for epoch in range(3):
        x, noises = (
            torch.tensor(model.start(3 + epoch)).float(),
            torch.tensor(model.noises(3 + epoch)).float(),
        )
        actions = []
        for step in schedule(model.scheduler):
            law = transition(step, noise)
            centre = mean(law, x, (weight * x.tanh()).detach())
            following = centre + law.std * noises[step.index]
            if law.std:
                actions.append((x, Action(law, centre, following, density(law, centre, following, layout))))
            x = following
        advantage = statistics.advantages(["p"] * 8, torch.tensor(reward(x.numpy())).float()).clamp(-5, 5)
        loss = torch.tensor(0.0)
        for before, action in actions:
            centre = mean(action.law, before, weight * before.tanh())
            loss = loss + ddpo(Moment(action, centre, advantage, layout), knobs).loss.mean() / len(actions)
        weight = (weight - 0.01 * torch.autograd.grad(loss, weight)[0]).detach().requires_grad_()
        found.append(float(weight.detach()))
    assert found == pytest.approx(expected, rel=1e-4)
    assert found[0] != pytest.approx(0.3, rel=1e-4)


def test_nft_pulls_to_good_targets_and_pushes_from_bad_ones():
    law = Transition(1, 0.0, 1.0, 1.0)
    target = torch.ones(2, 3, 4)
    centre = torch.zeros(2, 3, 4, requires_grad=True)
    action = Action(law, target, target, torch.zeros(2))
    found = gradient(nft, Moment(action, centre, torch.tensor([5.0, -5.0]), LAYOUT), Knobs())
    assert (found[0] < 0).all()
    assert (found[1] > 0).all()


def test_the_forward_process_asks_for_the_output_that_makes_clean_latents():
    import diffusers

    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(5)
    steps, clean = schedule(scheduler), torch.randn(2, 3, 4, generator=rng())
    base = Trajectory({}, (1, 2), (), {}, {}, LAYOUT, clean)
    view = forward_process(base, clean, steps, range(1, 4), 7)
    for action in view.actions:
        step = steps[action.law.index]
        noised = view.latents[action.law.index - 1, 0]
        found = step.from_sample * noised + step.from_output * action.following
        assert torch.allclose(found, clean, atol=1e-5)
        assert torch.equal(mean(action.law, noised, action.following), action.following)


@pytest.mark.parametrize("kind", ["flow", "epsilon", "v_prediction"])
def test_reflow_asks_for_the_output_that_leads_straight_to_the_goal(kind):
    import diffusers

    if kind == "flow":
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    else:
        scheduler = diffusers.DDIMScheduler(prediction_type=kind, clip_sample=False)
    scheduler.set_timesteps(4)
    goal, sample = torch.randn(2, 2, 3, 4, generator=rng()).unbind()
    for step in schedule(scheduler):
        action = leading_to(goal, step, sample)
        found = step.from_sample * sample + step.from_output * action.following
        assert torch.allclose(found, goal, atol=1e-4)
        if kind == "flow":  # so that whoever answers so arrives in one step, from anywhere
            assert torch.allclose(sample - step.g * action.following, goal, atol=1e-5)


def test_reflow_heeds_every_clip_alike_but_those_without_a_goal():
    law = Transition(1, 0.0, 1.0, 1.0)
    target, centre = torch.ones(3, 3, 4), torch.zeros(3, 3, 4, requires_grad=True)
    action = Action(law, target, target, torch.zeros(3))
    found = gradient(reflow, Moment(action, centre, torch.tensor([1.0, 0.0, 1.0]), LAYOUT), Knobs())
    assert torch.equal(found[0], found[2])
    assert found[0].any()
    assert not found[1].any()


def test_drawing_with_noise_off_gives_the_mean():
    centre = torch.randn(SHAPE, generator=rng())
    assert torch.equal(draw(Transition(0, 1.0, 1.0, 0.0), centre, [], None), centre)
