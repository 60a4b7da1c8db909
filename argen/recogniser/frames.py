"""Clips decoded once: small frames on disk, found by content, bounded in size, shared by runs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
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
        self._unseen: int | None = None  # bytes written since the folder was last looked through
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, clip: Clip, size: int, most: int = MOST) -> UInt8[ndarray, "T size size 3"]:
        """The middle square of a clip's frames at size x size; at most `most`, spread over a longer clip.

        Read-only. Keyed by the file's bytes, so that a renamed clip is found and a changed one is not.
        Raises UnreadableClip.
        """
        return self.at(self.path_of(clip, size, most), clip, size, most)

    def path_of(self, clip: Clip, size: int, most: int = MOST) -> Path:
        """Where a clip's frames are, or would be. Reads the whole clip. Raises UnreadableClip."""
        return self.folder / f"{fingerprint(clip)[:32]}-{size}-{most}.npy"

    def at(self, path: Path, clip: Clip, size: int, most: int = MOST) -> UInt8[ndarray, "T size size 3"]:
        """The same for whoever has `path_of` the clip already. Raises UnreadableClip."""
        found = _open(path)
        if found is None:
            _write(path, read_frames(clip, most, size))
            self._now_and_then(path)
            found = _open(path)
        if found is None:  # removed by another process between the two lines above
            return read_frames(clip, most, size)
        with contextlib.suppress(OSError):
            os.utime(path)  # the time of last use
        return found

    def _now_and_then(self, written: Path) -> None:
        """Make room, but not for each of thousands of clips: the limit is kept to one part in a hundred."""
        with contextlib.suppress(OSError):
            size = written.stat().st_size
            if self._unseen is not None and self._unseen + size <= self.limit_bytes // 100:
                self._unseen += size
                return
        self.make_room(keep=written)
        self._unseen = 0

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


class CachedFrames(Sequence[UInt8[ndarray, "T size size 3"]]):
    """Frames of many clips: decoded at once, so that an unreadable one is told first; opened at every look.

    A memory map that is kept holds a file descriptor, of which a process usually has 1,024.
    """

    def __init__(self, cache: FrameCache, clips: Sequence[Clip], size: int) -> None:
        self._cache, self._clips, self._size = cache, clips, size
        self._paths = [cache.path_of(clip, size) for clip in clips]
        for path, clip in zip(self._paths, clips, strict=True):
            cache.at(path, clip, size)
        gone = sum(not path.exists() for path in self._paths)
        if gone:
            logger.warning(
                "%s: %d of %d clips do not fit into %.3g GB and are decoded at every look; raise the limit "
                "(--cache-gb)", cache.folder, gone, len(clips), cache.limit_bytes / (1 << 30),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, row):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204 (slices are not asked for)
        return self._cache.at(self._paths[row], self._clips[row], self._size)


def _open(path: Path) -> UInt8[ndarray, "T H W 3"] | None:
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s: cannot be read (%s), decoded again", path, error)
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
