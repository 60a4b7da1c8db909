"""The first levels of a folder, by name only: what layouts are recognised by, in milliseconds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from argen.dataset.stills import natural

DEPTH = 5  # levels listed; the deepest landmark is MAFW's "Train & Test Set/single/no_caption/set_1"
ENTRIES = 400  # names read per folder: landmarks lie in narrow folders, clips in wide ones
FOLLOWED = 24  # folders entered per folder
FOLDERS = 160  # folders entered per level


@dataclass
class Outline:
    """Names of folders and files by the folder they lie in, below the root ("" is the root itself)."""

    root: Path
    lower: dict[str, dict[str, str]] = field(default_factory=dict)  # lower case -> as spelled
    folders: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    def find(self, *names: str) -> Path | None:
        """The first folder or file `a/b/c` anywhere in the outline, whatever the case of its letters."""
        for base in self.folders:
            place = self.at(base, *names)
            if place is not None:
                return self.root / place
        return None

    def at(self, base: str, *names: str) -> str | None:
        """`names` below one folder of the outline, as spelled on disk; None if it is not there."""
        here = base
        for name in names:
            twin = self.lower.get(here, {}).get(name.lower())
            if twin is None:
                return None
            here = f"{here}/{twin}" if here else twin
        return here

    def folders_like(self, pattern: str) -> Iterator[str]:
        """Every folder, below the root, whose own name matches the whole pattern."""
        for base, names in self.folders.items():
            for name in names:
                if re.fullmatch(pattern, name, re.IGNORECASE):
                    yield f"{base}/{name}" if base else name

    def files_like(self, pattern: str) -> Iterator[str]:
        """Every file, below the root, whose own name matches the whole pattern."""
        for base, names in self.files.items():
            for name in names:
                if re.fullmatch(pattern, name, re.IGNORECASE):
                    yield f"{base}/{name}" if base else name


def outline(root: Path) -> Outline:
    """Look at the first levels; at most a few hundred folders are listed, none of them wholly if wide."""
    drawn = Outline(root)
    level = [""]
    for _ in range(DEPTH):
        following: list[str] = []
        for base in level:
            _list(drawn, base)
            inside = drawn.folders[base][:FOLLOWED]
            following += [f"{base}/{name}" if base else name for name in inside]
        level = following[:FOLDERS]
    return drawn


def _list(drawn: Outline, base: str) -> None:
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(drawn.root / base) as entries:
            for entry in islice(entries, ENTRIES):
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError:
        pass  # whoever reads the folder names it as a problem
    drawn.folders[base], drawn.files[base] = sorted(folders, key=natural), sorted(files, key=natural)
    drawn.lower[base] = {name.lower(): name for name in (*reversed(files), *reversed(folders))}
