"""One Gaussian law for every scheduler: what a denoising step may do, and how likely what it did was.

A sample is `x = a·x0 + g·ε`. A denoiser's output is an affine view of `x0`, so a step of any first-order
scheduler, whatever the denoiser predicts, is

    x' ~ N(carry·x + gain·output, std²)

with three numbers per step. `(a, g)` is (√ᾱ, √(1-ᾱ)) for DDIM and its kin, (1, σ) for Euler and EDM,
(1-σ, σ) for flow matching. With `std` 0 it is the deterministic step of the stock scheduler.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float, Float32
from torch import Generator, Tensor

from argen.errors import RecipeError

Scheduler = Any
"""A diffusers scheduler; the library has no types for what the schedulers share."""


@dataclass(frozen=True)
class Noise:
    """How a policy explores.

    `ddim` is DDIM's eta (1: the posterior of DDPM, Euler ancestral), `cps` preserves the coefficients
    (η in 0..1 turns noise on by sin(ηπ/2)), `sde` is Flow-SDE. `rho` couples the noise of
    neighbouring frames, AR(1): 0 is independent, 0.5 as far as a backbone trained on white noise bears.
    """

    kind: Literal["ddim", "cps", "sde"] = "cps"
    eta: float = 0.7
    rho: float = 0.0


STILL = Noise(eta=0.0)
"""No noise: the deterministic sampler."""


@dataclass(frozen=True)
class Step:
    """One step of a schedule: the sample's coefficients before and after, and what an output means.

    The estimate of the clean sample is `from_sample·x + from_output·output`.
    """

    index: int
    a: float
    g: float
    a_next: float
    g_next: float
    from_sample: float
    from_output: float
    flow: bool


@dataclass(frozen=True)
class Transition:
    """`x' ~ N(carry·x + gain·output, std²)` of one step."""

    index: int
    carry: float
    gain: float
    std: float
    rho: float = 0.0


def schedule(scheduler: Scheduler) -> tuple[Step, ...]:
    """The steps that a first-order diffusers scheduler will take, after `set_timesteps`."""
    kind, prediction = _parametrisation(scheduler), _prediction(scheduler)
    points = _cumulative_points(scheduler) if kind == "alphas" else _sigma_points(scheduler, kind)
    steps = []
    for index, ((a, g), (a_next, g_next)) in enumerate(points):
        from_sample, from_output = _meaning(prediction, a, g, scheduler.config.get("sigma_data"))
        flow = kind == "flow"
        steps.append(Step(index, a, g, a_next, g_next, from_sample, from_output, flow))
    return tuple(steps)


def transition(step: Step, noise: Noise) -> Transition:
    """The law of one step under a kind of noise. A step that ends on clean samples has no noise."""
    if noise.kind == "sde" and not step.flow:
        raise RecipeError("tune.noise: 'sde' is for flow-matching schedulers; use 'cps' or 'ddim'")
    if noise.kind == "sde" and step.g_next > 0:
        return _flow_sde(step, noise)
    std = noise.eta * _posterior_std(step) if noise.kind == "ddim" else _preserving_std(step, noise.eta)
    keep = math.sqrt(max(step.g_next**2 - std**2, 0.0)) / step.g  # share of the noise that stays
    clean = step.a_next - keep * step.a
    carry = keep + clean * step.from_sample
    return Transition(step.index, carry, clean * step.from_output, std, noise.rho)


def mean(
    law: Transition, sample: Float[Tensor, "B *D"], output: Float[Tensor, "B *D"]
) -> Float32[Tensor, "B *D"]:
    """Mean of the next sample, always in single precision."""
    return law.carry * sample.float() + law.gain * output.float()


def draw(
    law: Transition, centre: Float32[Tensor, "B *D"], generators: Sequence[Generator], axis: int | None
) -> Float32[Tensor, "B *D"]:
    """A next sample around `centre`; sample i uses generator i alone, so that it doesn't depend on the batch.

    `axis` is the frame axis, along which the noise is correlated when `law.rho` is not 0.
    """
    if law.std == 0:
        return centre
    white = torch.stack([torch.randn(centre.shape[1:], generator=g, device=g.device) for g in generators]).to(
        centre.device
    )
    return centre + law.std * _colour(white, law.rho, axis)


def log_prob(
    law: Transition,
    centre: Float32[Tensor, "B *D"],
    following: Float[Tensor, "B *D"],
    axis: int | None = None,
) -> Float32[Tensor, "B *D"]:
    """Log-density of a next sample, one term an element; their sum is the log-density of the whole.

    With `rho`, the term of frame f is conditional on frame f-1 along `axis`.
    """
    std = torch.tensor(law.std, dtype=torch.float32, device=centre.device)
    deviation = following.float() - centre
    if law.rho == 0:
        return -(deviation**2) / (2 * std**2) - std.log() - math.log(math.sqrt(2 * math.pi))
    white = _whiten(deviation / std, law.rho, axis)
    density = -(white**2) / 2 - std.log() - math.log(math.sqrt(2 * math.pi))
    return density - _after_first(density, axis) * 0.5 * math.log(1 - law.rho**2)


def kl_divergence(
    law: Transition, centre: Float32[Tensor, "B *D"], other: Float32[Tensor, "B *D"], axis: int | None = None
) -> Float32[Tensor, "B *D"]:
    """KL(centre ‖ other) of two means under one law, closed form, one term an element."""
    return 0.5 * _whiten((centre - other) / law.std, law.rho, axis) ** 2


def first_order(scheduler: Scheduler) -> Scheduler:
    """The scheduler itself if its step is first-order and deterministic, else its nearest cousin that is.

    The cousin keeps the time grid. Raises RecipeError where there is none.
    """
    import diffusers

    parameters = inspect.signature(type(scheduler).step).parameters
    solver = any(scheduler.config.get(key) for key in ("solver_order", "predictor_order"))
    if not {"model_output", "timestep", "sample"} <= set(parameters):
        raise _no_cousin(scheduler)
    cousin: Scheduler = type(scheduler)
    options: dict[str, Any] = {}
    if "old_pred_original_sample" in parameters:
        cousin = diffusers.CogVideoXDDIMScheduler
    elif scheduler.config.get("stochastic_sampling"):
        options = {"stochastic_sampling": False}
    elif solver:
        cousin = diffusers.DPMSolverMultistepScheduler
        options = {"solver_order": 1, "algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"}
    elif cousin.__name__ in _DETERMINISTIC:
        return scheduler
    else:
        cousin = getattr(diffusers, _cousin(scheduler))
    return cousin.from_config(scheduler.config, **options)


_DETERMINISTIC = {
    "CogVideoXDDIMScheduler",
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "EDMEulerScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
}


def _cousin(scheduler: Scheduler) -> str:
    name = type(scheduler).__name__
    if not hasattr(scheduler, "alphas_cumprod"):
        if hasattr(scheduler, "sigmas") and ("Euler" in name or "Heun" in name):
            return "FlowMatchEulerDiscreteScheduler"
    elif _parametrisation(scheduler) == "sigmas":
        return "EulerDiscreteScheduler"
    elif name in {"DDPMScheduler", "DDPMParallelScheduler", "PNDMScheduler"}:
        return "DDIMScheduler"
    raise _no_cousin(scheduler)


def _no_cousin(scheduler: Scheduler) -> RecipeError:
    return RecipeError(
        f"tune: {type(scheduler).__name__} has no first-order cousin, so its steps have no exact density; "
        "set pipe.scheduler to a DDIM, Euler or FlowMatchEuler scheduler that the model was trained for"
    )


def _parametrisation(scheduler: Scheduler) -> Literal["flow", "edm", "sigmas", "variance", "alphas"]:
    config = scheduler.config
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return "flow"
    if not hasattr(scheduler, "alphas_cumprod"):
        return "edm" if config.get("sigma_data") else "flow"
    if not hasattr(scheduler, "sigmas"):
        return "alphas"
    return "variance" if float(getattr(scheduler, "init_noise_sigma", 1.0)) == 1.0 else "sigmas"


def _prediction(scheduler: Scheduler) -> str:
    if _parametrisation(scheduler) == "flow":
        return "flow"
    if _parametrisation(scheduler) == "edm":
        return "edm" if scheduler.config.prediction_type == "epsilon" else "edm_v"
    return str(scheduler.config.prediction_type)


Point = tuple[float, float]


def _cumulative_points(scheduler: Scheduler) -> list[tuple[Point, Point]]:
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    powers = scheduler.alphas_cumprod.double().tolist()
    final = float(scheduler.final_alpha_cumprod)

    def point(power: float) -> Point:
        return math.sqrt(power), math.sqrt(1 - power)

    times = [int(t) for t in scheduler.timesteps.tolist()]
    return [(point(powers[t]), point(powers[t - stride] if t >= stride else final)) for t in times]


def _sigma_points(scheduler: Scheduler, kind: str) -> list[tuple[Point, Point]]:
    def point(sigma: float) -> Point:
        if kind == "flow":
            return 1 - sigma, sigma
        if kind == "variance":
            return 1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma)
        return 1.0, sigma

    points = [point(sigma) for sigma in scheduler.sigmas.double().tolist()]
    return list(pairwise(points))


def _meaning(prediction: str, a: float, g: float, sigma_data: float | None) -> tuple[float, float]:
    """(p, q) with x0 = p·x + q·output."""
    size = math.hypot(a, g)
    if prediction == "flow":
        return 1 / (a + g), -g / (a + g)
    if prediction == "epsilon":
        if a == 0:
            raise RecipeError(
                "tune: an epsilon prediction says nothing at zero signal-to-noise; use v_prediction"
            )
        return 1 / a, -g / a
    if prediction == "v_prediction":
        return a / size**2, -g / size
    if prediction in {"edm", "edm_v"} and sigma_data:
        total = math.hypot(g, sigma_data)
        sign = 1 if prediction == "edm" else -1
        return sigma_data**2 / total**2, sign * g * sigma_data / total
    if prediction == "sample":
        return 0.0, 1.0
    raise RecipeError(f"tune: unknown prediction_type '{prediction}' of the scheduler")


def _posterior_std(step: Step) -> float:
    shrink = (step.a * step.g_next) / (step.a_next * step.g) if step.a_next else 1.0
    return step.g_next * math.sqrt(max(1 - shrink**2, 0.0))


def _preserving_std(step: Step, eta: float) -> float:
    return step.g_next * math.sin(eta * math.pi / 2)


def _flow_sde(step: Step, noise: Noise) -> Transition:
    # Where the signal vanishes the diffusion coefficient is infinite; the next point stands in.
    signal = step.a if step.a > 0 else step.a_next
    rate = noise.eta * math.sqrt(step.g / signal) if signal > 0 else 0.0
    time = step.g_next - step.g
    carry = 1 + rate**2 / (2 * step.g) * time
    gain = (1 + rate**2 * (1 - step.g) / (2 * step.g)) * time
    return Transition(step.index, carry, gain, rate * math.sqrt(-time), noise.rho)


def _colour(white: Tensor, rho: float, axis: int | None) -> Tensor:
    if rho == 0:
        return white
    frames = list(white.unbind(_frames(axis)))
    for i in range(1, len(frames)):
        frames[i] = rho * frames[i - 1] + math.sqrt(1 - rho**2) * frames[i]
    return torch.stack(frames, _frames(axis))


def _whiten(coloured: Tensor, rho: float, axis: int | None) -> Tensor:
    if rho == 0:
        return coloured
    frames, last = _frames(axis), coloured.shape[_frames(axis)] - 1
    first, later = coloured.narrow(frames, 0, 1), coloured.narrow(frames, 1, last)
    innovation = (later - rho * coloured.narrow(frames, 0, last)) / math.sqrt(1 - rho**2)
    return torch.cat([first, innovation], frames)


def _after_first(like: Tensor, axis: int | None) -> Tensor:
    mask = torch.ones_like(like)
    mask.select(_frames(axis), 0).zero_()
    return mask


def _frames(axis: int | None) -> int:
    if axis is None:
        raise RecipeError(
            "tune.noise: rho needs latents with a frame axis, and this pipeline packs them; use rho 0"
        )
    return axis
