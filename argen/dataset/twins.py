"""Near-duplicates across splits: clips that look alike, confirmed by who is in them where that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt64
from numpy import ndarray

from argen.dataset.clip import Clip
from argen.dataset.notes import FLAT, Note
from argen.errors import UnreadableClip

ALIKE = 26  # bits of 256 that may differ: re-encoding and scaling change fewer, other faces many more
CHUNK = 64  # rows compared at a time: 25 MB against 12,000 clips
MOST = 10_000


@dataclass(frozen=True)
class Twin:
    """Two clips of different splits that look alike; the first is in train where one of them is."""

    clip: str
    other: str
    splits: tuple[str, str]
    bits: int  # of 256 that differ
    distance: float | None  # of identity embeddings; None where it was not measured
    refuted: bool  # alike, but of two people


def find_twins(
    clips: Sequence[Clip],
    notes: Mapping[str, Note],
    embed: Callable[[Clip], Float32[ndarray, "D"] | None] | None = None,
    same_person: float = 0.6,
) -> tuple[Twin, ...]:
    """Pairs of real clips in different splits whose middle frames differ in few bits, the likest first."""
    real = [c for c in clips if c.id in notes and notes[c.id].looks not in {"", FLAT} and not c.synthetic]
    held_out = [c for c in real if c.split != "train"]
    train = [c for c in real if c.split == "train"]
    pairs = _alike(train, held_out, notes)
    pairs += _alike(
        [c for c in held_out if c.split == "val"], [c for c in held_out if c.split == "test"], notes
    )
    pairs.sort(key=lambda pair: (pair[2], pair[0].id, pair[1].id))
    return tuple(_twin(a, b, bits, embed, same_person) for a, b, bits in pairs[:MOST])


def _alike(
    left: Sequence[Clip], right: Sequence[Clip], notes: Mapping[str, Note]
) -> list[tuple[Clip, Clip, int]]:
    if not left or not right:
        return []
    a, b = _codes(left, notes), _codes(right, notes)
    pairs = []
    for start in range(0, len(right), CHUNK):
        differing = np.bitwise_count(b[start : start + CHUNK, None, :] ^ a[None, :, :]).sum(axis=2)
        for i, j in np.argwhere(differing <= ALIKE):
            pairs.append((left[int(j)], right[start + int(i)], int(differing[i, j])))
    return pairs


def _codes(clips: Sequence[Clip], notes: Mapping[str, Note]) -> UInt64[ndarray, "N 4"]:
    raw = b"".join(bytes.fromhex(notes[clip.id].looks) for clip in clips)
    return np.frombuffer(raw, np.uint64).reshape(len(clips), 4)


def _twin(
    a: Clip,
    b: Clip,
    bits: int,
    embed: Callable[[Clip], Float32[ndarray, "D"] | None] | None,
    same_person: float,
) -> Twin:
    distance = _distance(a, b, embed) if embed is not None else None
    refuted = distance is not None and distance >= same_person
    return Twin(a.id, b.id, (a.split, b.split), bits, distance, refuted)


def _distance(a: Clip, b: Clip, embed: Callable[[Clip], Float32[ndarray, "D"] | None]) -> float | None:
    try:
        first, second = embed(a), embed(b)
    except UnreadableClip:
        return None
    if first is None or second is None:
        return None
    distance = float(np.linalg.norm(np.asarray(first) - np.asarray(second)))
    return distance if np.isfinite(distance) else None
