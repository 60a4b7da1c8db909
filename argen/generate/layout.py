"""Where time and guidance sit in the tensors of a pipeline, found by changing them and looking what moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from argen.errors import UsageError
from argen.generate.calling import Form, Item, strangers
from argen.generate.probe import Pipeline, Probe, probe


@dataclass(frozen=True)
class Layout:
    """Axes of time in what the denoiser and the scheduler handle, and how the two guided branches come."""

    hidden: Literal[
        1, 2, "tokens"
    ]  # frames' axis of the denoiser's input and output, or packed, frame by frame
    step: Literal[1, 2] | None  # frames' axis of what the scheduler steps; None if packed there too
    condition: bool  # the first frame is the source itself and is not stepped
    branches: Literal["rows", "calls"] | None  # doubled batch, or two calls a step; None for anything else
    prompted_first: bool  # which half, or which call, follows the prompt

    def split(self, tensor: Float[Tensor, "B ..."], frames: int) -> Float[Tensor, "B F ..."]:
        """A view of a denoiser's tensor with time as its second axis."""
        if self.hidden == "tokens":
            return tensor.reshape(tensor.shape[0], frames, -1, tensor.shape[-1])
        return tensor.movedim(self.hidden, 1)

    def join(self, tensor: Float[Tensor, "B F ..."]) -> Float[Tensor, "B ..."]:
        """Undo `split`."""
        return tensor.flatten(1, 2) if self.hidden == "tokens" else tensor.movedim(1, self.hidden)


def read_layout(pipe: Pipeline, form: Form) -> Layout:
    """Probe with two and three latent frames and another prompt (or picture, where there is no prompt).

    Raises UsageError if the pipeline keeps time in a way that this can't see.
    """
    first, second = strangers(form)
    if "prompt" in form.parameters:
        second = Item(first.picture, second.prompt, first.seed)
    guided = form.guided(2.0)
    two = probe(pipe, form.arguments([first], changed=form.fewest(2) | guided))
    three = probe(pipe, form.arguments([second], changed=form.fewest(3) | guided))
    name = type(pipe).__name__
    stepped = _step_axis(two, three)
    kind, prompted_first = _branches(two, three)
    return Layout(_hidden_axis(two, three, name), stepped[0], stepped[1], kind, prompted_first)


def _hidden_axis(two: Probe, three: Probe, name: str) -> Literal[1, 2, "tokens"]:
    before, after = two.hidden.shape, three.hidden.shape
    moved = [axis for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if len(before) == 5 and moved in ([1], [2]):
        return 1 if moved == [1] else 2
    if len(before) == 3 and moved == [1] and before[1] * 3 == after[1] * 2:
        return "tokens"
    raise UsageError(
        f"{name} packs its frames in a way that guidance per frame cannot follow; set "
        "generate.guidance_follows_intensity=false and generate.neighbour_weight=0"
    )


def _step_axis(two: Probe, three: Probe) -> tuple[Literal[1, 2] | None, bool]:
    if two.sample is None or three.sample is None or two.sample.ndim != 5:
        return None, False
    axis: Literal[1, 2] = 1 if two.sample.shape[1] != three.sample.shape[1] else 2
    return axis, two.sample.shape[axis] == 1


def _branches(two: Probe, three: Probe) -> tuple[Literal["rows", "calls"] | None, bool]:
    if len(two.calls) == 2:
        moved = [bool(_moved(a, b).any()) for a, b in zip(two.calls, three.calls, strict=True)]
        if sum(moved) == 1:
            return "calls", moved[0]
    if len(two.calls) == 1 and two.hidden.shape[0] == 2:
        rows = _moved(two.calls[0], three.calls[0])
        if int(rows.sum()) == 1:
            return "rows", bool(rows[0])
    return None, False


def _moved(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Bool[Tensor, "B"]:
    """Which rows of a call's inputs differ between two probes, over the tensors that time does not resize."""
    batch = a["hidden_states"].shape[0]
    moved = torch.zeros(batch, dtype=torch.bool)
    for name in a.keys() & b.keys():
        if a[name].shape == b[name].shape and a[name].ndim > 1 and a[name].shape[0] == batch:
            moved |= (a[name] != b[name]).flatten(1).any(dim=1).cpu()
    return moved
