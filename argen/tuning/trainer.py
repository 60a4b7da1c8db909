"""The loop of reward tuning: roll out, score, compare within groups, replay, update; again.

Everything random comes from the seed of the run, the iteration and the place in the batch, so the number
of processes doesn't matter and an interrupted run goes on as if it hadn't been. Denoisers stay as they
are in the pipeline; the processes add up the small gradients of the adapter, once an update.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.nn import Parameter

from argen.errors import RecipeError, did_you_mean
from argen.generate.probe import denoisers
from argen.tuning.admission import admit, batched
from argen.tuning.advantage import Advantages, PerPromptStatistics, best_of, group_relative
from argen.tuning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from argen.tuning.diagnostics import Meter, Report
from argen.tuning.lora import adapter, inject, put, shard, untuned
from argen.tuning.memory import Memory, decode_singly
from argen.tuning.objective import OBJECTIVES, Moment, forward_process, leading_to, steered
from argen.tuning.rollout import Action, Pipeline, Trajectory, record, replay, steps_of, walk
from argen.tuning.sampling import Draw, draws
from argen.tuning.scoring import Case, Pending, Scorer, Scores
from argen.tuning.settings import TuneSettings
from argen.tuning.transition import STILL, Step

log = logging.getLogger(__name__)

RATIO_TOLERANCE = {"cpu": 0.0}
"""Largest deviation of the ratio from 1 before an update; other devices may round anew: 1e-3."""


@dataclass(frozen=True)
class Rolled:
    """One call of the pipeline: its trajectory, the group and job that it belongs to, and what it scores."""

    draw: Draw
    trajectory: Trajectory
    scores: Pending


class Tuner:
    """A pipeline being tuned; the adapter is in the pipeline, its running average in `average`."""

    def __init__(
        self,
        pipe: Pipeline,
        cases: Sequence[Case],
        scorer: Scorer,
        settings: TuneSettings,
        *,
        seed: int = 0,
        folder: Path | None = None,
        accelerator: Any = None,  # noqa: ANN401  accelerate is untyped
    ) -> None:
        """Check that everything fits, prove that the pipeline can be replayed, and add the adapter.

        Goes on from the newest checkpoint in `folder`. Raises RecipeError, one sentence.
        """
        from accelerate import Accelerator

        self.accelerator = accelerator or Accelerator()
        self.pipe, self.cases, self.scorer = pipe, list(cases), scorer
        self.seed, self.folder = seed, folder
        if not self.cases:
            raise RecipeError("tune: there are no jobs to try; the plan is empty")
        default = int(self.cases[0].call.get("num_inference_steps", 8))
        self.settings = settings.model_copy(update={"steps": settings.steps or (default,)})
        _warn(self.settings)
        list(draws(self.settings, seed, 0, len(self.cases), world=self.accelerator.num_processes))
        decode_singly(pipe)
        self.layout = admit(pipe, self.cases[0].call)
        _check_reference(settings, pipe)
        if not self.layout.batches:
            self.settings = self.settings.model_copy(update={"batch": 1})
        inject(pipe, settings.rank, settings.alpha or float(settings.rank), seed, settings.targets)
        if settings.gradient_checkpointing:
            for module in denoisers(pipe).values():
                module.enable_gradient_checkpointing()  # type: ignore[operator]
        self.weights: dict[str, Parameter] = adapter(pipe)
        self.sharded = "FSDP" in str(self.accelerator.distributed_type)
        if self.sharded:
            shard(pipe)
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.optimizer = torch.optim.AdamW(
            list(self.weights.values()), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.statistics = PerPromptStatistics()
        self._always = bool(settings.beta) or settings.objective == "reflow" or self.sharded
        self._schedules: dict[int, tuple[Step, ...]] = {}
        self.memory = Memory()
        self.beta = settings.beta
        self.iteration = 0
        self.notes: dict[str, Any] = {}  # what the caller wants to find again after a resume
        self._resume()

    def step(self) -> Report:
        """One iteration: rollouts, scores, advantages, updates."""
        meter = Meter()
        with self.memory.of(self.pipe):
            rolled = [self._roll(draw, meter) for draw in self._draws()]
            with meter.timed("reward"):
                scores = [item.scores() for item in rolled]
            advantages, mine = self._advantages(rolled, scores)
            if self.settings.objective == "reflow":
                rolled, mine = self._chosen(rolled, scores, mine)
            with meter.timed("update"):
                for update in range(self.settings.updates):
                    self._update(rolled, mine, meter, update)
        meter.scores(scores, advantages)
        if self.settings.kl_target:
            self._steer(meter)
        self.iteration += 1
        return meter.report(self.iteration)

    def call(self, case: Case, count: int, steps: int) -> dict[str, Any]:
        """The pipeline's arguments for some clips of one job."""
        shared = {"output_type": "pt"} | dict(case.call) | {"num_inference_steps": steps}
        return batched(shared, count, self.layout)

    def save(self) -> None:
        """Write a checkpoint, on the main process."""
        if self.folder is None or not self.accelerator.is_main_process:
            return
        tensors: dict[str, Tensor] = {f"weight.{name}": weight for name, weight in self.weights.items()}
        tensors |= {f"average.{name}": weight for name, weight in self.average.items()}
        tensors |= optimizer_tensors(self.weights, self.optimizer)
        state = {"statistics": self.statistics.state(), "notes": self.notes, "beta": self.beta}
        save_checkpoint(self.folder, Checkpoint(self.iteration, tensors, state))

    def _draws(self) -> Iterator[Draw]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return draws(self.settings, self.seed, self.iteration, len(self.cases), rank=rank, world=world)

    def _roll(self, draw: Draw, meter: Meter) -> Rolled:
        case = self.cases[draw.case]
        call = self.call(case, len(draw.seeds), draw.steps)
        with meter.timed("rollout"):
            if self.settings.objective == "reflow":
                with untuned(self.pipe):
                    made, trajectory = self._record(draw, {**call, **self.settings.reference})
            else:
                made, trajectory = self._record(draw, call)
            prepared = self._prepared(draw, trajectory)
        with meter.timed("reward"):
            return Rolled(draw, prepared, self.scorer.later(made.float(), case, draw.steps))

    def _record(self, draw: Draw, call: Mapping[str, Any]) -> tuple[Tensor, Trajectory]:
        noise, window = self.settings.exploration, draw.window
        if noise.eta == 0:  # nothing random, nothing to keep
            noise, window = STILL, range(0)
        return record(
            self.pipe,
            call,
            draw.seeds,
            explore=draw.explore,
            noise=noise,
            window=window,
            layout=self.layout,
        )

    def _prepared(self, draw: Draw, trajectory: Trajectory) -> Trajectory:
        """What the update replays: the rollout itself, or points of the forward process."""
        if self.settings.objective != "nft":
            return trajectory
        if draw.steps not in self._schedules:
            self._schedules[draw.steps] = steps_of(self.pipe, trajectory.call, draw.seeds)
        steps = self._schedules[draw.steps]
        indices = range(max(draw.window.start, 1), max(draw.window.stop, 2))
        return forward_process(trajectory, trajectory.clean, steps, indices, draw.explore[0])

    def _chosen(
        self, rolled: Sequence[Rolled], scores: Sequence[Scores], advantage: Float32[Tensor, "B"]
    ) -> tuple[list[Rolled], Float32[Tensor, "n"]]:
        """The best clips of each group, `tune.batch` a call; and 1 for each, or 0 where a gate refused it."""
        chosen, counts, start = [], [], 0
        for _, group in groupby(zip(rolled, scores, strict=True), lambda pair: pair[0].draw.group):
            members = list(group)
            gated = torch.cat([said.gated for _, said in members])
            kept = best_of(advantage[start : start + len(gated)], gated, self.settings.best)
            start += len(gated)
            whole = _joined([item for item, _ in members])
            chosen += [_part(whole, some) for some in torch.split(kept, self.settings.batch)]
            counts.append((~gated[kept]).float())
        return chosen, torch.cat(counts)

    def _advantages(
        self, rolled: Sequence[Rolled], scores: Sequence[Scores]
    ) -> tuple[Advantages, Float32[Tensor, "B"]]:
        """Of the whole batch over all processes, and this process's own share."""
        group = torch.cat([torch.full((len(item.draw.seeds),), item.draw.group) for item in rolled])
        case = torch.cat([torch.full((len(item.draw.seeds),), item.draw.case) for item in rolled])
        group, case = self._gather(group), self._gather(case)
        gated = self._gather(torch.cat([item.gated for item in scores]))
        rewards = {
            name: self._gather(torch.cat([item.rewards[name] for item in scores]))
            for name in self.scorer.rewards
        }
        found = group_relative(rewards, self.settings.rewards, group, gated)
        if self.settings.objective == "ddpo":
            found = self._per_prompt(found, rewards, group, case)
        share = len(group) // self.accelerator.num_processes
        return found, found.values[self.accelerator.process_index * share :][:share]

    def _per_prompt(
        self, found: Advantages, rewards: Mapping[str, Tensor], group: Tensor, case: Tensor
    ) -> Advantages:
        weights = self.settings.rewards
        total = torch.stack([weights.get(name, 1.0) * values for name, values in rewards.items()]).sum(0)
        order = torch.argsort(group, stable=True)  # one record, whatever the number of processes
        prompts = [self.cases[int(index)].id for index in case[order]]
        values = torch.empty_like(found.values)
        values[order] = self.statistics.advantages(prompts, total[order].nan_to_num(0.0)).clamp(-5, 5)
        return replace(found, values=values)

    def _update(
        self, rolled: Sequence[Rolled], mine: Float32[Tensor, "B"], meter: Meter, update: int
    ) -> None:
        start = 0
        for item in rolled:
            advantage = mine[start : start + len(item.draw.seeds)]
            start += len(advantage)
            if advantage.any() or self._always:  # else nothing differed in its group
                self._learn(item, advantage.to(item.trajectory.clean.device), meter, update)
        self._add_up_gradients()
        weights = list(self.weights.values())
        meter.add(
            "gradient_norm", float(torch.nn.utils.clip_grad_norm_(weights, self.settings.max_grad_norm))
        )
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * self._warmth()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, average in self.average.items():
                average.lerp_(self.weights[name], 1 - self.settings.ema)

    def _warmth(self) -> float:
        """Share of the learning rate that this iteration gets."""
        left = 1 - self.iteration / self.settings.iterations
        return max(min(1.0, left / self.settings.cooldown), 0.0) if self.settings.cooldown else 1.0

    def _learn(self, item: Rolled, advantage: Float32[Tensor, "b"], meter: Meter, update: int) -> None:
        trajectory = item.trajectory
        references = self._references(trajectory) if self.settings.beta else {}
        clips = self.settings.prompts * (self.settings.best or self.settings.num_generations)
        objective = OBJECTIVES[self.settings.objective]
        knobs = replace(self.settings.knobs, beta=self.beta)

        def on_action(action: Action, centre: Float32[Tensor, "b ..."]) -> None:
            if not centre.requires_grad:
                raise RecipeError(
                    "tune.model: the pipeline stops gradients in its call, so it can't be tuned"
                )
            moment = Moment(action, centre, advantage, self.layout, references.get(action.law.index))
            terms = objective(moment, knobs)
            if update == 0:
                self._check_ratio(terms.ratio, meter)
            with meter.gradient_of_step(action.law.index, self.weights):
                torch.autograd.backward(terms.loss.sum() / (clips * actions))
            meter.add("loss", float(terms.loss.detach().mean()))
            meter.add("kl", float(terms.kl.mean()))
            meter.add("clip_fraction", float(terms.clipped.mean()))
            if moment.reference is not None:
                with torch.no_grad():
                    meter.add("kl_to_reference", float(moment.kl(moment.reference).mean()))

        if self.settings.objective != "reflow":
            actions = len(trajectory.actions)
            replay(self.pipe, trajectory, on_action)
            return
        counts = self.settings.steps
        actions = counts[(self.iteration * self.settings.updates + update + item.draw.group) % len(counts)]
        call = self.call(self.cases[item.draw.case], len(advantage), actions) | {"output_type": "latent"}
        walk(
            self.pipe, call, trajectory.seeds,
            lambda step, sample, output: on_action(leading_to(trajectory.clean, step, sample), output),
        )  # fmt: skip

    def _check_ratio(self, ratio: Float32[Tensor, "b"], meter: Meter) -> None:
        deviation = float((ratio - 1).abs().max())
        meter.highest("ratio_deviation", deviation)
        if self.iteration == 0 and not deviation <= RATIO_TOLERANCE.get(ratio.device.type, 1e-3):
            raise RecipeError(
                f"tune: before any update the probability ratio is off 1 by {deviation:.1e}: a replay isn't "
                "its rollout (dropout, a dtype, an argument that changes between calls); nothing was trained"
            )

    def _references(self, trajectory: Trajectory) -> dict[int, Tensor]:
        """The untuned model's mean at each action, asked as `tune.reference` says."""
        found: dict[int, Tensor] = {}
        if self.settings.reference:  # guidance changes the shape of answers, so none is made up
            call = {**trajectory.call, **self.settings.reference}
            trajectory = replace(trajectory, call=call, answers={})
        with untuned(self.pipe):
            replay(
                self.pipe, trajectory, lambda a, centre: found.update({a.law.index: centre}), gradients=False
            )
        return found

    def _steer(self, meter: Meter) -> None:
        """Set the weight of the KL for the next iteration; the same on every process."""
        meter.add("beta", self.beta)
        found = float(self._gather(torch.tensor([meter.mean("kl_to_reference")])).mean())
        wanted = steered(self.beta, found, self.settings.kl_target or 0.0)
        self.beta = min(max(wanted, self.settings.beta / 64), self.settings.beta * 64)

    def _gather(self, values: Tensor) -> Tensor:
        if self.accelerator.num_processes == 1:
            return values
        return torch.as_tensor(self.accelerator.gather(values.to(self.accelerator.device))).cpu()

    def _add_up_gradients(self) -> None:
        for weight in self.weights.values():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        if self.accelerator.num_processes > 1:
            flat = torch.cat([weight.grad.flatten() for weight in self.weights.values()])  # type: ignore[union-attr]
            flat = torch.as_tensor(self.accelerator.reduce(flat, "sum"))
            parts = torch.split(flat, [weight.numel() for weight in self.weights.values()])
            for weight, part in zip(self.weights.values(), parts, strict=True):
                weight.grad = part.view_as(weight)

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.folder) if self.folder else None
        if checkpoint is None:
            return
        put(self.weights, checkpoint.tensors, "weight.")
        put(self.average, checkpoint.tensors, "average.")
        restore_optimizer(self.weights, self.optimizer, checkpoint.tensors)
        self.statistics.restore(checkpoint.state["statistics"])
        self.notes = dict(checkpoint.state["notes"])
        self.beta = float(checkpoint.state.get("beta", self.beta))
        self.iteration = checkpoint.iteration
        log.info("going on after iteration %d", self.iteration)


