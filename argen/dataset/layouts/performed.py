"""What the laboratory datasets share: clips named by who performs what, in a tree of known depth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from argen.dataset.clip import Clip, Problem
from argen.dataset.layouts.layout import Found
from argen.dataset.layouts.listed import Media
from argen.dataset.layouts.splits import subject_folds
from argen.dataset.tree import some, walk

Described = tuple[str, str, Mapping[str, str]]  # label, subject, extra


def collect(root: Path, home: Path, describe: Callable[[str], Described | None]) -> Found:
    """Every video or frame folder below `home` that `describe` knows by its path below `home`.

    What it does not know is counted in one problem.
    """
    found = Found(subjects_from="layout")
    unknown: list[str] = []
    start = home.relative_to(root).as_posix() if home != root else ""
    for where, listing in walk(home, found.problems, start):
        held = [
            Media(f"{where}/{name}" if where else name, listing.path / name, "video")
            for name in listing.videos
        ]
        if listing.images and where != start:
            held.append(Media(where, listing.path, "frames"))
        for media in held:
            below = media.path.relative_to(home)
            described = describe((below if media.kind == "frames" else below.with_suffix("")).as_posix())
            if described is None:
                unknown.append(media.name)
            else:
                found.clips.append(performed_clip(root, media, described))
    if unknown:
        found.problems.append(Problem("names", f"{len(unknown):,} clips passed over: {some(unknown)}"))
    return found


def performed_clip(root: Path, media: Media, described: Described) -> Clip:
    """The clip of a described path, in train."""
    label, subject, extra = described
    below = media.path.relative_to(root)
    name = (below if media.kind == "frames" else below.with_suffix("")).as_posix()
    return Clip(name, label, "train", media.path, media.kind, subject, extra=MappingProxyType(dict(extra)))


def by_pattern(pattern: str, labels: Mapping[str, str]) -> Callable[[str], Described | None]:
    """A describer: groups `subject` and `emotion` (looked up in `labels`), other named groups as extra."""
    compiled = re.compile(pattern, re.IGNORECASE)
    known = {key.lower(): label for key, label in labels.items()}

    def describe(name: str) -> Described | None:
        matched = compiled.fullmatch(name)
        if not matched or matched["emotion"].lower() not in known:
            return None
        extra = {k: v for k, v in matched.groupdict().items() if k not in {"subject", "emotion"} and v}
        return known[matched["emotion"].lower()], matched["subject"], extra

    return describe


def with_folds(found: Found, fold: int, folds: int, *, blocks: bool = False) -> Found:
    """Give the clips subject-disjoint splits, and say that they are ours."""
    found.clips = subject_folds(found.clips, fold, folds, blocks=blocks)
    if any(clip.split == "test" for clip in found.clips):
        what = f"no official split: fold {fold} of {folds}, no subject in two splits (ours)"
    else:
        what = f"no official split, and too few subjects for {folds} folds: all clips are for training"
    found.problems.append(Problem("splits", what))
    return found
