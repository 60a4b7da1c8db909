"""Tiny datasets in every form, made on the spot."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from argen.dataset.clip import Clip
from argen.dataset.video import write_mp4


def gradient(frames: int = 3, height: int = 16, width: int = 16, seed: int = 0) -> np.ndarray:
    """Smooth moving colours: survives compression, differs with the seed."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, 3)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    waves = [np.sin(0.06 * x + 0.03 * (c + 1) * y + 0.3 * t + phase[c]) for c in range(3)]
    return np.asarray(127 + 110 * np.stack(waves, -1), np.uint8)


@functools.cache
def mp4_bytes(frames: int = 3, seed: int = 0) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_mp4(path, gradient(frames, seed=seed), 25.0)
        return path.read_bytes()


def put_video(path: Path, frames: int = 3, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mp4_bytes(frames, seed))
    return path


@functools.cache
def picture_bytes(suffix: str, size: int, number: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{suffix}"
        Image.fromarray(gradient(number + 1, size, size)[number]).save(path)
        return path.read_bytes()


def put_frames(path: Path, names: Iterable[str] = ("000.jpg", "001.jpg", "002.jpg"), size: int = 16) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (path / name).write_bytes(picture_bytes(Path(name).suffix, size, number))
    return path


def put_image(path: Path, size: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gradient(1, size, size)[0]).save(path)
    return path


def put_text(path: Path, text: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    return path


def put_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    return put_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def clip_of(path: Path, kind: str = "video") -> Clip:
    return Clip(path.stem, "happy", "train", path, kind, path.stem)  # type: ignore[arg-type]
