"""What a format gets to write, and what a format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argen.dataset.clip import Clip
from argen.dataset.exporting.names import exported_names

ListName = Literal["train", "train_real", "train_synthetic", "val", "test"]
LISTS: tuple[ListName, ...] = ("train", "train_real", "train_synthetic", "val", "test")


@dataclass(frozen=True)
class Entry:
    """One exported clip."""

    clip: Clip
    name: str
    path: str  # below the export's folder, "/" between the parts
    number: int  # the label, as the codebase counts
    frames: int  # images in the folder at `path`; 0 for a video

    def at(self, prefix: str) -> str:
        """The path as a list writes it."""
        return f"{prefix.rstrip('/')}/{self.path}" if prefix else self.path


Lists = Mapping[ListName, Sequence[Entry]]


@dataclass(frozen=True)
class Target:
    """Where and for what an export is made."""

    out: Path
    layout: str  # the source's: "dfew", "folder", ...
    dataset: str  # what the lists call it: "DFEW", "FERV39K", "MAFW", or the source folder's name
    fold: int
    prefix: str  # what stands before a path in a list; "" for paths below the export's folder


@dataclass(frozen=True)
class Format:
    """One codebase's form: what it wants on disk, under which names, and its lists."""

    name: str
    media: Literal["frames", "videos", "as they are"]
    place: Callable[[Target, Clip, str], str]  # a clip and its name -> its path below the export's folder
    write: Callable[[Target, Lists], None]
    names: Callable[[Sequence[Clip]], dict[str, str]] = exported_names
    suffix: Callable[[Target], str] = lambda target: ".jpg"  # of extracted frames
    prefixed: bool = True  # lists can hold a prefix before their paths
    absolute: bool = True  # lists hold whole paths; else paths below a root that the codebase is given
