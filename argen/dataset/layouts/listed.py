"""Datasets whose classes and splits are in list files: find what is listed, count what is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from argen.dataset.clip import Clip, Kind, Problem, Split
from argen.dataset.layouts.layout import Found
from argen.dataset.stills import natural
from argen.dataset.tree import VIDEOS, some
from argen.errors import DatasetError


@dataclass(frozen=True)
class Row:
    """One line of a list: where it stands, the clip's name as written, its label.

    Raises DatasetError where the name is none.
    """

    where: str
    name: str
    label: str
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not _pieces(self.name):
            raise DatasetError(f"{self.where}: this row names no clip; complete it or take it out")


@dataclass(frozen=True)
class Media:
    """One clip on the shelf, by its name below the shelf."""

    name: str
    path: Path
    kind: Kind


def descend(root: Path, *names: str) -> Path | None:
    """`root/a/b/c` whatever the case of the letters on disk; None if it is not there."""
    here = root
    for name in names:
        if (here / name).exists():
            here = here / name
            continue
        twin = next((child for child in _children(here) if child.lower() == name.lower()), None)
        if twin is None:
            return None
        here = here / twin
    return here


def folders(path: Path) -> list[Path]:
    """Visible folders in natural order; none where the path cannot be listed."""
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if not e.name.startswith(".") and e.is_dir()]
    except OSError:
        return []
    return [path / name for name in sorted(names, key=natural)]


def stock(folder: Path, levels: int = 1) -> list[Media]:
    """The clips of a folder: video files, and folders of frames `levels` down; nothing is opened."""
    media: list[Media] = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: natural(e.name)):
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 (a Path per file is slow)
            if entry.name.startswith("."):
                continue
            if suffix.lower() in VIDEOS and levels == 1:
                media.append(Media(stem, Path(entry.path), "video"))
            elif entry.is_dir() and levels == 1:
                media.append(Media(entry.name, Path(entry.path), "frames"))
            elif entry.is_dir():
                below = stock(Path(entry.path), levels - 1)
                media += [Media(f"{entry.name}/{m.name}", m.path, m.kind) for m in below]
    return media


def tail(name: str, parts: int) -> str:
    """The last parts of a path as written on any machine: other roots, backslashes and suffixes go."""
    pieces = _pieces(name)[-parts:]
    stem, suffix = os.path.splitext(pieces[-1])  # noqa: PTH122
    return "/".join((*pieces[:-1], stem if suffix.lower() in VIDEOS else pieces[-1]))


def _pieces(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.strip().strip('"').replace("\\", "/")).parts


def match(
    root: Path,
    rows: Mapping[Split, Sequence[Row]],
    media: Iterable[Media],
    key: Callable[[str], str],
) -> Found:
    """Clips for all rows whose media are on the shelf; the rest is counted in problems.

    `key` turns a name, as listed or as on disk, into what both have in common. Raises DatasetError when
    one clip has two labels or is in two splits.
    """
    found = Found()
    shelf = {key(m.name).casefold(): m for m in media}
    wanted = _unique(rows, key, found)
    absent: list[str] = []
    other_case = 0
    for name, (row, split) in wanted.items():
        held = shelf.get(name)
        if held is None:
            absent.append(tail(row.name, 3))
            continue
        other_case += key(held.name) != key(row.name)
        found.clips.append(listed_clip(root, held, row, split))
    _count(found, rows, absent, other_case)
    spare = [shelf[name].name for name in shelf.keys() - wanted.keys()]
    if spare:
        spare.sort(key=natural)
        found.problems.append(Problem("lists", f"{len(spare):,} clips are in no list: {some(spare)}"))
    return found


def listed_clip(root: Path, held: Media, row: Row, split: Split) -> Clip:
    """The clip of a row; the dataset's own name for it is kept in `extra["name"]`."""
    below = held.path.relative_to(root)
    name = (below if held.kind == "frames" else below.with_suffix("")).as_posix()
    extra = MappingProxyType({"name": held.name, **row.extra})
    return Clip(name, row.label, split, held.path, held.kind, subject=name, extra=extra)


def _unique(
    rows: Mapping[Split, Sequence[Row]], key: Callable[[str], str], found: Found
) -> dict[str, tuple[Row, Split]]:
    wanted: dict[str, tuple[Row, Split]] = {}
    twice: list[str] = []
    for split, listed in rows.items():
        for row in listed:
            name = key(row.name).casefold()
            earlier = wanted.get(name)
            if earlier is None:
                wanted[name] = (row, split)
            elif earlier[0].label != row.label:
                raise DatasetError(
                    f"{row.where}: '{row.name}' is '{row.label}' here and '{earlier[0].label}' at "
                    f"{earlier[0].where}; keep one"
                )
            elif earlier[1] != split:
                raise DatasetError(
                    f"{row.where}: '{row.name}' is in {split} here and in {earlier[1]} at "
                    f"{earlier[0].where}; a clip may be in one split only"
                )
            else:
                twice.append(row.name)
    if twice:
        found.problems.append(Problem("lists", f"{len(twice):,} rows repeat another: {some(twice)}"))
    return wanted


def _count(found: Found, rows: Mapping[Split, Sequence[Row]], absent: list[str], other_case: int) -> None:
    total = sum(len(listed) for listed in rows.values())
    absolute = sum(_is_absolute(row.name) for listed in rows.values() for row in listed)
    if absent:
        hint = "is a part of the download missing?"
        found.problems.append(
            Problem("lists", f"{len(absent):,} of {total:,} listed clips are absent: {some(absent)}; {hint}")
        )
    if other_case:
        found.problems.append(
            Problem("lists", f"{other_case:,} names differ in case from the files: matched")
        )
    if absolute:
        found.problems.append(
            Problem("lists", f"{absolute:,} absolute paths of another machine: read below the root instead")
        )


def _is_absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or name[1:3] in {":\\", ":/"}


def need_fold(folder: Path, pattern: str, fold: int) -> Path:
    """The list of a fold. Raises DatasetError with the folds that are there."""
    place = descend(folder, *pattern.format(fold).split("/"))
    if place is not None:
        return place
    there = [str(n) for n in range(1, 11) if descend(folder, *pattern.format(n).split("/"))]
    raise DatasetError(
        f"{folder / pattern.format(fold)}: fold {fold} is missing; folds here: {', '.join(there) or 'none'}"
    )


def _children(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))  # noqa: PTH208 (names only)
    except OSError:
        return []
