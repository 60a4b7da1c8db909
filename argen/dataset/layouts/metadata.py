"""A folder with metadata.jsonl or metadata.csv, as Hugging Face's VideoFolder; also ARGen's own output.

The file lies in the root or in each split's folder. Columns: `file_name` (below the metadata file) and
`label`; optional `split`, `subject`, `licence`, `synthetic`. Any other column is kept in `Clip.extra`.
Without `split`, a folder above the clip that is called train, val or test says it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from argen.dataset.clip import Clip, Kind, Problem, Split
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline
from argen.dataset.lists import read_text
from argen.dataset.stills import is_image
from argen.dataset.tree import clean_label, look, need_split, some, split_of, walk
from argen.errors import DatasetError, did_you_mean

FILES = ("metadata.jsonl", "metadata.csv")
OWN = frozenset({"file_name", "label", "split", "subject", "licence", "license", "redistributable"})


def recognise(top: Outline) -> bool:
    """A metadata file in the root or in a split's folder."""
    places = ["", *(name for name in top.folders[""] if split_of(name))]
    return any(name in top.files.get(place, ()) for place in places for name in FILES)


def read(root: Path, fold: int = 1, *, redistributable: bool = True) -> Found:
    """Every row whose file exists. Raises DatasetError for rows that cannot be meant.

    `redistributable` is what holds where a row does not say.
    """
    found = Found()
    rows: dict[str, tuple[str, str]] = {}
    subjects = 0
    for file, split in _metadata_files(root):
        missing: list[str] = []
        for where, row in table_rows(file):
            clip = _clip(root, file, where, row, split=split, missing=missing)
            if clip is not None and _is_new(clip, where, rows, found):
                free = clip.redistributable if row.get("redistributable") else redistributable
                found.clips.append(replace(clip, redistributable=free))
                subjects += bool(row.get("subject"))
        if missing:
            found.problems.append(Problem(file.name, f"{len(missing):,} listed but absent: {some(missing)}"))
        _find_unlisted(root, file, found)
    if subjects:
        found.subjects_from = "column"
    if subjects and subjects < len(found.clips):
        lacking = len(found.clips) - subjects
        found.problems.append(Problem("subject", f"{lacking:,} rows name nobody: each clip its own subject"))
    return found


def _metadata_files(root: Path) -> list[tuple[Path, Split | None]]:
    places: list[tuple[Path, Split | None]] = [(root, None)]
    places += [(root / name, split_of(name)) for name in look(root).folders if split_of(name)]
    return [(folder / name, split) for folder, split in places for name in FILES if (folder / name).is_file()]


def table_rows(file: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every row of a metadata file as texts, with its file and line. Raises DatasetError."""
    text = read_text(file)
    if file.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text))
        for row in reader:
            yield f"{file}:{reader.line_num}", {k: v for k, v in row.items() if k and isinstance(v, str)}
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{file}:{number}", _json_row(line, f"{file}:{number}")


def _json_row(line: str, where: str) -> Mapping[str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: a row is an object with file_name and label")
    return {key: _as_text(value) for key, value in row.items() if value is not None}


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _clip(
    root: Path, file: Path, where: str, row: Mapping[str, str], *, split: Split | None, missing: list[str]
) -> Clip | None:
    for key in ("file_name", "label"):
        if not row.get(key, "").strip():
            raise DatasetError(f"{where}: no '{key}'{did_you_mean(key, row)}")
    inside = _inside(row["file_name"], where)
    path = file.parent / inside
    if not path.exists():
        missing.append(str(inside))
        return None
    kind: Kind = "frames" if path.is_dir() else "image" if is_image(path.name) else "video"
    below = path.relative_to(root)
    name = (below if kind == "frames" else below.with_suffix("")).as_posix()
    named = need_split(row["split"], where) if row.get("split") else None
    return Clip(
        name,
        clean_label(row["label"]),
        named or split or _split_above(below, where) or "train",
        path,
        kind,
        row.get("subject") or name,
        row.get("licence") or row.get("license") or "unknown",
        row.get("redistributable", "true").lower() != "false",
        extra=MappingProxyType(extra_of(row)),
    )


def _split_above(below: Path, where: str) -> Split | None:
    """The split that the folders above a clip name, if any does. Raises DatasetError if two disagree."""
    names = {named: part for part in below.parts[:-1] if (named := split_of(part))}
    if len(names) > 1:
        both = " and ".join(f"'{name}'" for name in names.values())
        raise DatasetError(f"{where}: '{below.as_posix()}' lies below {both}; say which in a column 'split'")
    return next(iter(names), None)


def extra_of(row: Mapping[str, str]) -> dict[str, str]:
    """The columns that a clip has no place for."""
    extra = {key: value for key, value in row.items() if key not in OWN}
    if "synthetic" in extra:
        extra["synthetic"] = "true" if extra["synthetic"].strip().lower() in {"true", "1", "yes"} else "false"
    return extra


def _inside(file_name: str, where: str) -> PurePosixPath:
    path = PurePosixPath(file_name.strip().replace("\\", "/"))
    drive = len(path.parts[0]) == 2 and path.parts[0].endswith(":") if path.parts else False
    if path.is_absolute() or drive:
        raise DatasetError(
            f"{where}: '{file_name}' is an absolute path; write it relative to the metadata file"
        )
    if ".." in path.parts:
        raise DatasetError(f"{where}: '{file_name}' leads out of the dataset; '..' is refused")
    return path


def _is_new(clip: Clip, where: str, rows: dict[str, tuple[str, str]], found: Found) -> bool:
    label, earlier = rows.setdefault(clip.path.as_posix(), (clip.label, where))
    if earlier == where:
        return True
    if label != clip.label:
        raise DatasetError(
            f"{where}: '{clip.id}' is '{clip.label}' here and '{label}' at {earlier}; keep one"
        )
    found.problems.append(Problem(clip.id, f"listed twice: {where}"))
    return False


def _find_unlisted(root: Path, file: Path, found: Found) -> None:
    listed = {clip.path for clip in found.clips if clip.kind != "frames"}
    strays: list[str] = []
    ignored: list[Problem] = []
    for _, listing in walk(file.parent, ignored):
        if listing.path != file.parent and any((listing.path / name).is_file() for name in FILES):
            continue
        strays += [name for name in listing.videos if listing.path / name not in listed]
    found.problems += ignored
    if strays:
        where = file.parent.relative_to(root).as_posix()
        found.problems.append(
            Problem(where, f"{len(strays):,} videos in no row of {file.name}: {some(strays)}")
        )


LAYOUT = Layout("metadata", recognise, read, title="a folder with metadata.jsonl or metadata.csv")
