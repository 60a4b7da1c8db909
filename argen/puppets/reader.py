"""The `puppet` reader: one small convolutional network that measures puppets, and knows what is none.

It reads puppets only. On a real face it reports no face, by design: see `looks_like_puppet`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.errors import ModelUnavailable
from argen.face.track import FaceTrack

if TYPE_CHECKING:
    import torch

WEIGHTS: Final = Path(__file__).parent / "weights" / "reader.safetensors"
SIDE: Final = 64
UNITS, EXPRESSION, IDENTITY, SHAPE, FACE = 20, 7, 41, 40, 1  # widths of the heads, in this order
LEAST_FACE: Final = 0.5


def make_reader() -> torch.nn.Module:
    """Residual convolutions, group norms, one linear layer; 64 x 64 in, all heads' numbers out."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 24, 5, 2, 2), nn.GroupNorm(4, 24), nn.SiLU(),
        nn.Conv2d(24, 48, 3, 2, 1), nn.GroupNorm(8, 48), nn.SiLU(),
        nn.Conv2d(48, 96, 3, 2, 1), _residual(96),
        nn.Conv2d(96, 144, 3, 2, 1), _residual(144),
        nn.GroupNorm(8, 144), nn.SiLU(), nn.Conv2d(144, 48, 1), nn.Flatten(),
        nn.Linear(48 * 16, 384), nn.SiLU(), nn.Linear(384, UNITS + EXPRESSION + IDENTITY + SHAPE + FACE),
    )  # fmt: skip


def _residual(width: int) -> torch.nn.Module:
    import torch
    from torch import nn

    class Residual(nn.Module):
        """x + f(x)."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1),
                nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.add(x, self.body(x))

    return Residual()


@dataclass(frozen=True)
class Reading:
    """What the network says of K frames."""

    units: Float32[ndarray, "K 20"]  # 0..1
    expressions: Float32[ndarray, "K 7"]  # probabilities
    identity: Float32[ndarray, "K 41"]  # unit length
    landmarks: Float32[ndarray, "K 478 3"]  # pixels of a 64 x 64 picture
    face: Float32[ndarray, "K"]  # probability that this is one puppet's face


class PuppetReader:
    """Measures puppets. `argen.face.track.FaceReader` for the small world."""

    name = "puppet"
    same_person = 0.8  # set from the weights' own file; see `argen.puppets.learning`

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self.network, extra = load_network(weights, make_reader())
        self.basis, self.mean = extra["shape_basis"], extra["shape_mean"]
        self.confidence = extra["confidence"].astype(np.float32)
        self.same_person = float(extra["same_person"][0])
        self.weights: Mapping[str, str] = {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}

    def __call__(
        self, frames: UInt8[ndarray, "T H W 3"], first_units: Float32[ndarray, "20"] | None = None
    ) -> FaceTrack:
        """Measure every frame; rows without a puppet's face are NaN. `first_units` is not needed here."""
        height, width = frames.shape[1:3]
        reading = self.read(resized(frames))
        found = reading.face >= LEAST_FACE
        scale = np.array([width / SIDE, height / SIDE, width / SIDE], np.float32)

        def keep(values: ndarray) -> ndarray:
            values = values.astype(np.float32).copy()
            values[~found] = np.nan
            return values

        return FaceTrack(
            action_units=keep(reading.units),
            expressions=keep(reading.expressions),
            identity=keep(reading.identity),
            landmarks=keep(reading.landmarks * scale),
            face_count=found.astype(np.int64),
            confidence=self.confidence,
            reader=self.name,
            weights=self.weights,
        )

    def read(self, frames: UInt8[ndarray, "K 64 64 3"]) -> Reading:
        """The network's own numbers, faces or not."""
        out = run_network(self.network, frames)
        units, expression, identity, shape, face = np.split(
            out, np.cumsum([UNITS, EXPRESSION, IDENTITY, SHAPE]), axis=1
        )
        points = (shape @ self.basis + self.mean).reshape(-1, 478, 3)
        likely = np.exp(expression - expression.max(axis=1, keepdims=True))
        return Reading(
            np.clip(units, 0, 1),
            likely / likely.sum(axis=1, keepdims=True),
            identity / np.maximum(np.linalg.norm(identity, axis=1, keepdims=True), 1e-6),
            points.astype(np.float32),
            1 / (1 + np.exp(-face[:, 0])),
        )

    def close(self) -> None:
        """Nothing native to release."""


def resized(frames: UInt8[ndarray, "T H W 3"]) -> UInt8[ndarray, "T 64 64 3"]:
    """Frames at the networks' size."""
    if frames.shape[1:3] == (SIDE, SIDE):
        return frames
    return np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames])


def run_network(network: torch.nn.Module, frames: UInt8[ndarray, "K 64 64 3"]) -> Float32[ndarray, "K D"]:
    """Batched, without gradients."""
    import torch

    with torch.inference_mode():
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        parts = [network(part.float() / 127.5 - 1) for part in pixels.split(64)]  # type: ignore[no-untyped-call]
    return torch.cat(parts).numpy()


def load_network(path: Path, network: torch.nn.Module) -> tuple[torch.nn.Module, dict[str, ndarray]]:
    """Weights into the network; what else the file holds. Raises ModelUnavailable where they don't fit."""
    import torch
    from safetensors.numpy import load_file

    if not path.exists():
        raise ModelUnavailable(f"{path}: the puppet world's weights are missing; reinstall argen")
    tensors: dict[str, Any] = load_file(path)
    own = {
        name: torch.from_numpy(tensors.pop(name)).float() for name in network.state_dict() if name in tensors
    }
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise ModelUnavailable(f"{path}: not this network's weights; reinstall argen") from error
    return network.eval(), {name: np.asarray(value, np.float32) for name, value in tensors.items()}


@cache
def _shared_reader() -> PuppetReader:
    return PuppetReader()


def looks_like_puppet(frames: UInt8[ndarray, "T H W 3"]) -> bool:
    """Whether most frames show a puppet's face, as far as the reader can tell."""
    reading = _shared_reader().read(resized(frames))
    return bool(np.median(reading.face) >= LEAST_FACE)
