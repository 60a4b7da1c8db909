"""Export a dataset to a codebase of the field: media where it looks for them, lists as it reads them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from argen.dataset.clip import Clip, Dataset, Problem
from argen.dataset.exporting import (
    claip_emo,
    csv_table,
    dfer_clip,
    mae_dfer,
    s2d,
    videofolder,
    videomae,
    webdataset,
)
from argen.dataset.exporting.entry import Entry, Format, ListName, Target
from argen.dataset.exporting.gather import refuse_leaks
from argen.dataset.exporting.lines import write_lines
from argen.dataset.exporting.media import Crop, link, put_frames, put_video
from argen.dataset.exporting.names import safe, twins
from argen.dataset.exporting.orders import numbering
from argen.dataset.exporting.owners import claim, owner_of
from argen.dataset.stills import frame_names
from argen.errors import EnvironmentFault, UnreadableClip, UsageError, did_you_mean

FORMATS: tuple[Format, ...] = (
    dfer_clip.FORMAT,
    mae_dfer.FORMAT,
    s2d.S2D,
    s2d.S4D,
    claip_emo.FORMAT,
    videomae.FORMAT,
    csv_table.FORMAT,
    videofolder.FORMAT,
    webdataset.FORMAT,
)
TITLES = {"dfew": "DFEW", "ferv39k": "FERV39K", "mafw": "MAFW"}
SPACED = frozenset({"dfer-clip", "mae-dfer", "claip-emo", "videomae"})  # lists whose separator is a blank
RECORD = "export.json"


@dataclass(frozen=True)
class Exported:
    """What an export has come to."""

    out: Path
    labels: Mapping[str, int]
    counts: Mapping[ListName, int]
    problems: tuple[Problem, ...]


def export(
    dataset: Dataset,
    out: Path,
    codebase: str,
    *,
    fold: int = 1,
    prefix: str | None = None,
    crop: Crop | None = None,
    size: int = 0,
    silence: bool = False,
    train_on_val: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write media and lists; running it again goes on where it stopped, or takes in what has come since.

    `prefix` stands before the paths in lists (the export's own place if None, where a codebase wants whole
    paths). `size` only says what `crop` makes, for the record. Raises UsageError, DatasetError,
    EnvironmentFault.
    """
    form = format_named(codebase)
    _refuse_idle(form, prefix, silence)
    refuse_leaks(dataset.clips)
    prefix = prefix if prefix is not None else str(out.resolve()) if form.absolute else ""
    if codebase in SPACED and any(c.isspace() for c in prefix):
        raise UsageError(f"{prefix}: {codebase} separates its columns by blanks; choose a place without any")
    title = TITLES.get(dataset.layout, safe(dataset.root.name))
    target = Target(out, dataset.layout, title, fold, prefix)
    numbers = numbering(codebase, dataset.layout, (clip.label for clip in dataset.clips))
    settings = {
        "format": codebase, "dataset": target.dataset, "fold": fold, "prefix": prefix, "size": size,
        "train_on_val": train_on_val, "silence": silence, "labels": numbers,
    }  # fmt: skip
    _begin(out, dataset, settings)
    # before anything is placed: a format may lay clips out by split, or write it in a column
    clips = [_for_training(clip) for clip in dataset.clips] if train_on_val else dataset.clips
    problems: list[Problem] = []
    try:
        entries = _place_all(clips, target, form, numbers, crop=crop, problems=problems, progress=progress)
        if form.name == "claip-emo":
            entries = _with_sound(target, entries, silence, problems)
        lists = _sort_into_lists(entries)
        form.write(target, lists)
        counts = {name: len(rows) for name, rows in lists.items()}
        _finish(out, dataset, settings, counts, problems)
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or out}: cannot be written: {error.strerror}") from error
    return Exported(out, numbers, counts, tuple(problems))


def format_named(name: str) -> Format:
    """A format. Raises UsageError with the names that exist."""
    known = {form.name: form for form in FORMATS}
    if name not in known:
        raise UsageError(f"--format: no '{name}'{did_you_mean(name, known)}")
    return known[name]


def _refuse_idle(form: Format, prefix: str | None, silence: bool) -> None:
    """An option that a format has no use for was meant for something that would not happen."""
    if prefix and not form.prefixed:
        raise UsageError(f"--prefix: lists of {form.name} hold no prefix; leave it out")
    if silence and form.name != "claip-emo":
        raise UsageError(f"--silence: {form.name} has no sound, only claip-emo; leave it out")


