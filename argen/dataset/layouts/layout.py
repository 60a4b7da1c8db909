"""What a layout is: how a released dataset lies on disk, and what may be done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from argen.dataset.clip import Clip, Problem
from argen.dataset.layouts.outline import Outline


@dataclass
class Found:
    """What reading a folder gave, before subjects and licence are settled."""

    clips: list[Clip] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    subjects_from: str = "clip"


@dataclass(frozen=True)
class Layout:
    """One dataset's form. `recognise` looks at names only; `read` gets the root and the fold, from 1."""

    name: str
    recognise: Callable[[Outline], bool]
    read: Callable[[Path, int], Found]
    title: str = ""
    folds: int = 1
    licence: str = "unknown"
    redistributable: bool = True
    citation: str = ""
