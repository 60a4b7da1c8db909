"""Scoring clips: faces are measured once, then every reward and gate reads the same measurements.

A reward is a plain function of keywords, after trl's convention: it names the columns that it wants, takes
the rest as `**columns`, and gives one number a clip, None for a clip that it can't judge.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray
from torch import Tensor

from argen import assets
from argen.errors import ArgenError, RecipeError
from argen.face.track import FaceTrack

log = logging.getLogger(__name__)

Reward = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One clip to try: how the pipeline is asked for it, and what it is judged by."""

    id: str
    call: Mapping[str, Any]
    columns: Mapping[str, Any] = field(default_factory=dict)  # affect, source, person, ...


def hash_of(cases: Sequence[Case]) -> str:
    """Of jobs in their order: lessons and the order of tries name them by their places."""
    told = [[case.id, str(case.call.get("prompt"))] for case in cases]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


Measure = Callable[[UInt8[ndarray, "T H W 3"], Case], FaceTrack]
"""Measures the faces of a clip that was made for a case."""


@dataclass(frozen=True)
class Scores:
    """One value a clip for each reward; NaN where it couldn't judge."""

    rewards: Mapping[str, Float32[Tensor, "B"]]
    gated: Bool[Tensor, "B"]
    motion: Float32[Tensor, "B"]  # mean absolute change from frame to frame, 0..1

    @property
    def refused(self) -> Bool[Tensor, "B"]:
        """Clips that a gate refused, or that a reward couldn't judge."""
        return self.gated | torch.stack([values.isnan() for values in self.rewards.values()]).any(0)


Pending = Callable[[], Scores]
"""Scores that may still be in the making; the call waits for them."""


@dataclass(frozen=True)
class Scorer:
    """Rewards and gates by name, and the reader that measures for all of them."""

    rewards: Mapping[str, Reward]
    gates: Mapping[str, tuple[Reward, float]] = field(default_factory=dict)
    measure: Measure | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)  # same_person, most_steps, ...
    device: str | None = None  # where rewards get their frames

    def __call__(self, frames: Float32[Tensor, "B T 3 H W"], case: Case, steps: int) -> Scores:
        """Score clips of one case, made in `steps` denoising steps.

        Raises RecipeError, naming the reward, for one that fails or gives what is not a number a clip.
        """
        count = len(frames)
        seen = frames if self.device is None else frames.to(self.device)
        columns = {**self.constants, "frames": seen, "steps": [steps] * count}
        columns |= {f"{name}s": [value] * count for name, value in case.columns.items()}
        if self.measure is not None:
            columns["tracks"] = [self.measure(clip, case) for clip in as_pictures(frames)]
        found = {name: call_reward(name, reward, columns, count) for name, reward in self.rewards.items()}
        gated = torch.zeros(count, dtype=torch.bool)
        for name, (gate, least) in self.gates.items():
            values = found[name] if name in found else call_reward(name, gate, columns, count)
            gated |= ~(values >= least)
        return Scores(found, gated, (frames[:, 1:] - frames[:, :-1]).abs().flatten(1).mean(1).cpu())

    def later(self, frames: Float32[Tensor, "B T 3 H W"], case: Case, steps: int) -> Pending:
        """The same, for who can wait: what is called for the scores. Here they are made at once."""
        scores = self(frames, case, steps)
        return lambda: scores


def load_scorer(
    rewards: Mapping[str, float],
    gates: Mapping[str, float] | None = None,
    measure: Measure | None = None,
    constants: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> Scorer:
    """The rewards and gates behind their names or files. Raises RecipeError with the names that exist."""
    if not rewards:
        raise RecipeError(
            "tune.rewards: name at least one, for example naturalness: 1.0; `argen list rewards`"
        )
    return Scorer(
        {name: assets.load_function("rewards", name) for name in rewards},
        {name: (assets.load_function("rewards", name), least) for name, least in (gates or {}).items()},
        measure,
        dict(constants or {}),
        device,
    )


def call_reward(name: str, reward: Reward, columns: Mapping[str, Any], count: int) -> Float32[Tensor, "B"]:
    """Call a reward with the columns that it names; NaN where it gave None or no finite number."""
    parameters = inspect.signature(reward).parameters.values()
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    missing = [wanted for wanted in needed if wanted not in columns]
    if missing:
        raise RecipeError(
            f"rewards: {name} wants '{missing[0]}', but there are only {', '.join(sorted(columns))}"
        )
    accepted = {p.name for p in parameters}
    given = {key: value for key, value in columns.items() if everything or key in accepted}
    try:
        return _one_a_clip(name, reward(**given), count)
    except ArgenError:
        raise
    except Exception as error:  # a user's function may fail in any way; training stops with its name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecipeError(f"rewards: {name} failed: {reason}") from error


def as_pictures(frames: Float32[Tensor, "B T 3 H W"]) -> UInt8[ndarray, "B T H W 3"]:
    """Frames as a face reader wants them."""
    pictures = (frames.clamp(0, 1) * 255).round().to(torch.uint8).movedim(2, -1)
    return np.ascontiguousarray(pictures.cpu().numpy())


def _one_a_clip(name: str, result: object, count: int) -> Float32[Tensor, "B"]:
    if isinstance(result, Sequence) and not isinstance(result, str):
        try:
            result = torch.tensor([float("nan") if value is None else float(value) for value in result])
        except (TypeError, ValueError, RuntimeError) as error:
            raise RecipeError(
                f"rewards: {name} gave no list of numbers ({error}); it must give one number a clip"
            ) from error
    if isinstance(result, ndarray):
        result = torch.from_numpy(np.asarray(result, np.float32))
    if not isinstance(result, Tensor):
        raise RecipeError(f"rewards: {name} gave {type(result).__name__}; it must give one number a clip")
    if tuple(result.shape) != (count,):
        raise RecipeError(
            f"rewards: {name} gave shape {tuple(result.shape)} for {count} clips; one number a clip"
        )
    values = result.detach().float().cpu()
    if not values.isfinite().any():
        log.warning("rewards: %s could not judge any of %d clips", name, count)
    return torch.where(values.isfinite(), values, torch.nan)
