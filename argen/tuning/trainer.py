"""The loop of reward tuning: roll out, score, compare within groups, replay, update; again.

Everything random comes from the seed of the run, the iteration and the place in the batch, so the number
of processes doesn't matter and an interrupted run goes on as if it hadn't been. Denoisers stay as they
are in the pipeline; the processes add up the small gradients of the adapter, once an update.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import Parameter

from argen.errors import RecipeError
from argen.generate.probe import denoisers
from argen.tuning.admission import admit, batched, check_reference, common, together
from argen.tuning.advantage import Advantages, PerPromptStatistics, Rewards, group_relative, weighted
from argen.tuning.checkpoint import (
    Checkpoint,
    check_origin,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from argen.tuning.diagnostics import Meter, Report
from argen.tuning.imitation import Lesson, Lessons, Teaching, in_calls, lessons_of
from argen.tuning.lora import adapter, inject, put, shard, untuned
from argen.tuning.memory import Memory, decode_within, fingerprint
from argen.tuning.objective import OBJECTIVES, Moment, forward_process, leading_to, steered
from argen.tuning.processes import add_up_gradients, gather
from argen.tuning.rollout import Action, Pipeline, Trajectory, record, replay, steps_of, walk
from argen.tuning.sampling import Draw, draws
from argen.tuning.scoring import Case, Pending, Scorer, Scores, hash_of
from argen.tuning.settings import TuneSettings, warn
from argen.tuning.transition import STILL, Step

log = logging.getLogger(__name__)


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
        teaching: Teaching | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        """Check that everything fits, prove that the pipeline can be replayed, and add the adapter.

        `teaching` surrounds each call of the reference in reflow. Goes on from the newest checkpoint in
        `folder`, if the jobs and what `origin` tells (models, code; as JSON) are still what they were. Raises
        RecipeError, one sentence.
        """
        from accelerate import Accelerator

        self.accelerator = accelerator or Accelerator()
        self.pipe, self.cases, self.scorer = pipe, list(cases), scorer
        self.seed, self.folder, self.teaching = seed, folder, teaching
        if not self.cases:
            raise RecipeError("tune: there are no jobs to try; the plan is empty")
        if settings.reference_follows_intensity and teaching is None:
            raise RecipeError(
                "tune.reference_follows_intensity: the tuner was given no `teaching` that does it"
            )
        default = int(self.cases[0].call.get("num_inference_steps", 8))
        self.settings = settings.model_copy(update={"steps": settings.steps or (default,)})
        warn(self.settings)
        list(draws(self.settings, seed, 0, len(self.cases), world=self.accelerator.num_processes))
        decode_within(pipe, self.cases[0].call, self.settings.batch)
        self.layout = admit(pipe, self.cases[0].call)
        check_reference(pipe, settings.reference)
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
        self.lessons = Lessons(folder / "lessons" if folder else None, settings.remember)
        self._always = bool(settings.beta) or self.sharded
        self._schedules: dict[int, tuple[Step, ...]] = {}
        self.memory = Memory()
        self.beta, self.iteration = settings.beta, 0
        self.origin = {"jobs": hash_of(self.cases), **(origin or {})}
        self.notes: dict[str, Any] = {}  # what the caller wants to find again after a resume
        self._resume()

    def step(self) -> Report:
        """One iteration: rollouts, scores, advantages, updates."""
        meter = Meter()
        with self.memory.of(self.pipe):
            rolled = [self._roll(draw, meter) for draw in self._draws()]
            with meter.timed("reward"):
                scores = [item.scores() for item in rolled]
            rewards, advantages, mine = self._advantages(rolled, scores)
            if self.settings.objective == "reflow":
                self.lessons.add(self.iteration, self._lessons(rolled, scores, mine))
            with meter.timed("update"):
                for update in range(self.settings.updates):
                    if self.settings.objective == "reflow":
                        self._imitate(meter, update)
                    else:
                        self._learn(rolled, mine, meter, update)
                    self._update(meter)
        meter.scores(rewards, advantages)
        meter.add("motion", float(gather(self.accelerator, torch.cat([one.motion for one in scores])).mean()))
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
        state["origin"] = self.origin
        self.lessons.forget(save_checkpoint(self.folder, Checkpoint(self.iteration, tensors, state)))

    def _draws(self) -> Iterator[Draw]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return draws(self.settings, self.seed, self.iteration, len(self.cases), rank=rank, world=world)

    def _roll(self, draw: Draw, meter: Meter) -> Rolled:
        case = self.cases[draw.case]
        call = self.call(case, len(draw.seeds), draw.steps)
        with meter.timed("rollout"):
            if self.settings.objective == "reflow":
                call |= self.settings.references[draw.reference]
                around = self.teaching(case, call, len(draw.seeds)) if self.teaching else nullcontext()
                with untuned(self.pipe), around:
                    made, trajectory = self._record(draw, call)
            else:
                made, trajectory = self._record(draw, call)
            prepared = self._prepared(draw, trajectory)
        with meter.timed("reward"):
            return Rolled(draw, prepared, self.scorer.later(made.float(), case, draw.steps))

    def _record(self, draw: Draw, call: Mapping[str, Any]) -> tuple[Tensor, Trajectory]:
        noise, window = self.settings.exploration, draw.window
        if noise.eta == 0:  # nothing random, nothing to keep
            noise, window = STILL, range(0)
        explore, layout = draw.explore, self.layout
        return record(self.pipe, call, draw.seeds, explore=explore, noise=noise, window=window, layout=layout)

    def _prepared(self, draw: Draw, trajectory: Trajectory) -> Trajectory:
        """What the update replays: the rollout itself, or points of the forward process."""
        if self.settings.objective != "nft":
            return trajectory
        if draw.steps not in self._schedules:
            self._schedules[draw.steps] = steps_of(self.pipe, trajectory.call, draw.seeds)
        steps = self._schedules[draw.steps]
        indices = range(max(draw.window.start, 1), max(draw.window.stop, 2))
        return forward_process(trajectory, trajectory.clean, steps, indices, draw.explore[0])

    def _lessons(
        self, rolled: Sequence[Rolled], scores: Sequence[Scores], advantage: Float32[Tensor, "B"]
    ) -> list[Lesson]:
        clean = torch.cat([item.trajectory.clean for item in rolled])
        refused = torch.cat([said.refused for said in scores])
        draws, best = [item.draw for item in rolled], self.settings.best
        return lessons_of(draws, clean, advantage, refused, best=best, batch=self.settings.batch)

    def _advantages(
        self, rolled: Sequence[Rolled], scores: Sequence[Scores]
    ) -> tuple[Rewards, Advantages, Float32[Tensor, "B"]]:
        """Rewards and advantages of the whole batch over all processes, and this process's own share."""
        group = torch.cat([torch.full((len(item.draw.seeds),), item.draw.group) for item in rolled])
        case = torch.cat([torch.full((len(item.draw.seeds),), item.draw.case) for item in rolled])
        group, case = gather(self.accelerator, group), gather(self.accelerator, case)
        refused = gather(self.accelerator, torch.cat([item.refused for item in scores]))
        rewards = {
            name: gather(self.accelerator, torch.cat([item.rewards[name] for item in scores]))
            for name in self.scorer.rewards
        }
        objective = self.settings.objective
        pooled = objective == "reflow"  # which chooses, often among very few
        found = group_relative(rewards, self.settings.rewards, group, refused, pooled=pooled)
        if objective == "ddpo":
            prompts = [self.cases[int(index)].id for index in case]
            total = weighted(rewards, self.settings.rewards)
            found = replace(found, values=self.statistics.in_order(total, prompts, group, refused))
        share = len(group) // self.accelerator.num_processes
        return rewards, found, found.values[self.accelerator.process_index * share :][:share]

    def _update(self, meter: Meter) -> None:
        weights = list(self.weights.values())
        add_up_gradients(self.accelerator, weights)
        meter.add(
            "gradient_norm", float(torch.nn.utils.clip_grad_norm_(weights, self.settings.max_grad_norm))
        )
        self.optimizer.param_groups[0]["lr"] = self.settings.rate(self.iteration)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, average in self.average.items():
                average.lerp_(self.weights[name], 1 - self.settings.ema)

    def _learn(self, rolled: Sequence[Rolled], mine: Float32[Tensor, "B"], meter: Meter, update: int) -> None:
        """Replay the rollouts, each step with its gradient."""
        shares = torch.split(mine, [len(item.draw.seeds) for item in rolled])
        for item, share in zip(rolled, shares, strict=True):
            if share.any() or self._always:  # else nothing differed in its group
                self._replay(item.trajectory, share.to(item.trajectory.clean.device), meter, update)

    def _replay(
        self, trajectory: Trajectory, advantage: Float32[Tensor, "b"], meter: Meter, update: int
    ) -> None:
        references = self._references(trajectory) if self.settings.beta else {}

        def on_action(action: Action, centre: Float32[Tensor, "b ..."]) -> None:
            reference = references.get(action.law.index)
            moment = Moment(action, centre, advantage, self.layout, reference)
            self._backward(moment, len(trajectory.actions), meter, update)

        replay(self.pipe, trajectory, on_action)

    def _imitate(self, meter: Meter, update: int) -> None:
        """Walk from the noise of some clips, each step pulled to where the teacher got from it."""
        counts, place = self.settings.steps, self.iteration * self.settings.updates + update

        def alike(lesson: Lesson) -> tuple[int, str]:
            shared = self.layout.batches and self.layout.images
            kind = fingerprint(common(self.cases[lesson.case].call)) if shared else str(lesson.seeds)
            group = 0 if self.sharded else lesson.group  # whose processes must make the same calls
            return counts[(place + group) % len(counts)], kind

        lessons = self.lessons.of(self.seed, self.iteration, update)
        for some in in_calls(lessons, alike, self.settings.batch):
            steps, _ = alike(some[0])
            calls = [self.call(self.cases[one.case], len(one.seeds), steps) for one in some]
            self._walk(together(calls), some, steps, meter, update)

    def _walk(
        self, call: Mapping[str, Any], lessons: Sequence[Lesson], steps: int, meter: Meter, update: int
    ) -> None:
        seeds = [seed for lesson in lessons for seed in lesson.seeds]
        clean = torch.cat([lesson.clean for lesson in lessons])
        heeded = torch.cat([lesson.heeded for lesson in lessons])

        def on_state(step: Step, sample: Tensor, output: Tensor) -> None:
            action = leading_to(clean.to(sample.device), step, sample)
            moment = Moment(action, output, heeded.to(sample.device), self.layout)
            self._backward(moment, steps, meter, update)

        walk(self.pipe, {**call, "output_type": "latent"}, seeds, on_state)

    def _backward(self, moment: Moment, actions: int, meter: Meter, update: int) -> None:
        """The gradient of one of so many actions of a call; its graph is gone afterwards."""
        if not moment.centre.requires_grad:
            raise RecipeError("tune.model: the pipeline stops gradients in its call, so it can't be tuned")
        clips = self.settings.prompts * (self.settings.best or self.settings.num_generations)
        terms = OBJECTIVES[self.settings.objective](moment, replace(self.settings.knobs, beta=self.beta))
        if update == 0:
            meter.ratio(terms.ratio, untouched=self.iteration == 0)
        with meter.gradient_of_step(moment.action.law.index, self.weights):
            torch.autograd.backward(terms.loss.sum() / (clips * actions))
        meter.add("loss", float(terms.loss.detach().mean()))
        meter.add("kl", float(terms.kl.mean()))
        meter.add("clip_fraction", float(terms.clipped.mean()))
        if moment.reference is not None:
            with torch.no_grad():
                meter.add("kl_to_reference", float(moment.kl(moment.reference).mean()))

    def _references(self, trajectory: Trajectory) -> dict[int, Tensor]:
        """The untuned model's mean at each action, asked as `tune.reference` says."""
        found: dict[int, Tensor] = {}
        if self.settings.reference:  # guidance changes the shape of answers, so none is made up
            call = {**trajectory.call, **self.settings.references[0]}
            trajectory = replace(trajectory, call=call, answers={})
        with untuned(self.pipe):
            replay(
                self.pipe, trajectory, lambda a, centre: found.update({a.law.index: centre}), gradients=False
            )
        return found

    def _steer(self, meter: Meter) -> None:
        """Set the weight of the KL for the next iteration; the same on every process."""
        meter.add("beta", self.beta)
        found = float(gather(self.accelerator, torch.tensor([meter.mean("kl_to_reference")])).mean())
        wanted = steered(self.beta, found, self.settings.kl_target or 0.0)
        self.beta = min(max(wanted, self.settings.beta / 64), self.settings.beta * 64)

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.folder) if self.folder else None
        if checkpoint is None or self.folder is None:
            return
        check_origin(self.folder, checkpoint.state["origin"], self.origin)
        put(self.weights, checkpoint.tensors, "weight.")
        put(self.average, checkpoint.tensors, "average.")
        restore_optimizer(self.weights, self.optimizer, checkpoint.tensors)
        self.statistics.restore(checkpoint.state["statistics"])
        self.notes = dict(checkpoint.state["notes"])
        self.beta = float(checkpoint.state["beta"])
        self.iteration = checkpoint.iteration
        if self.settings.objective == "reflow":
            rank, world = self.accelerator.process_index, self.accelerator.num_processes
            self.lessons.restore(self.iteration, range(rank, self.settings.prompts, world))
        log.info("going on after iteration %d", self.iteration)
