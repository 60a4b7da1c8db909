"""The network behind the judge and the chooser: what it says of the frames of a clip.

Another architecture than the reader's, so that what fools one need not fool the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.puppets.expressions import BASIC
from argen.puppets.reader import load_network, resized, run_network

if TYPE_CHECKING:
    import torch

UNITS, EXPRESSION, IDENTITY = 20, 7, 41


def make_examiner() -> torch.nn.Module:
    """Strided 4 x 4 convolutions, batch norms, leaky rectifiers (after DCGAN's discriminator)."""
    from torch import nn

    layers: list[nn.Module] = []
    for narrow, wide in ((3, 32), (32, 64), (64, 128), (128, 192)):
        layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2)]
    layers += [nn.Flatten(), nn.Linear(192 * 16, 192), nn.BatchNorm1d(192), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(192, UNITS + EXPRESSION + IDENTITY))


@dataclass(frozen=True)
class Judgement:
    """What the network says of one clip."""

    units: Float32[ndarray, "T 20"]
    expressions: Float32[ndarray, "T 7"]  # log-probabilities
    identity: Float32[ndarray, "T 41"]  # unit length

    @property
    def log_probabilities(self) -> Float32[ndarray, "7"]:
        """Of each expression, over the clip's liveliest third of frames."""
        change = np.abs(self.units - self.units[0]).sum(axis=1)
        lively = np.argsort(-change)[: max(1, len(change) // 3)]
        mean = self.expressions[lively].mean(axis=0)
        return np.asarray(mean - np.log(np.exp(mean).sum()), np.float32)

    @property
    def label(self) -> str:
        """The likeliest expression."""
        return BASIC[int(self.log_probabilities.argmax())]

    @property
    def person(self) -> Float32[ndarray, "41"]:
        """Mean identity, unit length."""
        mean = self.identity.mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)


class Examiner:
    """Loaded once, asked per clip."""

    def __init__(self, weights: Path) -> None:
        self.network, _ = load_network(weights, make_examiner())

    def __call__(self, frames: UInt8[ndarray, "T H W 3"]) -> Judgement:
        """Judge every frame, of any size."""
        out = run_network(self.network, resized(frames))
        units, expression, identity = np.split(out, np.cumsum([UNITS, EXPRESSION]), axis=1)
        peak = expression.max(axis=1, keepdims=True)
        total = np.log(np.exp(expression - peak).sum(axis=1, keepdims=True)) + peak
        length = np.maximum(np.linalg.norm(identity, axis=1, keepdims=True), 1e-6)
        return Judgement(np.clip(units, 0, 1), expression - total, identity / length)
