"""The Hierarchical Temporal Prompt Cluster (after the DuSE abstract; the reading is ours).

A class has learnable prompts on three temporal levels: the whole clip; onset, apex, offset; frame windows.
A prompt is the feature of a text plus a learnt offset in the joint space, so that it works with any tower.
Each level's prompts prime the tokens of their level (gated cross-attention, before the temporal encoder)
and are aligned with them afterwards by cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from argen.recogniser.texts import NODES

WINDOW = 2  # frames
WARMTH = 14.0  # initial scale of cosines in logits


@dataclass(frozen=True)
class Alignment:
    """How well each level's prompts fit a clip, and which frames said so."""

    levels: Float[Tensor, "B L C"]  # logits
    shares: Float[Tensor, "B L T"]  # weight of each frame in each level


class PromptCluster(nn.Module):
    """Primes frame tokens with language, and reads classes off them by their prompts."""

    def __init__(self, width: int, frames: int, classes: int, prompts: int) -> None:
        super().__init__()
        self.shape = (classes, prompts)
        self.groups = [1, 3, -(-frames // WINDOW)]
        self.offsets = nn.ParameterList(torch.randn(classes, nodes, prompts, width) * 0.02 for nodes in NODES)
        self.project = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.project.weight)
        self.ask = nn.ModuleList(nn.Linear(width, width) for _ in NODES)
        self.answer = nn.ModuleList(nn.Linear(width, width) for _ in NODES)
        self.gates = nn.Parameter(torch.zeros(len(NODES)))
        self.pull = nn.Linear(width, 1 + 3)  # of a frame towards the clip's summary, onset, apex, offset
        self.when = nn.Parameter(_times(frames))
        self.salience = nn.Linear(width, 1)
        self.norm = nn.LayerNorm(width)
        self.warmth = nn.Parameter(torch.full((len(NODES),), WARMTH).log())

    def banks(self, texts: Sequence[Float[Tensor, "C _ M D"]]) -> list[Float[Tensor, "C _ M D"]]:
        """Prompts by level: texts in the joint space, each with its learnt offset, unit length."""
        found = [
            functional.normalize(self.project(text), dim=-1) + offset
            for text, offset in zip(texts, self.offsets, strict=True)
        ]
        return [functional.normalize(bank, dim=-1) for bank in found]

    def prime(
        self, tokens: Float[Tensor, "B T D"], banks: Sequence[Float[Tensor, "C _ M D"]]
    ) -> Float[Tensor, "B T D"]:
        """Frames, each moved towards what the prompts of its groups say; unmoved before training."""
        seen = self.norm(tokens)
        primed = tokens
        for level, (bank, shares) in enumerate(zip(banks, self.membership(seen), strict=True)):
            groups = self.ask[level](shares @ seen)  # B G D
            keys = bank.transpose(0, 1).flatten(1, 2)  # N CM D: a phase attends to its own prompts
            keys = keys.expand(groups.shape[1], -1, -1)
            attention = (torch.einsum("bgd,gkd->bgk", groups, keys)).softmax(dim=-1)
            said = self.answer[level](torch.einsum("bgk,gkd->bgd", attention, keys))
            back = shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-6)  # of a frame over its groups
            primed = primed + torch.tanh(self.gates[level]) * torch.einsum("bgt,bgd->btd", back, said)
        return primed

    def align(
        self,
        summary: Float[Tensor, "B D"],
        tokens: Float[Tensor, "B T D"],
        banks: Sequence[Float[Tensor, "C _ M D"]],
    ) -> Alignment:
        """Logits of every level: the clip from the temporal encoder's summary, the finer levels from the
        primed tokens themselves, so that what a window shows is its own and the levels err differently.
        """
        seen = self.norm(tokens)
        clip, phases, windows = self.membership(seen)
        salience = (windows @ self.salience(seen)).softmax(dim=1)  # B G 1
        pooled = (clip @ seen + summary[:, None], phases @ seen, windows @ seen)
        weights = (None, None, salience)
        logits, shares = [], []
        for level, (bank, group, weight) in enumerate(zip(banks, pooled, weights, strict=True)):
            means = functional.normalize(bank.mean(dim=2), dim=-1)  # C N D
            means = means.expand(-1, group.shape[1], -1)
            cosines = torch.einsum("bgd,cgd->bgc", functional.normalize(group, dim=-1), means)
            mean = cosines.mean(dim=1) if weight is None else (weight * cosines).sum(dim=1)
            logits.append(self.warmth[level].exp() * mean)
            members = (clip, phases, windows)[level]
            shares.append(members.mean(dim=1) if weight is None else (weight * members).sum(dim=1))
        return Alignment(torch.stack(logits, dim=1), torch.stack(shares, dim=1))

    def membership(
        self, frames: Float[Tensor, "B T D"]
    ) -> tuple[Float[Tensor, "B 1 T"], Float[Tensor, "B 3 T"], Float[Tensor, "B G T"]]:
        """Weight of each frame in each group of each level; a group's weights sum to 1."""
        pull = (self.pull(frames).transpose(1, 2) + self.when).softmax(dim=-1)
        count, batch = frames.shape[1], len(frames)
        number = torch.arange(count, device=frames.device) // WINDOW
        window = functional.one_hot(number, self.groups[2]).to(frames.dtype).T
        window = window / window.sum(dim=1, keepdim=True)
        return pull[:, :1], pull[:, 1:], window.expand(batch, -1, -1)


def _times(frames: int) -> Float[Tensor, "4 T"]:
    """Where in a clip each phase usually is: log-weights of the summary (anywhere), onset, apex, offset."""
    at = torch.linspace(0, 1, frames) if frames > 1 else torch.full((1,), 0.5)
    peaks = torch.tensor([0.15, 0.5, 0.9])
    phases = -((at - peaks[:, None]) ** 2) / (2 * 0.2**2)
    return torch.cat([torch.zeros(1, frames), phases])
