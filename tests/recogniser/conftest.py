"""A painted world: a bar moves up (happy), down (sad) or not at all (neutral) on a square of any colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from argen.dataset.clip import Clip
from argen.recogniser.frames import FrameCache
from argen.recogniser.settings import Settings

CLASSES = ("happy", "sad", "neutral")
SIZE = 32
SMALL = Settings(
    size=SIZE, frames=4, width=32, latents=4, prompts=2, steps=6, batch=8, validation=0.0, device="cpu"
)


def paint(folder: Path, label: str, seed: int, frames: int = 6) -> None:
    """A frame folder."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    colour, start = rng.integers(60, 110, 3), int(rng.integers(13, 16))
    step = {"happy": -3, "sad": 3, "neutral": 0}[label]
    for number in range(frames):
        picture = np.broadcast_to(colour, (SIZE, SIZE, 3)).astype(np.uint8).copy()
        top = int(np.clip(start + step * number, 0, SIZE - 4))
        picture[top : top + 4, 6:26] = 255 - colour
        Image.fromarray(picture).save(folder / f"{number:03d}.png")


def make_clips(root: Path, split: str, people: int, frames: int = 6) -> list[Clip]:
    """One clip of every class of each person; `neutral` only of every second."""
    clips = []
    for person in range(people):
        for number, label in enumerate(CLASSES):
            if label == "neutral" and person % 2 and split == "train":
                continue
            name = f"{split}/{label}/{person}"
            paint(root / name, label, 1000 * (split == "test") + 10 * person + number, frames)
            subject = f"{split}-{person}"
            clips.append(Clip(name, label, split, root / name, "frames", subject))  # type: ignore[arg-type]
    return clips


def open_files() -> int:
    """File descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(scope="session")
def train_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return make_clips(tmp_path_factory.mktemp("train"), "train", 10)


@pytest.fixture(scope="session")
def test_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return make_clips(tmp_path_factory.mktemp("test"), "test", 4)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FrameCache:
    return FrameCache(tmp_path_factory.mktemp("cache"))
