"""What a clip is, as a hash: of its bytes, or quickly of size and time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from argen.dataset.clip import Clip
from argen.dataset.stills import frame_files
from argen.errors import UnreadableClip


def fingerprint(clip: Clip) -> str:
    """sha256 of a file's bytes, or of the names and bytes of a folder's frames. Raises UnreadableClip."""
    if clip.kind != "frames":
        return file_hash(clip.path)
    digest = hashlib.sha256()
    for file in frame_files(clip):
        digest.update(f"{file.name}\0{file_hash(file)}\n".encode())
    return digest.hexdigest()


def quick_fingerprint(clip: Clip) -> str:
    """Sixteen hex digits of names, sizes and modification times: changes with any ordinary edit."""
    files = frame_files(clip) if clip.kind == "frames" else [clip.path]
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise UnreadableClip(f"{file}: {error.strerror}") from error
        digest.update(f"{file.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def file_hash(path: Path) -> str:
    """sha256 of a file, read a megabyte at a time. Raises UnreadableClip."""
    digest = hashlib.sha256()
    try:
        for block in _blocks(path):
            digest.update(block)
    except OSError as error:
        raise UnreadableClip(f"{path}: {error.strerror}") from error
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block
