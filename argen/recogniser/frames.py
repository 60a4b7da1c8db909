"""Clips decoded once: small frames on disk, found by content, bounded in size, shared by runs."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from argen.dataset.clip import Clip
from argen.dataset.fingerprint import fingerprint
from argen.dataset.video import read_frames

logger = logging.getLogger(__name__)
MOST: Final = 32
"""Frames kept of a longer clip, evenly spread: four to choose from for each of the usual eight."""


class FrameCache:
    """Decoded clips as memory-mapped uint8 in a folder; beyond its limit the least recently used go.

    Any number of processes may share the folder: a file appears whole or not at all, and one that is removed
    while it is in use stays readable to whoever has it open.
    """

    def __init__(self, folder: Path, limit_bytes: int = 8 << 30) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, clip: Clip, size: int, most: int = MOST) -> UInt8[ndarray, "T size size 3"]:
        """The middle square of a clip's frames at size x size; at most `most`, spread over a longer clip.

        Read-only. Keyed by the file's bytes, so that a renamed clip is found and a changed one is not.
        Raises UnreadableClip.
        """
        path = self.folder / f"{fingerprint(clip)[:32]}-{size}-{most}.npy"
        found = _open(path)
        if found is None:
            _write(path, read_frames(clip, most, size))
            self.make_room(keep=path)
            found = _open(path)
        if found is None:  # removed by another process between the two lines above
            return read_frames(clip, most, size)
        with contextlib.suppress(OSError):
            os.utime(path)  # the time of last use
        return found

    def make_room(self, keep: Path | None = None) -> int:
        """Remove the least recently used until the folder is within its limit; the bytes it then holds."""
        files: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*.npy"):
            with contextlib.suppress(OSError):
                state = path.stat()
                files.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit_bytes:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size
        return total


def _open(path: Path) -> UInt8[ndarray, "T H W 3"] | None:
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        logger.warning("%s: damaged, decoded again", path)
        return None
    return frames if frames.dtype == np.uint8 and frames.ndim == 4 else None


def _write(path: Path, frames: UInt8[ndarray, "T H W 3"]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(frames), allow_pickle=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def pick(frames: int, wanted: int, rng: np.random.Generator | None = None) -> Int64[ndarray, "wanted"]:
    """One frame of each of `wanted` equal segments: its middle, or with `rng` a random one.

    A clip shorter than the window shows some frames more than once, in order.
    """
    edges = np.linspace(0, frames, wanted + 1)
    inside = 0.5 if rng is None else rng.random(wanted)
    at = edges[:-1] + inside * (edges[1:] - edges[:-1])
    return np.minimum(at.astype(np.int64), frames - 1)
