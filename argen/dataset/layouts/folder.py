"""A folder per class, with or without train, val and test above; videos, frame folders, stills.

ROOT/[train|val|test/]<class>/[.../]clip.mp4       a video
ROOT/[train|val|test/]<class>/[.../]clip/001.jpg   a folder of frames
ROOT/[train|val|test/]<class>/photo.jpg            a still: a clip of one frame
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from argen.dataset.clip import Clip, Kind, Problem, Split
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline
from argen.dataset.stills import natural
from argen.dataset.tree import Listing, clean_label, is_clip, look, some, split_of, walk
from argen.errors import DatasetError

TABLES = frozenset({"metadata.jsonl", "metadata.csv", "README.md"})


def recognise(top: Outline) -> bool:
    """Any folder with folders or clips in it; this is the layout of last resort."""
    return bool(top.folders[""]) or any(is_clip(name) for name in top.files[""])


def read(root: Path, fold: int = 1) -> Found:
    """Every clip below the root. Raises DatasetError when clips lie where no class can be told."""
    found = Found()
    top = look(root, found.problems)
    _complain(top, ".", found.problems)
    if not top.folders and (top.videos or top.images):
        raise DatasetError(f"{root}: clips lie in the folder itself; put them in one folder per class")
    if not any(split_of(name) for name in top.folders):
        for name in top.folders:
            _read_class(root, name, name, "train", found)
        return found
    for name in top.folders:
        if not split_of(name):
            found.problems.append(Problem(name, "beside train, val and test: passed over"))
            continue
        read_split(root, name, found)
    return found


def read_split(root: Path, name: str, found: Found) -> None:
    """Add the clips of one split's folder."""
    inside = look(root / name, found.problems, name)
    _complain(inside, name, found.problems)
    for label in inside.folders:
        _read_class(root, f"{name}/{label}", label, split_of(name) or "train", found)


def _read_class(root: Path, where: str, label: str, split: Split, found: Found) -> None:
    before = len(found.clips)
    _refuse_splits_inside(root, where)
    for below, listing in walk(root / where, found.problems, where):
        if listing.images and below != where:
            found.clips.append(new_clip(root, below, label, split, "frames"))
            if not (listing.videos or listing.others):
                continue
        stills = sorted(listing.images, key=natural) if below == where else []
        stems = Counter(Path(name).stem for name in (*listing.videos, *stills))
        for name in (*listing.videos, *stills):
            kind: Kind = "image" if name in stills else "video"
            plain = stems[Path(name).stem] == 1  # twins that differ in suffix alone keep it in their ids
            found.clips.append(new_clip(root, f"{below}/{name}", label, split, kind, plain=plain))
        if listing.others:
            found.problems.append(Problem(below, f"not video or image: {some(listing.others)}"))
    if len(found.clips) == before:
        found.problems.append(Problem(where, "no clips in it"))


def _refuse_splits_inside(root: Path, where: str) -> None:
    """A class that holds train and test is no class; taking it for one would train on the test clips."""
    inside = [name for name in look(root / where).folders if split_of(name)]
    if len({split_of(name) for name in inside}) > 1:
        raise DatasetError(
            f"{root / where}: holds {' and '.join(inside)}: give that folder as the dataset, "
            "or put the splits above the classes"
        )


def new_clip(root: Path, below: str, label: str, split: Split, kind: Kind, *, plain: bool = True) -> Clip:
    """A clip whose id is its path below the root, without the suffix of a file where `plain`."""
    cut = kind != "frames" and plain
    name = below.rsplit(".", 1)[0] if cut else below
    return Clip(name, clean_label(label), split, root / below, kind, subject=name)


def _complain(listing: Listing, where: str, problems: list[Problem]) -> None:
    strays = [*listing.videos, *listing.images]
    if strays:
        problems.append(Problem(where, f"outside any class: {some(strays)}"))
    others = [name for name in listing.others if name not in TABLES]
    if others:
        problems.append(Problem(where, f"not video or image: {some(others)}"))


LAYOUT = Layout("folder", recognise, read, title="a folder per class")
