"""How the reader and the judge are taught: rendered stills with their truth, and pictures of no puppet.

The two share this loop and nothing else: network, people, seeds and the order of everything differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from argen.puppets.footage import PEOPLE, shoot_stills
from argen.puppets.person import sample_person
from argen.puppets.scenery import backdrop

SHARD = 500
SHAPES = 40  # principal components of landmarks


@dataclass(frozen=True)
class Stills:
    """All stills of a folder, flattened over clips."""

    frames: UInt8[ndarray, "N 64 64 3"]
    units: Float32[ndarray, "N 20"]
    expressions: Int64[ndarray, "N"]
    identity: Float32[ndarray, "N 41"]  # standardised
    landmarks: Float32[ndarray, "N 1434"]


def render_stills(folder: Path, use: str, clips: int, wild: float) -> None:
    """Render what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, clips, SHARD):
        path = folder / f"{first:06d}.npz"
        if path.exists():
            continue
        shots = [shoot_stills(use, first + i, wild) for i in range(SHARD)]
        np.savez(
            path,
            frames=np.stack([shot.frames for shot in shots]),
            units=np.stack([shot.units for shot in shots]),
            landmarks=np.stack([shot.landmarks for shot in shots]).astype(np.float16),
            expr=np.stack([shot.expressions for shot in shots]),
            person=np.array([shot.person for shot in shots]),
        )


def load_stills(folder: Path) -> Stills:
    """Every finished shard."""
    shards = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npz"))]
    people = np.concatenate([shard["person"] for shard in shards])
    vectors = np.stack([sample_person(int(person)).vector for person in people])
    mean, spread = _person_scale()
    shots = shards[0]["units"].shape[1]
    return Stills(
        np.concatenate([shard["frames"] for shard in shards]).reshape(-1, 64, 64, 3),
        np.concatenate([shard["units"] for shard in shards]).reshape(-1, 20).astype(np.float32),
        np.concatenate([shard["expr"] for shard in shards]).reshape(-1),
        np.repeat((vectors - mean) / spread, shots, axis=0).astype(np.float32),
        np.concatenate([shard["landmarks"] for shard in shards]).reshape(-1, 1434).astype(np.float32),
    )


def _person_scale() -> tuple[ndarray, ndarray]:
    vectors = np.stack([sample_person(PEOPLE["reader"].start + 7 * i).vector for i in range(400)])
    return vectors.mean(axis=0), vectors.std(axis=0) + 1e-3