def _begin(out: Path, dataset: Dataset, settings: Mapping[str, Any]) -> None:
    if out.resolve() == dataset.root or dataset.root in out.resolve().parents:
        raise UsageError(f"{out}: lies inside {dataset.root}; an export goes beside its source, not into it")
    record = out / RECORD
    if record.is_file():
        before = _read_record(record)
        changed = [key for key, value in settings.items() if before.get(key) != value]
        if changed:
            raise UsageError(f"{out}: was exported with another {', '.join(changed)}; choose another folder")
    elif out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a folder for the export")
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: is not empty and no export of ARGen; choose another folder")
    try:
        write_lines(record, [json.dumps({**settings, "finished": False}, ensure_ascii=False, indent=1)])
    except OSError as error:
        raise EnvironmentFault(f"{out}: cannot be written: {error.strerror}") from error


def _read_record(path: Path) -> dict[str, object]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise UsageError(f"{path}: is damaged; delete the folder, or choose another")
    return record


def _place_all(
    clips: Sequence[Clip],
    target: Target,
    form: Format,
    numbers: Mapping[str, int],
    *,
    crop: Crop | None,
    problems: list[Problem],
    progress: Callable[[int, int], None],
) -> list[Entry]:
    names = form.names(clips)
    same = twins(names.values())
    if same:
        raise UsageError(f"{form.name}: two clips would be called '{same[0]}'; rename one")
    paths = {clip.id: form.place(target, clip, names[clip.id]) for clip in clips}
    claim(target.out, _owners(clips, target, form, names, paths))
    entries = []
    for done, clip in enumerate(clips, 1):
        path = paths[clip.id]
        try:
            frames = _put(clip, target.out / path, form, form.suffix(target), crop)
            entries.append(Entry(clip, names[clip.id], path, numbers[clip.label], frames))
        except UnreadableClip as error:
            problems.append(Problem(clip.id, f"left out: {error}"))
        progress(done, len(clips))
    return entries


def _owners(
    clips: Sequence[Clip], target: Target, form: Format, names: Mapping[str, str], paths: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    owners = {}
    for clip in clips:
        owners[paths[clip.id]] = owner_of(clip)
        if form.name == "claip-emo":
            owners[claip_emo.sound_path(target, names[clip.id])] = owners[paths[clip.id]]
    return owners


def _put(clip: Clip, path: Path, form: Format, suffix: str, crop: Crop | None) -> int:
    if form.media == "frames" or (form.media == "as they are" and clip.kind == "frames"):
        return put_frames(clip, path, suffix if form.media == "frames" else _own_suffix(clip), crop)
    if form.media == "as they are" and clip.kind == "image":
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            link(clip.path, str(path))
        return 0
    put_video(clip, path, crop)
    return 0


def _own_suffix(clip: Clip) -> str:
    name = min(frame_names(clip))
    return name[name.rfind(".") :].lower().replace(".jpeg", ".jpg")


def _with_sound(
    target: Target, entries: Sequence[Entry], silence: bool, problems: list[Problem]
) -> list[Entry]:
    """The entries that have sound now; the others are in no list, and in no count."""
    heard = []
    silent = 0
    for entry in entries:
        path = target.out / claip_emo.sound_path(target, entry.name)
        try:
            if claip_emo.put_sound(entry.clip, path, silence):
                heard.append(entry)
            else:
                silent += 1
        except UnreadableClip as error:
            problems.append(Problem(entry.clip.id, f"left out: {error}"))
    if silent:
        what = f"{silent:,} clips have no sound and are in no list; silence can be asked for"
        problems.append(Problem("sound", what))
    return heard


def _for_training(clip: Clip) -> Clip:
    return replace(clip, split="train") if clip.split == "val" else clip


def _sort_into_lists(entries: Sequence[Entry]) -> dict[ListName, list[Entry]]:
    lists: dict[ListName, list[Entry]] = {
        "train": [], "train_real": [], "train_synthetic": [], "val": [], "test": [],
    }  # fmt: skip
    for entry in entries:
        lists[entry.clip.split].append(entry)
        if entry.clip.split == "train":
            lists["train_synthetic" if entry.clip.synthetic else "train_real"].append(entry)
    return lists


def _finish(
    out: Path,
    dataset: Dataset,
    settings: Mapping[str, Any],
    counts: Mapping[ListName, int],
    problems: Sequence[Problem],
) -> None:
    closed = Counter(clip.licence for clip in dataset.clips if not clip.redistributable)
    record = {
        **settings,
        "finished": True,
        "synthetic": "clips of the train_synthetic list were made by ARGen; no other list holds any",
        "counts": dict(counts),
        "not_redistributable": dict(closed),
        "citation": dataset.citation,
        "problems": [asdict(problem) for problem in problems],
    }
    write_lines(out / RECORD, [json.dumps(record, ensure_ascii=False, indent=1)])
