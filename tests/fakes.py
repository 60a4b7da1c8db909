"""Models that can be computed by eye: Action Units painted as grey blocks, and a reader that reads them.

They satisfy the same Protocols as the real ones, so that the loop's promises are tested in milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from argen.face.track import FaceTrack
from argen.generate.request import Request

SIZE = 64
BLOCK = SIZE // 5


def paint(units: np.ndarray, person: float = 0.5) -> np.ndarray:
    """A face of 64 x 64 pixels: twenty blocks as bright as the Action Units; the border is the person."""
    frames = np.zeros((len(units), SIZE, SIZE, 3), np.uint8)
    frames[:, :, :, 2] = round(255 * person)
    for unit in range(20):
        row, column = divmod(unit, 4)
        place = np.s_[:, row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK, 0]
        frames[place] = np.round(255 * units[:, unit])[:, None, None]
    frames[:, ::4, :, 1] = 255  # something sharp
    return frames


class PaintedReader:
    """Reads what `paint` painted; a frame without green has no face."""

    name = "painted"
    weights: ClassVar[dict[str, str]] = {"none": "0"}
    same_person = 0.6

    def __call__(self, frames: np.ndarray, first_units: np.ndarray | None = None) -> FaceTrack:
        blocks = [divmod(unit, 4) for unit in range(20)]
        centre = BLOCK // 2
        units = np.stack(
            [frames[:, r * BLOCK + centre, c * BLOCK + centre, 0] / 255 for r, c in blocks], axis=1
        ).astype(np.float32)
        there = frames[:, :, :, 1].max(axis=(1, 2)) > 100
        units[~there] = np.nan
        angle = frames[:, -2, -2, 2].astype(np.float32) / 255
        identity = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
        identity[~there] = np.nan
        total = len(frames)
        return FaceTrack(
            action_units=units,
            expressions=np.full((total, 7), 1 / 7, np.float32),
            identity=identity,
            landmarks=np.full((total, 478, 3), np.nan, np.float32),
            face_count=there.astype(np.int64),
            confidence=np.ones(20, np.float32),
            reader=self.name,
            weights=self.weights,
        )

    def close(self) -> None:
        pass


class PaintedGenerator:
    """Paints the target; every `spoil`-th clip (by seed) stays still, so that the gate has work."""

    name = "painted"
    takes_whole = staticmethod(lambda frame: False)
    batch = 3
    domain = None

    def __init__(self, spoil: int = 0) -> None:
        self.spoil = spoil
        self.provenance = {"model": "paint"}
        self.calls: list[int] = []

    def __call__(self, requests: list[Request]) -> list[np.ndarray]:
        self.calls.append(len(requests))
        clips = []
        for request in requests:
            units = request.affect.trajectory
            if self.spoil and request.seed % self.spoil == 0:
                units = np.repeat(units[:1], len(units), axis=0)
            clips.append(paint(units, request.frame[-2, -2, 2] / 255))
        return clips


def painted_dataset(root: Path, counts: dict[str, int] | None = None, held_out: int = 1) -> Path:
    """Stills of calm painted people, sorted by emotion, in train/ and test/."""
    rng = np.random.default_rng(0)
    for split, extra in (("train", 0), ("test", held_out)):
        for label, count in (counts or {"neutral": 4, "disgust": 1, "happy": 2}).items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(extra or count):
                face = paint(np.full((1, 20), 0.02), rng.uniform(0.1, 0.9))[0]
                Image.fromarray(face).save(folder / f"{split}-{label}-{number}.png")
    return root
