"""Read a folder of clips, whatever its layout, without decoding anything and without writing to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from argen.config import DatasetSettings
from argen.dataset import layouts
from argen.dataset.clip import Clip, Dataset, Problem
from argen.dataset.layouts.argen_output import run_fold
from argen.dataset.layouts.layout import Layout
from argen.dataset.subjects import refuse_shared_subjects, settle_subjects
from argen.errors import DatasetError


def read_dataset(path: Path, settings: DatasetSettings = DatasetSettings()) -> Dataset:  # noqa: B008 (frozen)
    """The clips of a folder, sorted by id; whatever was passed over is in `problems`.

    Raises DatasetError: no such folder, no such fold, no clips, no training clips, one label in two
    spellings, or a subject that is known to be in two splits.
    """
    root = _folder(Path(path))
    layout = layouts.recognise(root) if settings.layout == "auto" else layouts.by_name(settings.layout)
    _refuse_fold(root, layout, settings.fold)
    found = settle_subjects(layout.read(root, settings.fold), settings.subjects)
    clips = sorted((_licensed(clip, layout, settings) for clip in found.clips), key=lambda clip: clip.id)
    _check(root, clips, found.problems)
    if found.subjects_from != "clip" and layout.name != "argen":  # its source was checked as its run wished
        refuse_shared_subjects(clips)
    return Dataset(
        root, tuple(clips), layout.name, found.subjects_from, tuple(found.problems), layout.citation
    )


def _folder(path: Path) -> Path:
    root = path.expanduser()
    if root.is_file():
        raise DatasetError(f"{path}: a file; give the folder that holds the clips")
    if not root.is_dir():
        near = root.parent if root.parent.is_dir() else None
        hint = f"; there is {', '.join(sorted(p.name for p in near.iterdir())[:5])}" if near else ""
        raise DatasetError(f"{path}: no such folder{hint}")
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be listed: {error.strerror}") from error
    return root.resolve()


def _refuse_fold(root: Path, layout: Layout, fold: int) -> None:
    if layout.name == "argen":
        own = run_fold(root) or 1
        if fold not in {1, own}:
            raise DatasetError(f"dataset.fold: {root} was made in fold {own}, not {fold}; leave the fold out")
    elif fold > layout.folds == 1:
        raise DatasetError(f"dataset.fold: {layout.title} has one split, no fold {fold}; leave the fold out")
    elif fold > layout.folds:
        raise DatasetError(f"dataset.fold: {layout.title} has folds 1 to {layout.folds}, not {fold}")


def _licensed(clip: Clip, layout: Layout, settings: DatasetSettings) -> Clip:
    known = [name for name in (clip.licence, layout.licence, settings.licence) if name != "unknown"]
    licence = known[0] if known else "unknown"
    redistributable = clip.redistributable and layout.redistributable
    if (licence, redistributable) == (clip.licence, clip.redistributable):
        return clip
    return replace(clip, licence=licence, redistributable=redistributable)


def _check(root: Path, clips: Sequence[Clip], problems: Sequence[Problem]) -> None:
    if not clips:
        why = f": {problems[0].where}: {problems[0].what}" if problems else ""
        raise DatasetError(f"{root}: no clips could be read{why}")
    if not any(clip.split == "train" for clip in clips):
        splits = ", ".join(sorted({clip.split for clip in clips}))
        raise DatasetError(f"{root}: only {splits} clips; nothing is made without a train folder")
    _refuse_case_twins(root, clips)
    twice = [name for name, count in Counter(clip.id for clip in clips).items() if count > 1]
    if twice:
        raise DatasetError(f"{root}: {len(twice):,} clips share an id, such as '{twice[0]}'; rename one")


def _refuse_case_twins(root: Path, clips: Sequence[Clip]) -> None:
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        spellings[clip.label.casefold()][clip.label] += 1
    for counter in spellings.values():
        if len(counter) > 1:
            named = " and ".join(f"'{label}' ({count:,} clips)" for label, count in sorted(counter.items()))
            raise DatasetError(f"{root}: {named} differ only in case; rename one so that they are one class")