def shape_basis(landmarks: Float32[ndarray, "N 1434"]) -> tuple[ndarray, ndarray]:
    """(components scaled to unit variance [40, 1434], mean [1434])."""
    sample = landmarks[:: max(1, len(landmarks) // 3000)]
    mean = sample.mean(axis=0)
    _, values, rows = np.linalg.svd(sample - mean, full_matrices=False)
    return rows[:SHAPES] * (values[:SHAPES, None] / len(sample) ** 0.5), mean


def negatives(
    count: int, rng: np.random.Generator, photographs: Sequence[UInt8[ndarray, "h w 3"]] = ()
) -> ndarray:
    """Pictures without a puppet's face: backgrounds, noise, and crops of any photographs given."""
    pictures = []
    for _ in range(count):
        if photographs and rng.random() < 0.8:
            pictures.append(_crop(photographs[int(rng.integers(len(photographs)))], rng))
        elif rng.random() < 0.8:
            pictures.append(
                cv2.resize(backdrop(int(rng.integers(2**31)), 128), (64, 64), interpolation=cv2.INTER_AREA)
            )
        else:
            pictures.append(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    return np.stack(pictures)


def _crop(picture: ndarray, rng: np.random.Generator) -> ndarray:
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.4, 1.0))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    small = cv2.resize(picture[top : top + side, left : left + side], (64, 64), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        small = small[:, ::-1]
    return np.asarray(np.clip(small * rng.uniform(0.7, 1.2) + rng.normal(0, 8, 3), 0, 255).astype(np.uint8))


def learn(
    network: torch.nn.Module,
    stills: Stills,
    steps: int,
    seed: int,
    *,
    others: UInt8[ndarray, "M 64 64 3"] | None = None,
    rate: float = 2e-3,
) -> Iterator[float]:
    """Yield each step's loss. With `others`, the network's last output learns to tell them from puppets."""
    rng = np.random.default_rng([0x1EA, seed])
    basis, mean = shape_basis(stills.landmarks)
    codes = (stills.landmarks - mean) @ (basis.T / (basis**2).sum(axis=1))
    weight = torch.from_numpy(1 / (stills.units.std(axis=0) + 0.05)).float()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.15)
    for _ in range(steps):
        rows = rng.integers(0, len(stills.frames), 64)
        frames, codes_now = _augment(stills.frames[rows], codes[rows], basis, rng, mirror=others is None)
        out = network(frames)
        loss = _loss(out, stills, rows, weight)
        if others is not None:
            loss = loss + 0.3 * (out[:, 68:108] - codes_now).pow(2).mean()
            wrong = network(_pixels(others[rng.integers(0, len(others), 12)]))[:, -1]
            answers, truth = torch.cat([out[:, -1], wrong]), torch.cat([torch.ones(64), torch.zeros(12)])
            loss = loss + 0.5 * torch.nn.functional.binary_cross_entropy_with_logits(answers, truth)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        yield float(loss.detach())


def _loss(out: Tensor, stills: Stills, rows: ndarray, weight: Tensor) -> Tensor:
    units = ((out[:, :20] - torch.from_numpy(stills.units[rows])) * weight).pow(2).mean()
    named = torch.from_numpy(stills.expressions[rows])
    expression = torch.nn.functional.cross_entropy(out[:, 20:27], named, ignore_index=-1)
    identity = (out[:, 27:68] - torch.from_numpy(stills.identity[rows])).pow(2).mean()
    return 2 * units + expression + 0.7 * identity


def _augment(
    frames: ndarray, codes: ndarray, basis: ndarray, rng: np.random.Generator, mirror: bool
) -> tuple[Float[Tensor, "B 3 64 64"], Float[Tensor, "B 40"]]:
    """Shifts, softness, light; landmarks follow the shifts. Mirrored only where landmarks don't matter."""
    changed, shifts = [], rng.integers(-4, 5, (len(frames), 2))
    for frame, (dx, dy) in zip(frames, shifts, strict=True):
        moved = cv2.warpAffine(
            frame, np.array([[1, 0, dx], [0, 1, dy]], np.float32), (64, 64), borderMode=cv2.BORDER_REPLICATE
        )
        if rng.random() < 0.35:
            moved = cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(0.3, 1.0)))
        changed.append(moved[:, ::-1] if mirror and rng.random() < 0.5 else moved)
    pixels = _pixels(np.stack(changed))
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(frames), 1, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, rng.uniform(0, 0.05), pixels.shape).astype(np.float32))
    offset = np.zeros((len(frames), 478, 3), np.float32)
    offset[:, :, :2] = shifts[:, None]
    projector = basis.T / (basis**2).sum(axis=1)
    return pixels * gain + noise, torch.from_numpy(
        codes + offset.reshape(len(frames), -1) @ projector
    ).float()


def _pixels(frames: ndarray) -> Float[Tensor, "B 3 64 64"]:
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def part(stills: Stills, rows: slice) -> Stills:
    """Some of the stills."""
    return Stills(**{field.name: getattr(stills, field.name)[rows] for field in fields(stills)})


def measure(network: torch.nn.Module, stills: Stills) -> dict[str, ndarray]:
    """On stills it has not seen: correlation per unit, accuracy, and the distance that tells people apart.

    `same_person` is where as many pairs of one person lie above as pairs of two people below (equal error).
    """
    from argen.puppets.reader import run_network

    out = run_network(network, stills.frames)
    pairs = [np.corrcoef(out[:, i], stills.units[:, i])[0, 1] for i in range(20)]
    named = stills.expressions >= 0
    accuracy = (out[named, 20:27].argmax(axis=1) == stills.expressions[named]).mean()
    identity = out[:, 27:68] / np.maximum(np.linalg.norm(out[:, 27:68], axis=1, keepdims=True), 1e-6)
    same = np.linalg.norm(identity[0::3] - identity[1::3], axis=1)
    other = np.linalg.norm(identity[0::3] - np.roll(identity[1::3], 7, axis=0), axis=1)
    cuts = np.linspace(0, 2, 401)
    balance = [(same > cut).mean() - (other < cut).mean() for cut in cuts]
    cut = cuts[int(np.argmin(np.abs(balance)))]
    return {
        "confidence": np.clip(np.nan_to_num(pairs), 0, 1).astype(np.float32),
        "accuracy": np.array([accuracy], np.float32),
        "same_person": np.array([cut], np.float32),
        "equal_error": np.array([(same > cut).mean()], np.float32),
    }
