"""Measured clips on disk, so that nothing is measured twice.

One `.npz` per clip, named by what was measured (a hash of the file or the frames) and by what measured it
(reader and hashes of its weights). No pickles; the same track gives the same bytes; a file appears whole
or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen.errors import UnreadableClip
from argen.face.track import FaceTrack
from argen.whole import part_of

VERSION: Final = 1
"""Raised whenever readers measure differently: older files are then passed over."""
_ARRAYS: Final = ("action_units", "expressions", "identity", "landmarks", "face_count", "confidence")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can name


def track_name(content: str, reader: str, weights: Mapping[str, str]) -> str:
    """File name of a clip's track, from the hash of its content and what measures it."""
    what = json.dumps([VERSION, content, reader, sorted(weights.items())])
    return hashlib.sha256(what.encode()).hexdigest()[:32] + ".npz"


def frames_hash(frames: UInt8[ndarray, "T H W 3"]) -> str:
    """Sha256 of pixels and shape."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


def save_track(path: Path, track: FaceTrack) -> None:
    """Write a track, deterministic byte for byte, by rename."""
    header = json.dumps(
        {"version": VERSION, "reader": track.reader, "weights": dict(track.weights)}, sort_keys=True
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("header.json", _EPOCH), header)
            for name in _ARRAYS:
                buffer = io.BytesIO()
                np.lib.format.write_array(
                    buffer, np.ascontiguousarray(getattr(track, name)), allow_pickle=False
                )
                info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, buffer.getvalue())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_track(path: Path) -> FaceTrack:
    """Read a track. Raises UnreadableClip for a damaged file or one of another version."""
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("header.json"))
            if header["version"] != VERSION:
                raise UnreadableClip(f"{path}: measured by another version of ARGen")
            arrays = {
                name: np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
                for name in _ARRAYS
            }
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableClip(f"{path}: not a track that ARGen wrote ({error})") from error
    return FaceTrack(**arrays, reader=header["reader"], weights=header["weights"])
