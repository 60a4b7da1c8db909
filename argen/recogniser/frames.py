"""Clips decoded once: small frames on disk, found by content, bounded in size, shared by runs."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from argen.dataset.clip import Clip


class FrameCache:
    """Decoded clips as memory-mapped uint8 in a folder; beyond its limit the least recently used go."""

    def __init__(self, folder: Path, limit_bytes: int = 8 << 30) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def __call__(self, clip: Clip, size: int, most: int = 64) -> UInt8[ndarray, "T size size 3"]:
        """The middle square of a clip's frames at size x size; at most `most`, evenly spread over a longer clip.

        Read-only. Keyed by the file's bytes, so that a renamed clip is found and a changed one is not.
        Raises UnreadableClip.
        """
        raise NotImplementedError
