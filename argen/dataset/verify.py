"""Is an output what it claims to be: every clip has a record, every record a clip, and nothing leaked."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from argen.config import Recipe
from argen.dataset.clip import Clip, Problem
from argen.dataset.fingerprint import file_hash
from argen.dataset.video import iter_frames
from argen.errors import DatasetError, UnreadableClip

SPLITS = ("train", "val", "test")
PROVENANCE = ("source", "seed", "recipe_hash", "licence", "split", "reader", "made_by", "caption")
MARK = b"SYNTHETIC"  # what every synthetic file says in its own metadata

Row = Mapping[str, Any]
FindWeights = Callable[[str, str], bool]
"""Whether weights of this file name and sha256 are at hand."""


def verify_output(
    out: Path, *, decode: bool = True, find_weights: FindWeights | None = None
) -> list[Problem]:
    """Everything that is wrong with an output; an empty list means that it is sound.

    `decode` reads every frame of every synthetic clip. Raises DatasetError if the folder is no output of
    ARGen.
    """
    if not (out / "run.json").is_file():
        raise DatasetError(f"{out}: no run.json in it, so it is no output of ARGen")
    problems: list[Problem] = []
    run = _object(out / "run.json", problems)
    records = _rows(out / "manifest.jsonl", problems)
    tables = {split: _rows(out / split / "metadata.jsonl", problems, needed=False) for split in SPLITS}
    for check in (
        _each_record_has_its_file(out, records, decode),
        _each_record_is_complete(out, run, records),
        _each_file_has_its_record(out, records),
        _tables_agree(out, records, tables),
        _nothing_is_held_out(out, tables),
        _source_allows(out, records),
        _recipe_resolves(run, find_weights),
        _nothing_is_left_over(out),
    ):
        problems += check
    return problems


def _object(path: Path, problems: list[Problem]) -> Row:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(Problem(path.name, f"cannot be read: {error}"))
        return {}
    return held if isinstance(held, dict) else {}


def _rows(path: Path, problems: list[Problem], *, needed: bool = True) -> list[Row]:
    if not path.is_file():
        if needed:
            problems.append(Problem(path.name, "missing; run the same command again to write it"))
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        problems.append(Problem(f"{path.parent.name}/{path.name}", f"cannot be read: {error}"))
        return []
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append(row if isinstance(row, dict) else {})
        except ValueError as error:
            problems.append(Problem(f"{path.parent.name}/{path.name}:{number}", f"not JSON: {error}"))
    return rows


def _each_record_has_its_file(out: Path, records: Iterable[Row], decode: bool) -> Iterator[Problem]:
    for record in records:
        name = str(record.get("file_name", ""))
        status = record.get("status")
        if not name:
            if status == "kept":
                yield Problem(str(record.get("id")), "kept, but its record names no file")
            continue
        if not _inside(out, name):
            yield Problem(name, "leads out of the output")
        elif not (out / name).is_file():
            yield Problem(name, f"{status}, but the file is missing")
        else:
            yield from _file_is_sound(out / name, name, record, decode and status == "kept")


def _file_is_sound(path: Path, name: str, record: Row, decode: bool) -> Iterator[Problem]:
    if record.get("sha256") != file_hash(path):
        yield Problem(name, "its bytes are not those that were recorded (sha256 differs)")
        return
    if MARK not in path.read_bytes():
        yield Problem(name, "does not say in its own metadata that it is synthetic")
    if decode:
        try:
            frames = sum(1 for _ in iter_frames(Clip(name, "", "train", path, "video", "")))
        except UnreadableClip as error:
            yield Problem(name, str(error))
        else:
            if frames == 0:
                yield Problem(name, "no frames in it")


def _each_record_is_complete(out: Path, run: Row, records: Iterable[Row]) -> Iterator[Problem]:
    recipe_hash = run.get("recipe_hash")
    twice = Counter(str(record.get("id")) for record in records)
    yield from (Problem(name, f"{n} records of one job") for name, n in twice.items() if n > 1)
    for record in records:
        name = str(record.get("id"))
        lacking = [field for field in PROVENANCE if record.get(field) in (None, "", {})]
        if record.get("status") == "kept" and lacking:
            yield Problem(name, f"its record lacks {', '.join(lacking)}")
        if record.get("status") != "kept" and not record.get("reason"):
            yield Problem(name, f"{record.get('status')} without a reason")
        if recipe_hash and record.get("recipe_hash") not in (recipe_hash, "", None):
            yield Problem(name, f"made by recipe {record['recipe_hash']}, but this run's is {recipe_hash}")
        if record.get("split") != "train":
            yield Problem(name, f"a synthetic clip of the {record.get('split')} split")


def _each_file_has_its_record(out: Path, records: Iterable[Row]) -> Iterator[Problem]:
    named = {str(record.get("file_name")) for record in records}
    for folder in (*SPLITS, "dropped"):
        for path in sorted((out / folder).rglob("syn_*")):
            name = path.relative_to(out).as_posix()
            if folder in {"val", "test"}:
                yield Problem(name, "a synthetic clip outside train")
            elif name not in named and not name.endswith(".part"):
                yield Problem(name, "a synthetic clip without a record")


def _tables_agree(out: Path, records: Iterable[Row], tables: Mapping[str, list[Row]]) -> Iterator[Problem]:
    kept = {str(r.get("file_name")): r for r in records if r.get("status") == "kept"}
    listed = {f"train/{row.get('file_name')}": row for row in tables["train"] if row.get("synthetic")}
    for name in sorted(kept.keys() - listed.keys()):
        yield Problem(name, "kept, but not in train/metadata.jsonl")
    for name in sorted(listed.keys() - kept.keys()):
        yield Problem(name, "in train/metadata.jsonl as synthetic, but no record keeps it")
    for name in sorted(kept.keys() & listed.keys()):
        if kept[name].get("label") != listed[name].get("label"):
            yield Problem(name, "has one label in its record and another in train/metadata.jsonl")
    for split, rows in tables.items():
        missing = [str(row.get("file_name")) for row in rows if not _listed(out / split, row)]
        yield from (Problem(f"{split}/{name}", "listed in metadata.jsonl, but missing") for name in missing)
        twice = [name for name, n in Counter(str(row.get("file_name")) for row in rows).items() if n > 1]
        yield from (Problem(f"{split}/{name}", "listed twice in metadata.jsonl") for name in twice)


def _nothing_is_held_out(out: Path, tables: Mapping[str, list[Row]]) -> Iterator[Problem]:
    for split in ("val", "test"):
        for row in tables[split]:
            if row.get("synthetic"):
                yield Problem(f"{split}/{row.get('file_name')}", "a synthetic clip outside train")


def _source_allows(out: Path, records: Iterable[Row]) -> Iterator[Problem]:
    """Every source was a training clip when the run began."""
    ignored: list[Problem] = []
    listing = _object(out / "manifest" / "source.json", ignored)
    if ignored:
        yield Problem("manifest/source.json", "cannot be read: which clips were for training is not known")
        return
    for record in records:
        described = str(listing.get(str(record.get("source")), ""))
        split = described.split("|")[1] if described.count("|") >= 2 else ""
        if not described:
            yield Problem(
                str(record.get("id")), f"its source '{record.get('source')}' was not in the dataset"
            )
        elif split != "train":
            yield Problem(str(record.get("id")), f"its source '{record.get('source')}' was a {split} clip")


def _recipe_resolves(run: Row, find_weights: FindWeights | None) -> Iterator[Problem]:
    try:
        recipe = Recipe.model_validate(run.get("recipe", {}))
    except ValidationError as error:
        first = error.errors()[0]
        yield Problem("run.json", f"its recipe is no longer valid: {first['loc']}: {first['msg']}")
        return
    stored = json.dumps(
        run.get("recipe", {}), sort_keys=True
    )  # as stored: settings may have been added since
    made = hashlib.sha256(stored.encode()).hexdigest()[:12]
    if made != run.get("recipe_hash"):
        yield Problem("run.json", f"its recipe was edited: it hashes to {made}, not {run.get('recipe_hash')}")
    for path in (recipe.generate.adapter, recipe.face.landmarker, recipe.face.weights):
        if path is not None and not path.exists():
            yield Problem("run.json", f"{path}: named by the recipe, but no longer there")
    if find_weights is not None:
        weights = run.get("models", {}).get("reader", {}).get("weights", {})
        for name, sha256 in weights.items():
            if not find_weights(name, sha256):
                yield Problem("run.json", f"{name}: the weights of this run are not at hand ({sha256[:12]})")


def _nothing_is_left_over(out: Path) -> Iterator[Problem]:
    for path in sorted(out.rglob("*.part")):
        yield Problem(path.relative_to(out).as_posix(), "left over; run the same command again to finish")


def _inside(out: Path, name: str) -> bool:
    return out.resolve() in (out / name).resolve().parents


def _listed(folder: Path, row: Row) -> bool:
    name = str(row.get("file_name", ""))
    return bool(name) and _inside(folder, name) and (folder / name).exists()
