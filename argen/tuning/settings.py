"""The `tune` section of a recipe."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from argen.config import Recipe, Settings
from argen.tuning.objective import PRESETS, Knobs
from argen.tuning.transition import Noise

log = logging.getLogger(__name__)

STRICT = ("window", "noise", "eta", "rho", "clip", "clip_high", "beta", "kl_target", "reference", "updates")
"""What the ddpo preset fixes."""


class TuneSettings(Settings):
    """How a model is tuned against rewards; names follow trl's GRPOConfig where it has the same thing."""

    objective: Literal["grpo", "ddpo", "nft", "reflow"] = Field(
        "grpo", description="grpo: windowed; ddpo: as published; reflow: few steps; nft: experimental"
    )
    data: Path | None = Field(None, description="folder of clips whose plan is tried")
    out: Path | None = Field(None, description="folder of the adapter, its card and its checkpoints")
    iterations: int = Field(100, ge=1, description="rollouts of a batch, each with its update")
    prompts: int = Field(2, ge=1, description="jobs an iteration tries, over all processes")
    num_generations: int = Field(8, ge=2, description="clips tried for each of them: the group")
    batch: int = Field(4, ge=1, description="clips per call of the pipeline")
    steps: tuple[int, ...] = Field(
        (), description="denoising steps, shared out in each group; empty: generate.steps"
    )
    window: int | None = Field(None, ge=1, description="steps that explore and train; empty: the objective's")
    noise: Literal["ddim", "cps", "sde"] | None = Field(None, description="kind of exploration")
    eta: float | None = Field(None, ge=0, le=1, description="how much of it, 0..1")
    rho: float = Field(0.0, ge=0, lt=1, description="correlation of the exploration of neighbouring frames")
    same_start: bool = Field(
        True, description="what differs in a group, exploration or reference, is tried from the same latents"
    )
    updates: int = Field(1, ge=1, description="updates per rollout; with one, the clip never binds")
    learning_rate: float = Field(3e-4, gt=0, description="of AdamW")
    cooldown: float = Field(
        0.0, ge=0, le=1, description="last share of the iterations, in which the learning rate falls to 0"
    )
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="norm at which the gradient is cut")
    clip: float | None = Field(None, gt=0, description="of the ratio, in units of the mean log-ratio")
    clip_high: float | None = Field(None, gt=0, description="the same upwards, if it shall differ")
    beta: float = Field(0.0, ge=0, description="weight of the KL to the untuned model, in grpo")
    kl_target: float | None = Field(
        None,
        gt=0,
        description="KL that beta is steered to, up to 64 times its value either way; empty: it stays",
    )
    reference: dict[str, int | float | tuple[int | float, ...]] = Field(
        default_factory=dict,
        description="arguments of the call by which the untuned model differs, which beta pulls toward and "
        "reflow imitates; {guidance_scale: 5} with generate.guidance 1 moves guidance into the weights. In "
        "reflow a list, {guidance_scale: [3, 7]}, is tried in turn within each group, from the same latents",
    )
    reference_follows_intensity: bool = Field(
        False,
        description="reflow: the reference's guidance is least while the target is calm, full at its apex, "
        "as with generate.guidance_follows_intensity",
    )
    best: int | None = Field(
        None,
        ge=1,
        description="reflow: so many best clips of a group are imitated; empty: all that pass the gates",
    )
    remember: int | None = Field(
        None, ge=1, description="reflow: latest iterations whose clips are learnt from again; empty: all"
    )
    rank: int = Field(8, ge=1, description="of the LoRA matrices")
    alpha: float | None = Field(None, gt=0, description="their scale; empty: the rank")
    dropout: float = Field(0.0, description="must stay 0")
    targets: tuple[str, ...] = Field((), description="ends of layer names; empty: attention projections")
    ema: float = Field(0.9, ge=0, lt=1, description="average of the adapter that is judged and kept")
    gradient_checkpointing: bool = Field(False, description="trade time for memory")
    rewards: dict[str, float] = Field(default_factory=dict, description="reward -> weight")
    gates: dict[str, float] = Field(
        default_factory=dict, description="reward -> least value; below it, the minimum"
    )
    judge: dict[str, float] = Field(
        default_factory=dict,
        description="rewards -> weight that choose the adapter and are never trained on; on puppets other "
        "networks measure for them, on real faces others see the expressions, and the rest is the reader's",
    )
    reward_processes: int = Field(
        0, ge=0, description="processes beside that score clips while the next are made; 0: none"
    )
    reward_device: str | None = Field(
        None, description="where rewards get their frames, cuda:1; empty: where they come from"
    )
    evaluate_every: int = Field(10, ge=1, description="iterations between evaluations of fixed jobs")
    evaluate_jobs: int = Field(8, ge=1, description="jobs held out for them")
    patience: int = Field(
        3, ge=1, description="evaluations with a rising proxy and a falling judge before a stop"
    )
    checkpoint_every: int = Field(10, ge=1, description="iterations between checkpoints")
    tracker: Literal["none", "tensorboard", "trackio", "wandb"] = Field(
        "tensorboard", description="where curves go"
    )

    @field_validator("dropout")
    @classmethod
    def _no_dropout(cls, value: float) -> float:
        if value != 0:
            raise ValueError("LoRA dropout makes a replay differ from its rollout; it must be 0")
        return value

    @field_validator("rewards", "judge")
    @classmethod
    def _weights(cls, value: dict[str, float]) -> dict[str, float]:
        if any(weight <= 0 for weight in value.values()):
            raise ValueError("a weight must be above 0; leave out what shall not count")
        return value

    @model_validator(mode="after")
    def _fits(self) -> TuneSettings:
        changed = [name for name in STRICT if name in self.model_fields_set]
        if self.objective == "ddpo" and changed:
            raise ValueError(f"the ddpo preset fixes {', '.join(changed)}; leave them out, or use grpo")
        if self.objective in {"grpo", "ddpo"} and self.exploration.eta == 0:
            raise ValueError("a window without noise explores nothing; set eta above 0")
        if self.beta and self.objective != "grpo":
            raise ValueError(
                f"beta: {self.objective} has no KL to the untuned model; use grpo, or leave it out"
            )
        if self.window is not None and self.objective == "reflow":
            raise ValueError("window: reflow trains every step; leave it out")
        if self.best and self.objective != "reflow":
            raise ValueError(f"best: {self.objective} imitates no clip; use reflow, or leave it out")
        if self.remember and self.objective != "reflow":
            raise ValueError(f"remember: {self.objective} learns from what it just tried; leave it out")
        if self.best and self.best > self.num_generations:
            raise ValueError(f"best: {self.best} of a group of {self.num_generations} (num_generations)")
        if self.kl_target and not self.beta:
            raise ValueError("kl_target steers beta; set beta above 0 to begin with, or leave it out")
        problem = self.steps and self.without_steps(self.steps)
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _reference_fits(self) -> TuneSettings:
        reflow = self.objective == "reflow"
        if self.reference and not self.beta and not reflow:
            raise ValueError("reference says what beta pulls toward; set beta above 0, or leave it out")
        lists = {len(value) for value in self.reference.values() if isinstance(value, tuple)}
        if "num_inference_steps" in self.reference and not reflow:
            raise ValueError("reference: num_inference_steps is for reflow; beta compares step by step")
        if lists and not reflow:
            raise ValueError(f"reference: {self.objective} takes one value each; a list is for reflow")
        if lists and (len(lists) > 1 or not 0 < min(lists) <= self.num_generations):
            found = " and ".join(map(str, sorted(lists)))
            raise ValueError(
                f"reference: lists of {found} values; they must be equally long, and no longer than a group "
                f"({self.num_generations}, num_generations)"
            )
        if self.reference_follows_intensity and not reflow:
            raise ValueError(f"reference_follows_intensity: {self.objective} imitates nothing; use reflow")
        if self.reference_follows_intensity and any(
            one.get("guidance_scale", 0) <= 1 for one in self.references
        ):
            raise ValueError("reference_follows_intensity: needs a guidance_scale above 1 in reference")
        return self

    @property
    def references(self) -> tuple[dict[str, int | float], ...]:
        """What `reference` says, one by one where it lists several values."""
        several = [len(value) for value in self.reference.values() if isinstance(value, tuple)]
        return tuple(
            {name: value[i] if isinstance(value, tuple) else value for name, value in self.reference.items()}
            for i in range(max(several, default=1))
        )

    def without_steps(self, steps: Sequence[int]) -> str | None:
        """Why nothing could be learnt in so many denoising steps, one sentence; None where it can."""
        fewest = min(steps)
        if self.objective != "reflow" and fewest < 2:
            return f"steps: {self.objective} explores between steps, so it needs 2 at least, not {fewest}"
        if self.window is not None and self.window > fewest:
            return f"window: {self.window} steps do not fit into {fewest} steps"
        return None

    def rate(self, iteration: int) -> float:
        """Learning rate of an iteration: constant, then straight down to 0 over the `cooldown`."""
        left = 1 - iteration / self.iterations
        warmth = max(min(1.0, left / self.cooldown), 0.0) if self.cooldown else 1.0
        return self.learning_rate * warmth

    @property
    def exploration(self) -> Noise:
        """Noise inside the window."""
        preset = PRESETS[self.objective][0]
        eta = preset.eta if self.eta is None else self.eta
        return Noise(self.noise or preset.kind, eta, self.rho)

    @property
    def trained_steps(self) -> int | None:
        """Length of the window; None for all steps."""
        return self.window if self.window is not None else PRESETS[self.objective][1]

    @property
    def knobs(self) -> Knobs:
        """What the objective is told."""
        preset = PRESETS[self.objective][2]
        clip = preset.clip if self.clip is None else self.clip
        return Knobs(clip, self.clip_high, self.beta, preset.normalised)


class TuneRecipe(Recipe):
    """A recipe with a `tune` section."""

    tune: TuneSettings = TuneSettings()

    @model_validator(mode="after")
    def _called_plainly(self) -> TuneRecipe:
        for name in ("guidance_follows_intensity", "neighbour_weight"):
            if getattr(self.generate, name):
                raise ValueError(
                    f"generate.{name}: tuning calls the model without it; leave it out here, and set it "
                    "where clips are made"
                )
        return self


def warn(settings: TuneSettings) -> None:
    """Say what is allowed and of little use."""
    if settings.updates == 1 and "clip" in settings.model_fields_set:
        log.warning("tune.clip: with one update per rollout the ratio is always 1, and a clip never binds")
    if settings.num_generations < 8 and settings.objective != "reflow":
        log.warning(
            "tune.num_generations: %d; below 8 a group says little on video", settings.num_generations
        )
