"""What one step adds to the loss: four objectives, each a function of the same few tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float32
from torch import Tensor

from argen.tuning.rollout import Action, Layout, Trajectory, density
from argen.tuning.transition import Noise, Step, Transition, kl_divergence


@dataclass(frozen=True)
class Terms:
    """The loss of each sample at one step, and what the diagnostics want to know of it."""

    loss: Float32[Tensor, "B"]
    ratio: Float32[Tensor, "B"]
    clipped: Float32[Tensor, "B"]  # 1 where the clip stopped the gradient
    kl: Float32[Tensor, "B"]  # from the policy of the rollout, mean over elements; without one, half the
    # squared distance from the target


@dataclass(frozen=True)
class Knobs:
    """What objectives can be told; the clip is in units of the mean log-ratio of an element."""

    clip: float = 1e-3
    clip_high: float | None = None
    beta: float = 0.0
    normalised: bool = True


@dataclass(frozen=True)
class Moment:
    """One action of a rollout under today's weights: what an objective judges."""

    action: Action
    centre: Float32[Tensor, "B ..."]  # today's mean, with gradients
    advantage: Float32[Tensor, "B"]
    layout: Layout
    reference: Float32[Tensor, "B ..."] | None = None  # the untuned model's mean, where KL is asked for

    def ratio(self) -> Float32[Tensor, "B"]:
        """Today's density of the action against the rollout's, of a mean element."""
        now = density(self.action.law, self.centre, self.action.following, self.layout)
        return (now - self.action.log_prob).exp()

    def kl(self, other: Float32[Tensor, "B ..."]) -> Float32[Tensor, "B"]:
        """Divergence of today's law from the one around `other`, of a mean element."""
        inner = self.layout.actions(self.centre), self.layout.actions(other)
        return kl_divergence(self.action.law, *inner, axis=self.layout.frames).flatten(1).mean(1)


Objective = Callable[[Moment, Knobs], Terms]


def ddpo(moment: Moment, knobs: Knobs) -> Terms:
    """DDPO with importance sampling, as published: the clipped ratio of mean log-densities, nothing else."""
    ratio = moment.ratio()
    plain, cut = _clipped(ratio, moment.advantage, knobs)
    return _terms(moment, torch.maximum(plain, cut), ratio, plain < cut)


def grpo(moment: Moment, knobs: Knobs) -> Terms:
    """The default: the same ratio with its step's 1/std taken out, and KL to the untuned model if asked.

    The gradient of a Gaussian log-density grows as 1/std, over a video schedule by two orders of
    magnitude; without `normalised` the last steps decide everything.
    """
    ratio = moment.ratio()
    plain, cut = _clipped(ratio, moment.advantage, knobs)
    loss = torch.maximum(plain, cut) * (moment.action.law.std if knobs.normalised else 1.0)
    if moment.reference is not None:
        loss = loss + knobs.beta * moment.kl(moment.reference)
    return _terms(moment, loss, ratio, plain < cut)


def nft(moment: Moment, knobs: Knobs) -> Terms:
    """Experimental: DiffusionNFT on the forward process; here `centre` is the denoiser's own output.

    Pulls toward the target of good samples and away from that of bad ones, without any log-density.
    Reports of collapse on video are common: watch the held-out judge.
    """
    centre, target = moment.centre, moment.action.following.float()
    share = (0.5 + 0.1 * moment.advantage).clamp(0, 1).view(-1, *[1] * (centre.ndim - 1))
    away = (2 * centre.detach() - centre - target) ** 2
    squared = moment.layout.actions(share * (centre - target) ** 2 + (1 - share) * away)
    one = torch.ones_like(moment.advantage)
    return _terms(moment, squared.flatten(1).mean(1), one, one < 0)


def reflow(moment: Moment, knobs: Knobs) -> Terms:
    """Straight to the better clips from wherever the model itself goes; `centre` is the denoiser's output.

    Rectified flow on the model's own path (`rollout.walk`) instead of on the line between noise and clip: in
    few steps the two part, and what was learnt on the line isn't asked. Whose advantage is 0 teaches nothing.
    """
    squared = moment.layout.actions((moment.centre - moment.action.following.float()) ** 2)
    one = torch.ones_like(moment.advantage)
    return _terms(moment, (moment.advantage != 0) * squared.flatten(1).mean(1), one, one < 0)


OBJECTIVES: Mapping[str, Objective] = {"ddpo": ddpo, "grpo": grpo, "nft": nft, "reflow": reflow}


def forward_process(
    trajectory: Trajectory, clean: Tensor, steps: tuple[Step, ...], indices: range, noise_seed: int
) -> Trajectory:
    """The trajectory that shows the denoiser freshly noised clean latents at `indices` (not the first step).

    Actions carry, as what followed, the output that the denoiser should have given.
    """
    latents, actions = {}, []
    for index in indices:
        step = steps[index]
        generator = torch.Generator().manual_seed(noise_seed + index)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noised = step.a * clean.float() + step.g * noise
        latents[index - 1, 0] = noised.to(clean.dtype)
        actions.append(leading_to(clean, step, noised))
    return replace(trajectory, latents=latents, actions=tuple(actions))


def leading_to(clean: Tensor, step: Step, sample: Tensor) -> Action:
    """The output that a denoiser should give for a sample, if `clean` is where it leads; as an action."""
    target = (clean.float() - step.from_sample * sample.float()) / step.from_output
    law = Transition(step.index, 0.0, 1.0, 1.0)
    return Action(law, target, target, torch.zeros(len(clean), device=clean.device))


def _clipped(ratio: Tensor, advantage: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor]:
    high = knobs.clip if knobs.clip_high is None else knobs.clip_high
    return -advantage * ratio, -advantage * ratio.clamp(1 - knobs.clip, 1 + high)


def _terms(moment: Moment, loss: Tensor, ratio: Tensor, clipped: Tensor) -> Terms:
    with torch.no_grad():
        kl = moment.kl(moment.action.centre)
    return Terms(loss, ratio.detach(), clipped.float(), kl)


def steered(beta: float, found: float, target: float) -> float:
    """The weight of the KL after an iteration in which it was `found`: PPO's rule, in smaller steps."""
    if found > 1.5 * target:
        return beta * 1.5
    return beta / 1.5 if found < target / 1.5 else beta


PRESETS: Mapping[str, tuple[Noise, int | None, Knobs]] = {
    "ddpo": (Noise("ddim", eta=1.0), None, Knobs(clip=1e-4, normalised=False)),
    "grpo": (Noise("cps", eta=0.7), 2, Knobs()),
    "nft": (Noise("cps", eta=0.0), 2, Knobs()),
    "reflow": (Noise("cps", eta=0.0), None, Knobs()),
}
"""For each objective: how it explores, how many steps it trains (None: all), and its knobs."""
