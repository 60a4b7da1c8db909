"""Clip and Dataset: what a folder of face clips is, once read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from jaxtyping import Float32
from numpy import ndarray

Kind = Literal["video", "frames", "image"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Clip:
    """One clip on disk. `id` is unique in its dataset and stable: the path below the root, no suffix."""

    id: str
    label: str  # as the dataset spells it
    split: Split
    path: Path  # a video file, a folder of frames, or one image
    kind: Kind
    subject: str  # the clip's own id where nothing tells who it is
    licence: str = "unknown"
    redistributable: bool = True
    frame_names: tuple[str, ...] | None = None  # a frame folder's images, where a list names them
    action_units: Float32[ndarray, "20"] | None = field(default=None, compare=False, repr=False)
    """Ground-truth apex Action Units, 0..1, where the dataset has them (CK+, puppets)."""
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)

    @property
    def synthetic(self) -> bool:
        """Whether the clip was generated: never a source unless asked, never held out."""
        return self.extra.get("synthetic") == "true"


@dataclass(frozen=True)
class Problem:
    """Something in the folder that was passed over, and why: shown by scan, never silent."""

    where: str
    what: str


@dataclass(frozen=True)
class Dataset:
    """A folder of clips, read but not decoded."""

    root: Path
    clips: tuple[Clip, ...]
    layout: str  # "folder", "metadata", "dfew", ...
    subjects_from: str  # "layout", "column", "pattern", "identity" or "clip": how subjects are known
    problems: tuple[Problem, ...] = ()
    citation: str = ""

    @property
    def train(self) -> tuple[Clip, ...]:
        """The only clips that anything may be learnt or made from."""
        return tuple(clip for clip in self.clips if clip.split == "train")

    @property
    def sources(self) -> tuple[Clip, ...]:
        """Training clips that are real: what new clips may be made from."""
        return tuple(clip for clip in self.train if not clip.synthetic)

    def counts(self, split: Split = "train") -> dict[str, int]:
        """Clips per label in one split, labels in alphabetical order."""
        counter = Counter(clip.label for clip in self.clips if clip.split == split)
        return {label: counter[label] for label in sorted(counter)}

    def __len__(self) -> int:
        return len(self.clips)
