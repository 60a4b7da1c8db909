"""Rollout and replay of any diffusers image-to-video pipeline, with no code per model family.

On the pipeline *instance*, `scheduler.step` is shadowed. In the rollout it takes steps of our law and
keeps what it did; in the replay the same pipeline runs again, un-decorated so that gradients flow, and
the step gives back the kept latents. Every call of the denoiser therefore sees exactly what it saw in the
rollout, and before any update the probability ratio is exactly 1. Steps that are not trained answer
without running the denoiser, and a replay ends right after its last action.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from argen.errors import RecipeError
from argen.generate.probe import denoisers, replaced
from argen.tuning.transition import (
    STILL,
    Noise,
    Step,
    Transition,
    draw,
    log_prob,
    mean,
    schedule,
    transition,
)

Pipeline = Any
"""A diffusers pipeline; the library has no type for what the families share."""
Answer = Any
"""What a denoiser or a scheduler's step answers: a tensor, a tuple or a mapping of them."""


@dataclass(frozen=True)
class Layout:
    """How a pipeline's latents are laid out where its scheduler sees them."""

    frames: int | None  # axis of time; None where latents are packed into tokens
    first: int = 0  # frames before this are conditions that the pipeline overwrites: never actions
    last: int = 0  # and so many at the end
    images: bool = True  # whether a batch takes a list of images, or one image and a list of prompts
    batches: bool = True  # whether it takes more than one sample at all

    def actions(self, latents: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The part of latents that a policy decides."""
        if self.frames is None or not (self.first or self.last):
            return latents
        length = latents.shape[self.frames] - self.first - self.last
        return latents.narrow(self.frames, self.first, length)


@dataclass(frozen=True)
class Action:
    """One random step of a rollout: its law, its mean then, what was drawn, and how likely that was."""

    law: Transition
    centre: Float32[Tensor, "B ..."]
    following: Float[Tensor, "B ..."]
    log_prob: Float32[Tensor, "B"]  # mean over the elements that are actions


@dataclass(frozen=True)
class Trajectory:
    """Everything that replaying one call needs."""

    call: Mapping[str, Any]
    seeds: tuple[int, ...]
    actions: tuple[Action, ...]
    latents: Mapping[tuple[int, int], Tensor]  # (step, stream) -> what the step gave back
    answers: dict[str, Any]  # denoiser -> shape of what it answers; a replay notes what isn't known
    layout: Layout
    clean: Float[Tensor, "B ..."]  # what the last step gave


OnAction = Callable[[Action, Float32[Tensor, "B ..."]], None]
OnState = Callable[[Step, Float[Tensor, "B ..."], Float[Tensor, "B ..."]], None]


def record(
    pipe: Pipeline,
    call: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    noise: Noise,
    window: range,
    layout: Layout,
    explore: Sequence[int] | None = None,
) -> tuple[Float[Tensor, "B ..."], Trajectory]:
    """Run a pipeline with noise in the window of steps; what it made, and the trajectory.

    Sample i starts from `seeds[i]` and explores with `explore[i]`, or a seed of its own. The output is
    the pipeline's own: decoded frames, or latents where the call asks for them.
    """
    explorers = generators(explore or [_exploring(seed) for seed in seeds])
    actions: list[Action] = []
    latents: dict[tuple[int, int], Tensor] = {}
    clean: list[Tensor] = []
    clock = _Clock(pipe.scheduler)

    def step(
        model_output: Tensor, timestep: Tensor | float, sample: Tensor, *_: object, **options: object
    ) -> Answer:
        at = clock.tick(timestep)
        random = at.index in window and at.stream == 0
        law = transition(clock.steps[at.index], noise if random else STILL)
        centre = mean(law, sample, model_output)
        following = draw(law, centre, explorers, layout.frames).to(sample.dtype)
        if law.std > 0:
            actions.append(Action(law, centre, following, density(law, centre, following, layout)))
        if window and window.start - 1 <= at.index < window.stop:
            latents[at.index, at.stream] = following
        if at == _Place(len(clock.steps) - 1, 0):
            clean.append(following)
        return _answer(following, options)

    answers: dict[str, Any] = {}
    with torch.no_grad(), ExitStack() as stack:
        stack.enter_context(replaced(pipe.scheduler, "step", step))
        for name, module in denoisers(pipe).items():
            stack.enter_context(_noting(module, name, answers))
        output = frames_of(pipe(**call, generator=generators(seeds)))
    return output, Trajectory(dict(call), tuple(seeds), tuple(actions), latents, answers, layout, clean[0])


def steps_of(pipe: Pipeline, call: Mapping[str, Any], seeds: Sequence[int]) -> tuple[Step, ...]:
    """The steps that a call takes."""

    def step(*_: object, **__: object) -> Answer:
        raise _Finished

    with torch.no_grad(), replaced(pipe.scheduler, "step", step):
        try:
            pipe(**call, generator=generators(seeds))
        except _Finished:
            return schedule(pipe.scheduler)
    raise RecipeError("tune: the pipeline never calls its scheduler's step, so it can't be tuned")


def replay(pipe: Pipeline, trajectory: Trajectory, on_action: OnAction, gradients: bool = True) -> None:
    """Run the pipeline along a trajectory; `on_action` gets each action with its mean under today's weights.

    With `gradients`, `on_action` should run backward itself, so that no graph outlives its step.
    """
    todo = {action.law.index: action for action in trajectory.actions}
    clock = _Clock(pipe.scheduler)

    def step(
        model_output: Tensor, timestep: Tensor | float, sample: Tensor, *_: object, **options: object
    ) -> Answer:
        at = clock.tick(timestep)
        if at.stream == 0 and at.index in todo:
            action = todo.pop(at.index)
            on_action(action, mean(action.law, sample.detach(), model_output))
            if not todo:
                raise _Finished
        return _answer(trajectory.latents.get((at.index, at.stream), sample).detach(), options)

    with torch.set_grad_enabled(gradients), ExitStack() as stack:
        for name, module in denoisers(pipe).items():
            skip = _skipping(module, name, trajectory.answers, lambda: clock.coming not in todo)
            stack.enter_context(skip)
        _to_its_end(pipe, trajectory.call, trajectory.seeds, step)


def walk(pipe: Pipeline, call: Mapping[str, Any], seeds: Sequence[int], on_state: OnState) -> None:
    """Run the pipeline's own deterministic path with gradients; `on_state` gets each state and its output.

    What follows is cut from the graph: `on_state` should run backward itself.
    """
    clock = _Clock(pipe.scheduler)

    def step(
        model_output: Tensor, timestep: Tensor | float, sample: Tensor, *_: object, **options: object
    ) -> Answer:
        at = clock.tick(timestep)
        taken: Step = clock.steps[at.index]
        if at.stream == 0:
            on_state(taken, sample.detach(), model_output)
            if at.index == len(clock.steps) - 1:
                raise _Finished
        following = mean(transition(taken, STILL), sample, model_output).detach()
        return _answer(following.to(sample.dtype), options)

    with torch.set_grad_enabled(True):
        _to_its_end(pipe, call, seeds, step)


def density(
    law: Transition, centre: Float32[Tensor, "B ..."], following: Float[Tensor, "B ..."], layout: Layout
) -> Float32[Tensor, "B"]:
    """Log-density of what followed, averaged over the elements that are actions."""
    inner = layout.actions(centre), layout.actions(following)
    return log_prob(law, *inner, axis=layout.frames).flatten(1).mean(1)


def frames_of(output: Answer) -> Float[Tensor, "B ..."]:
    """The clips in what a pipeline gives; not all of them pack a batch alike without names."""
    return torch.as_tensor(output.frames if hasattr(output, "frames") else output[0])


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator a sample, on the CPU whatever the device: a seed gives the same noise everywhere."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _exploring(seed: int) -> int:
    """A second stream of randomness of the same seed, so that exploring doesn't repeat the first latents."""
    return (seed * 6364136223846793005 + 1442695040888963407) % 2**63


class _Finished(Exception):
    """The last step that is wanted is done: the rest of the pipeline would change nothing."""


def _to_its_end(
    pipe: Pipeline, call: Mapping[str, Any], seeds: Sequence[int], step: Callable[..., Answer]
) -> None:
    """Run the pipeline, un-decorated so that gradients flow, until `step` says that it has finished."""
    undecorated = inspect.unwrap(type(pipe).__call__)
    with replaced(pipe.scheduler, "step", step):
        try:
            undecorated(pipe, **call, generator=generators(seeds), return_dict=False)
        except _Finished:
            return
    raise RecipeError("tune: the pipeline ended before its replay did; it can't be tuned by replay")


@dataclass(frozen=True)
class _Place:
    index: int
    stream: int  # 0: the video; 1: what the pipeline denoises beside it (sound)


@dataclass
class _Clock:
    """Counts the steps of a run. Calls at one and the same time are streams of one step."""

    scheduler: Any
    index: int = -1
    stream: int = 0
    time: float | None = None
    steps: tuple[Any, ...] = field(default=())

    def tick(self, timestep: Tensor | float) -> _Place:
        time = float(timestep)
        if time == self.time:
            self.stream += 1
            return _Place(self.index, self.stream)
        if self.index < 0:
            self.steps = schedule(self.scheduler)
        self.index, self.stream, self.time = self.index + 1, 0, time
        self._advance(timestep)
        return _Place(self.index, 0)

    @property
    def coming(self) -> int:
        """Index of the step that the next answer of a denoiser is for."""
        return self.index + 1

    def _advance(self, timestep: Tensor | float) -> None:
        """Schedulers that scale the denoiser's input count steps themselves."""
        if not hasattr(self.scheduler, "_step_index"):
            return
        if self.scheduler._step_index is None:
            self.scheduler._init_step_index(timestep)
        self.scheduler._step_index += 1


def _answer(following: Tensor, options: Mapping[str, object]) -> Answer:
    from diffusers.schedulers.scheduling_utils import SchedulerOutput

    return (following,) if options.get("return_dict") is False else SchedulerOutput(prev_sample=following)


@contextmanager
def _noting(module: nn.Module, name: str, answers: dict[str, Any]) -> Iterator[None]:
    """Note the shape of what a denoiser answers."""
    inner = module.forward

    def forward(*args: object, **kwargs: object) -> Answer:
        answer = inner(*args, **kwargs)
        answers[name] = _map(answer, lambda t: (t.shape, t.dtype, t.device))
        return answer

    with replaced(module, "forward", forward):
        yield


@contextmanager
def _skipping(
    module: nn.Module, name: str, answers: dict[str, Any], skip: Callable[[], bool]
) -> Iterator[None]:
    """Answer zeros of the noted shape instead of running a denoiser whose step is not trained."""
    inner = module.forward

    def forward(*args: object, **kwargs: object) -> Answer:
        if name in answers and skip():
            return _map(answers[name], lambda s: torch.zeros(s[0], dtype=s[1], device=s[2]))
        answer = inner(*args, **kwargs)
        answers[name] = _map(answer, lambda t: (t.shape, t.dtype, t.device))
        return answer

    with replaced(module, "forward", forward):
        yield


def _map(answer: Answer, change: Callable[[Any], Any]) -> Answer:
    """Apply `change` to the tensors of a denoiser's answer, or to the notes that stand for them."""
    if isinstance(answer, Mapping):
        return type(answer)(**{key: _map(value, change) for key, value in answer.items()})
    if isinstance(answer, list) or (isinstance(answer, tuple) and not _is_note(answer)):
        return type(answer)(_map(value, change) for value in answer)
    return change(answer) if isinstance(answer, Tensor) or _is_note(answer) else answer


def _is_note(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], torch.Size)
