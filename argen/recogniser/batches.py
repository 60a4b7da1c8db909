"""Which clips and frames a step sees: a pure function of seed and step, so that nothing needs remembering."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from argen.dataset.clip import Clip
from argen.recogniser.augment import augmented
from argen.recogniser.frames import pick
from argen.recogniser.settings import Settings

_ORDER, _FRAMES, _MIX, _LOOK = range(4)  # independent streams of one seed


@dataclass(frozen=True)
class Batch:
    """What a step is made of."""

    frames: UInt8[Tensor, "B T H W 3"]
    targets: Float32[Tensor, "B C"]
    weights: Float32[Tensor, "B"]


@dataclass(frozen=True)
class Pool:
    """Training clips, decoded and numbered."""

    clips: Sequence[Clip]
    frames: Sequence[UInt8[ndarray, "T H W 3"]]
    truth: Int64[ndarray, "N"]
    classes: int


def rows_of(settings: Settings, truth: Int64[ndarray, "N"], step: int) -> Int64[ndarray, "B"]:
    """Rows of one step: every clip once before any comes again; oversampling: classes equally likely."""
    if settings.balance == "oversample":
        rng = np.random.default_rng([settings.seed, _ORDER, step])
        wanted = rng.integers(int(truth.max()) + 1, size=settings.batch)
        return np.array([rng.choice(np.flatnonzero(truth == label)) for label in wanted], np.int64)
    places = np.arange(step * settings.batch, (step + 1) * settings.batch)
    rows = np.empty(settings.batch, np.int64)
    for epoch in np.unique(places // len(truth)):
        order = np.random.default_rng([settings.seed, _ORDER, int(epoch)]).permutation(len(truth))
        here = places // len(truth) == epoch
        rows[here] = order[places[here] % len(truth)]
    return rows


def make_batch(settings: Settings, pool: Pool, step: int, rank: int = 0, world: int = 1) -> Batch:
    """This process's share of a step's batch."""
    rows = rows_of(settings, pool.truth, step)
    mine = np.arange(len(rows))[rank::world]
    frames, targets = _look(settings, pool, rows, mine, step)
    weights = torch.tensor(
        [settings.synthetic_weight if pool.clips[rows[i]].synthetic else 1.0 for i in mine]
    )
    if settings.mixup > 0:
        rng = np.random.default_rng([settings.seed, _MIX, step])
        share = float(rng.beta(settings.mixup, settings.mixup))
        partner = rng.permutation(len(rows))[mine]
        others, other_targets = _look(settings, pool, rows, partner, step)
        frames = (share * frames.float() + (1 - share) * others.float()).round().to(torch.uint8)
        targets = share * targets + (1 - share) * other_targets
    return Batch(frames, targets, weights)


def _look(
    settings: Settings, pool: Pool, rows: Int64[ndarray, "R"], places: Int64[ndarray, "M"], step: int
) -> tuple[UInt8[Tensor, "M T H W 3"], Float32[Tensor, "M C"]]:
    """Frames and targets at `places` of the batch; each place draws from its own generator."""
    seen, targets = [], torch.zeros(len(places), pool.classes)
    for row, place in enumerate(places):
        clip = rows[place]
        rng = np.random.default_rng([settings.seed, _LOOK, step, int(place)])
        frames = pool.frames[clip]
        window = np.asarray(frames[pick(len(frames), settings.frames, rng)])
        seen.append(augmented(window, rng) if settings.augment == "classic" else window)
        targets[row, int(pool.truth[clip])] = 1
    return torch.from_numpy(np.stack(seen)), targets


def set_aside(clips: Sequence[Clip], share: float, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on, and real clips of the subjects that are set aside for validation.

    A subject is drawn by its own name, so that other clips in the list do not change who is drawn; one who
    would take a class's last real clips stays. Synthetic clips of a drawn subject are in neither.
    """
    left: dict[str, set[str]] = {}
    for clip in clips:
        if not clip.synthetic:
            left.setdefault(clip.label, set()).add(clip.subject)
    drawn: set[str] = set()
    for subject in sorted({clip.subject for clip in clips if not clip.synthetic}):
        lasts = any(people == {subject} for people in left.values())
        if _draw(subject, seed) < share and not lasts:
            drawn.add(subject)
            for people in left.values():
                people.discard(subject)
    kept = [clip for clip in clips if clip.subject not in drawn]
    return kept, [clip for clip in clips if clip.subject in drawn and not clip.synthetic]


def _draw(subject: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\0{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
