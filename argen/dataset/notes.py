"""What is known of each clip, kept between scans: length, size, damage, and a hash of how it looks."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from argen.dataset.clip import Clip
from argen.dataset.stills import frame_names, image_size, natural, read_image
from argen.dataset.video import probe, read_frames
from argen.errors import UnreadableClip

logger = logging.getLogger(__name__)
VERSION = 1
FLAT = "flat"  # a black frame looks like any other black frame
SIDE = 16  # of the perceptual hash: 16 x 16 comparisons, 256 bits


@dataclass(frozen=True, slots=True)
class Note:
    """One clip as last seen; `stamp` tells whether it has changed since."""

    stamp: str
    frames: int = 0
    height: int = 0
    width: int = 0
    fps: float = 0.0  # 0 where there is none: frame folders and stills
    damage: str = ""  # why it cannot be read
    looks: str = ""  # perceptual hash of the middle frame, hex; "" until it is decoded

    def row(self) -> tuple[str | int | float, ...]:
        """Its values in order, as the cache keeps them."""
        return self.stamp, self.frames, self.height, self.width, self.fps, self.damage, self.looks


@dataclass
class Notes:
    """The notes of one dataset, in a file of the cache; without a cache they are not kept."""

    file: Path | None
    known: dict[str, Note] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, cache: Path | None, root: Path) -> Notes:
        """The notes of an earlier scan; empty if there are none or they cannot be read."""
        if cache is None:
            return cls(None)
        file = cache / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            known = {name: Note(*row) for name, row in held["notes"].items()}
        except FileNotFoundError:
            return cls(file)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.info("%s: not used: %s", file, error)
            return cls(file)
        return cls(file, known if held.get("version") == VERSION else {})

    def save(self, names: set[str]) -> None:
        """Keep the notes of these clips. A cache that cannot be written is not worth an error."""
        if self.file is None or (not self.changed and self.known.keys() == names):
            return
        rows = {name: note.row() for name, note in self.known.items() if name in names}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_name(f"{self.file.name}.{os.getpid()}.part")
            part.write_text(json.dumps({"version": VERSION, "notes": rows}), encoding="utf-8")
            part.replace(self.file)
        except OSError as error:
            logger.info("%s: not kept: %s", self.file, error)


def take_note(clip: Clip, notes: Notes, *, deep: bool) -> Note:
    """What is known of a clip, looked up or looked at. Never raises: damage is a finding."""
    try:
        state = clip.path.stat()
    except OSError as error:
        return Note("", damage=str(error.strerror))
    stamp = f"{state.st_mtime_ns:x}.{state.st_size:x}"
    held = notes.known.get(clip.id)
    if held is not None and held.stamp == stamp and (held.looks or held.damage or not deep):
        return held
    try:
        note = _look(clip, stamp, deep=deep)
    except UnreadableClip as error:
        note = Note(stamp, damage=str(error).removeprefix(f"{clip.path}: "))
    notes.known[clip.id], notes.changed = note, True
    return note


def _look(clip: Clip, stamp: str, *, deep: bool) -> Note:
    if clip.kind == "video":
        info = probe(clip)
        looks = perceptual_hash(read_frames(clip, 3)[-2:][0]) if deep else ""
        return Note(stamp, info.frames, info.height, info.width, round(info.fps, 3), looks=looks)
    names = [clip.path.name] if clip.kind == "image" else frame_names(clip)
    folder = clip.path.parent if clip.kind == "image" else clip.path
    height, width = image_size(folder / min(names, key=natural))
    looks = ""
    if deep:
        names.sort(key=natural)
        looks = perceptual_hash(read_image(folder / names[len(names) // 2]))
    return Note(stamp, len(names), height, width, looks=looks)


def perceptual_hash(frame: UInt8[ndarray, "H W 3"]) -> str:
    """256 bits in hex: is each of 16 x 16 places brighter than its left neighbour; FLAT for an even frame."""
    small = Image.fromarray(frame).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    if grey.max() - grey.min() < 8:
        return FLAT
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()