def _joined(items: Sequence[Rolled]) -> Rolled:
    """The calls of one group as if they had been one; of what was made only the clean latents."""
    first = items[0]
    seeds = tuple(seed for item in items for seed in item.draw.seeds)
    clean = torch.cat([item.trajectory.clean for item in items])
    return replace(
        first,
        draw=replace(first.draw, seeds=seeds),
        trajectory=replace(first.trajectory, seeds=seeds, clean=clean),
    )


def _part(item: Rolled, members: Int64[Tensor, "k"]) -> Rolled:
    seeds = tuple(item.draw.seeds[index] for index in members.tolist())
    trajectory = replace(item.trajectory, seeds=seeds, clean=item.trajectory.clean[members])
    return replace(item, draw=replace(item.draw, seeds=seeds), trajectory=trajectory)


def _check_reference(settings: TuneSettings, pipe: Pipeline) -> None:
    known = set(inspect.signature(type(pipe).__call__).parameters)
    for name in sorted(set(settings.reference) - known):
        raise RecipeError(
            f"tune.reference: {type(pipe).__name__} takes no '{name}'{did_you_mean(name, known)}"
        )


def _warn(settings: TuneSettings) -> None:
    if settings.updates == 1 and "clip" in settings.model_fields_set:
        log.warning("tune.clip: with one update per rollout the ratio is always 1, and a clip never binds")
    if settings.num_generations < 8 and settings.objective != "reflow":
        log.warning(
            "tune.num_generations: %d; below 8 a group says little on video", settings.num_generations
        )
