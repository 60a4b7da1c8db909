"""From rewards to advantages: each reward against its own group first, weights after, gates before both."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

Rewards = Mapping[str, Float32[Tensor, "B"]]

SAME = 1e-6
"""Spread of a reward in a group, relative to its size, below which the group teaches nothing about it."""


@dataclass(frozen=True)
class Advantages:
    """How much better each sample was than its group, and what could not be told."""

    values: Float32[Tensor, "B"]
    parts: Mapping[str, Float32[Tensor, "B"]]  # each reward's own, before the weights
    gated: int  # samples that a gate or a missing value put at their group's minimum
    idle_groups: int  # groups in which nothing differed
    idle: Mapping[str, int]  # the same for each reward


def group_relative(
    rewards: Rewards,
    weights: Mapping[str, float],
    group: Int64[Tensor, "B"],
    gated: Bool[Tensor, "B"],
    limit: float = 5.0,
    *,
    pooled: bool = False,
) -> Advantages:
    """Each reward normalised in its group, then weighted, then scaled over the batch (GDPO).

    `pooled` divides by the spread within all groups instead of each group's own: of two clips each is 1 from
    their mean then by how much they differ, so a second reward may outweigh the first one's small difference.
    A gated sample, or one with a NaN, gets its group's minimum of every reward; a group that is gated as a
    whole, or whose rewards don't differ, gets exactly 0. Values are cut at ±`limit`.
    """
    missing = torch.stack([~values.isfinite() for values in rewards.values()]).any(0)
    out = gated | missing
    parts = {name: torch.zeros_like(values) for name, values in rewards.items()}
    idle = dict.fromkeys(rewards, 0)
    groups = sorted(set(group.tolist()))
    for one in groups:
        members = group == one
        for name, values in rewards.items():
            centred = _in_group(values[members], out[members])
            idle[name] += not centred.any()
            parts[name][members] = centred if pooled else _scaled(centred)
    if pooled:
        parts = {name: _scaled(values) for name, values in parts.items()}
    total = weighted(parts, weights)
    busy = torch.zeros_like(out)
    for one in groups:
        busy |= (group == one) & total[group == one].any()
    spread = total[busy].square().mean().sqrt() if busy.any() else total.new_tensor(1.0)
    values = (total / spread.clamp(min=1e-8)).clamp(-limit, limit)
    idle_groups = len(groups) - len(set(group[busy].tolist()))
    return Advantages(values, parts, int(out.sum()), idle_groups, idle)


def weighted(rewards: Rewards, weights: Mapping[str, float]) -> Float32[Tensor, "B"]:
    """Their sum; a reward without a weight counts once."""
    return torch.stack([weights.get(name, 1.0) * values for name, values in rewards.items()]).sum(0)


def best_of(
    advantage: Float32[Tensor, "K"], gated: Bool[Tensor, "K"], best: int | None
) -> Int64[Tensor, "k"]:
    """Which clips of a group to imitate, in their order: the `best` ones, or all; gated ones come last."""
    worth = torch.where(gated, -torch.inf, advantage)
    return worth.argsort(descending=True, stable=True)[:best].sort().values


def _in_group(values: Float32[Tensor, "K"], out: Bool[Tensor, "K"]) -> Float32[Tensor, "K"]:
    """Less their mean; exactly 0 where they don't differ."""
    if out.all():
        return torch.zeros_like(values)
    values = _lowered(values, out)
    centred = values - values.mean()
    idle = values.std(correction=0) <= SAME * values.abs().max().clamp(min=1.0)
    return torch.zeros_like(values) if idle else centred


def _lowered(values: Float32[Tensor, "K"], out: Bool[Tensor, "K"]) -> Float32[Tensor, "K"]:
    """Those that are out at the least of the others of their group."""
    return torch.where(out, values[~out].min(), values)


def _scaled(centred: Float32[Tensor, "K"]) -> Float32[Tensor, "K"]:
    """Over their root mean square, unless that is 0."""
    size = centred.square().mean().sqrt()
    return centred / size if size > 0 else centred


def conflict(parts: Mapping[str, Float32[Tensor, "B"]]) -> dict[str, float]:
    """Cosine between the advantages of each pair of rewards: -1 means that one's gain is the other's loss."""
    names = list(parts)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return {
        f"{a} x {b}": float(torch.nn.functional.cosine_similarity(parts[a], parts[b], dim=0))
        for a, b in pairs
    }


class PerPromptStatistics:
    """Running mean and spread of the reward of each prompt, as DDPO keeps them."""

    def __init__(self, size: int = 16, enough: int = 16) -> None:
        self.size, self.enough = size, enough
        self.seen: dict[str, deque[float]] = {}

    def advantages(self, prompts: Sequence[str], rewards: Float32[Tensor, "B"]) -> Float32[Tensor, "B"]:
        """Add the rewards to their prompts' records; each reward against its prompt's record.

        A prompt with fewer than `enough` rewards is measured against the batch.
        """
        found = torch.empty_like(rewards)
        for prompt in dict.fromkeys(prompts):
            members = torch.tensor([other == prompt for other in prompts])
            record = self.seen.setdefault(prompt, deque(maxlen=self.size))
            record.extend(rewards[members].tolist())
            against = rewards if len(record) < self.enough else torch.tensor(list(record))
            found[members] = (rewards[members] - against.mean()) / (against.std(correction=0) + 1e-6)
        return found

    def in_order(
        self,
        total: Float32[Tensor, "B"],
        prompts: Sequence[str],
        group: Int64[Tensor, "B"],
        out: Bool[Tensor, "B"],
    ) -> Float32[Tensor, "B"]:
        """The same, recorded in the order of the groups, whatever processes they came from; cut at ±5.

        Samples that are `out` count as their group's minimum; a group that is out as a whole gets 0 and isn't
        recorded.
        """
        order, values = [], torch.zeros_like(total)
        lowered = total.clone()
        for one in sorted(set(group.tolist())):
            members = torch.nonzero(group == one).flatten()
            if not out[members].all():
                lowered[members] = _lowered(total[members], out[members])
                order += members.tolist()
        asked = [prompts[index] for index in order]
        values[order] = self.advantages(asked, lowered[order]).clamp(-5, 5)
        return values

    def state(self) -> dict[str, list[float]]:
        """What a checkpoint keeps."""
        return {prompt: list(record) for prompt, record in self.seen.items()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Take up what a checkpoint kept."""
        self.seen = {prompt: deque(record, maxlen=self.size) for prompt, record in state.items()}
