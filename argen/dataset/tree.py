"""Walks folders with care: symlink loops, hidden and unreadable things are passed over and named."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from argen.dataset.clip import Problem, Split
from argen.dataset.stills import IMAGES, natural
from argen.errors import DatasetError, did_you_mean

VIDEOS = frozenset(
    {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp", ".gif"}
)
SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"})


@dataclass
class Listing:
    """What lies directly in one folder, in natural order; but images as they come, for they may be many."""

    path: Path
    folders: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


def look(path: Path, problems: list[Problem] | None = None, where: str = "") -> Listing:
    """List one folder; hidden files, dead links and unreadable entries become problems."""
    problems = [] if problems is None else problems
    listing = Listing(path)
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                _sort_in(entry, listing, problems, where)
    except OSError as error:
        problems.append(Problem(where or str(path), f"cannot be listed: {error.strerror}"))
    for names in (listing.folders, listing.videos, listing.others, listing.hidden):
        if len(names) > 1:
            names.sort(key=natural)
    if listing.hidden:
        problems.append(Problem(where or ".", f"hidden, passed over: {some(listing.hidden)}"))
    return listing


def walk(path: Path, problems: list[Problem], where: str = "") -> Iterator[tuple[str, Listing]]:
    """A folder and all below it, as (path below the start, listing), top first, loops cut and named."""
    yield from _walk(path, problems, where, frozenset())


def split_of(name: str) -> Split | None:
    """The split that a folder or a word names (`Validation`, `dev`, ...), if it names one."""
    return SPLITS.get(name.strip().lower())


def need_split(word: str, where: str) -> Split:
    """As `split_of`. Raises DatasetError naming `where`."""
    split = split_of(word)
    if split is None:
        raise DatasetError(f"{where}: '{word}' is not a split{did_you_mean(word, SPLITS)}")
    return split


def is_clip(name: str) -> bool:
    """Whether a file name is that of a video or an image."""
    return Path(name).suffix.lower() in VIDEOS | IMAGES and not name.startswith(".")


def clean_label(text: str) -> str:
    """A label as one text: Unicode NFC, no blanks at the ends."""
    return unicodedata.normalize("NFC", text).strip()


def some(names: list[str], most: int = 3) -> str:
    """`a, b, c and 9 more`."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def _walk(
    path: Path, problems: list[Problem], where: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, Listing]]:
    try:
        state = path.stat()
    except OSError as error:
        problems.append(Problem(where or str(path), f"cannot be read: {error.strerror}"))
        return
    here = (state.st_dev, state.st_ino)
    if here in above:
        problems.append(Problem(where, "symbolic link to a folder above it: passed over"))
        return
    listing = look(path, problems, where)
    yield where, listing
    for name in listing.folders:
        yield from _walk(path / name, problems, f"{where}/{name}" if where else name, above | {here})


def _sort_in(entry: os.DirEntry[str], listing: Listing, problems: list[Problem], where: str) -> None:
    name = entry.name
    suffix = name[name.rfind(".") :].lower()
    if not name.isascii() and not _is_text(name):
        problems.append(Problem(where or ".", f"a name that is not UTF-8: {name!a}: passed over"))
        return
    if suffix in IMAGES and name[0] != "." and entry.is_file():
        listing.images.append(name)  # first, because most entries of a frame dataset are images
        return
    if name.startswith(".") or name.lower() in SYSTEM_NAMES:
        listing.hidden.append(name)
        return
    full = f"{where}/{name}" if where else name
    try:
        if entry.is_dir():
            listing.folders.append(name)
        elif entry.is_symlink() and not entry.is_file():
            problems.append(Problem(full, "dead symbolic link: passed over"))
        elif suffix in VIDEOS:
            _keep_video(entry, listing, problems, full)
        else:
            listing.others.append(name)
    except OSError as error:
        problems.append(Problem(full, f"cannot be read: {error.strerror}"))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding, which no list could name
        return False
    return True


def _keep_video(entry: os.DirEntry[str], listing: Listing, problems: list[Problem], full: str) -> None:
    if entry.stat().st_size == 0:
        problems.append(Problem(full, "empty file: passed over"))
    else:
        listing.videos.append(entry.name)
