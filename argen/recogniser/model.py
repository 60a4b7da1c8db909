"""DuSE: a tower, the two streams and their fusion; and the plain baseline of equal size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from argen.recogniser.aggregator import Aggregate, Aggregator
from argen.recogniser.cluster import Alignment, PromptCluster
from argen.recogniser.settings import Settings
from argen.recogniser.temporal import TemporalTransformer
from argen.recogniser.texts import NODES, class_texts
from argen.recogniser.towers import make_tower


@dataclass(frozen=True)
class Outputs:
    """Logits of clips, and what they are made of."""

    logits: Float[Tensor, "B C"]
    alignment: Alignment | None
    aggregate: Aggregate | None


class Recogniser(nn.Module):
    """The model that `settings` describe, for `classes` in this order."""

    shares: Float[Tensor, "C 20"]

    def __init__(self, settings: Settings, classes: Sequence[str]) -> None:
        super().__init__()
        self.settings = settings
        texts = class_texts(classes, settings.prompts)
        flat = [text for level in texts.levels for of_class in level for node in of_class for text in node]
        flat += [text for phrases in texts.concepts for text in phrases]
        self.phrases = [len(phrases) for phrases in texts.concepts]
        self.tower = make_tower(settings, flat)
        self.register_buffer("shares", torch.from_numpy(texts.shares))
        self.classes, width = len(classes), self.tower.width
        self.cluster = self.aggregator = self.head = None
        if settings.streams in {"both", "prompts"}:
            self.cluster = PromptCluster(width, settings.frames, self.classes, settings.prompts)
        if settings.streams in {"both", "aggregator"}:
            self.aggregator = Aggregator(width, settings.latents, settings.heads, self.shares)
        hidden = 2 * width
        if settings.streams == "baseline":
            self.head = nn.Linear(width, self.classes)
            hidden = _hidden_of_equal_size(settings, self.classes, width, self.tower.forget_texts())
        self.temporal = TemporalTransformer(width, settings.frames, settings.depth, settings.heads, hidden)

    def texts(self) -> tuple[list[Float[Tensor, "C _ M D"]], Float[Tensor, "20 D"]]:
        """Features of the prompts by level, and of the concepts (each the mean of its phrases)."""
        features = self.tower.texts()
        sizes = [self.classes * nodes * self.settings.prompts for nodes in NODES]
        *levels, concepts = _split(features, [*sizes, sum(self.phrases)])
        banks = [
            level.reshape(self.classes, nodes, self.settings.prompts, -1)
            for level, nodes in zip(levels, NODES, strict=True)
        ]
        return banks, torch.stack([part.mean(dim=0) for part in _split(concepts, self.phrases)])

    def forward(
        self, clips: UInt8[Tensor, "B T H W 3"], without: Bool[Tensor, "20"] | None = None
    ) -> Outputs:
        """Logits of clips of `settings.frames` frames; `without` leaves concepts out."""
        tokens = self.tower.frames(clips)
        if self.head is not None:
            return Outputs(self.head(self.temporal(tokens)[0]), None, None)
        prompts, concepts = self.texts()
        banks = None
        if self.cluster is not None:
            banks = self.cluster.banks(prompts)
            tokens = self.cluster.prime(tokens, banks)
        summary, frames = self.temporal(tokens)
        alignment = aggregate = None
        if self.cluster is not None and banks is not None:
            alignment = self.cluster.align(summary, tokens, banks)
        if self.aggregator is not None:
            aggregate = self.aggregator(tokens, frames, concepts, without)
        return Outputs(self.fuse(alignment, aggregate), alignment, aggregate)

    def fuse(self, alignment: Alignment | None, aggregate: Aggregate | None) -> Float[Tensor, "B C"]:
        """The streams' logits in one sum; the prompts' are their levels', weighed as in the loss."""
        outputs = Outputs(self.shares, alignment, aggregate)
        parts = [self.part(outputs, level) for level in range(len(NODES))] if alignment is not None else []
        if aggregate is not None:
            parts.append(self.part(outputs, None))
        return torch.stack(parts).sum(dim=0)

    def part(self, outputs: Outputs, level: int | None) -> Float[Tensor, "B C"]:
        """What one level of the prompts (None: the aggregator) adds to the logits."""
        alignment, aggregate, fusion = outputs.alignment, outputs.aggregate, self.settings.fusion
        if level is None:
            assert aggregate is not None  # the caller's own streams
            return aggregate.logits * (1 - fusion if alignment is not None else 1.0)
        assert alignment is not None
        weights = self.settings.level_weights
        share = weights[level] / (sum(weights) or 1.0)
        return alignment.levels[:, level] * (share * (fusion if aggregate is not None else 1.0))

    def parameter_count(self) -> int:
        """Parameters that are trained."""
        return sum(weight.numel() for weight in self.parameters() if weight.requires_grad)


def _split(rows: Float[Tensor, "K D"], sizes: Sequence[int]) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = rows.split(list(sizes))  # type: ignore[no-untyped-call]
    return parts


def _hidden_of_equal_size(settings: Settings, classes: int, width: int, dropped: int) -> int:
    """Width of the baseline's temporal layers at which it has as many parameters as both streams."""
    with torch.random.fork_rng(devices=[]):
        cluster = PromptCluster(width, settings.frames, classes, settings.prompts)
        aggregator = Aggregator(width, settings.latents, settings.heads, torch.zeros(classes, 20))
    parts = (cluster, aggregator)
    spare = dropped + sum(weight.numel() for part in parts for weight in part.parameters())
    spare -= width * classes + classes
    return 2 * width + max(0, round(spare / (settings.depth * (2 * width + 1))))
