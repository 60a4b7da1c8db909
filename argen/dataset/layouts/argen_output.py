"""ARGen's own output: real clips beside synthetic ones, the latter marked by their metadata rows.

The rows of `metadata.jsonl` are read as any metadata; real frame folders and stills, which VideoFolder's
tables cannot name, are found on disk by their class folder, and `manifest/real.jsonl` says whose they are and
what may be done with them. Where nothing says that a clip may be handed on, it may not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from argen.dataset.clip import Clip
from argen.dataset.layouts import folder, metadata
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline, outline
from argen.dataset.tree import look, split_of


def recognise(top: Outline) -> bool:
    """`run.json` beside the journals."""
    return "run.json" in top.files[""] and "manifest" in top.folders[""]


def read(root: Path, fold: int = 1) -> Found:
    """Rows of the tables, then what only the folders know."""
    tables = metadata.recognise(outline(root))
    found = metadata.read(root, fold, redistributable=False) if tables else Found()
    found.problems = [problem for problem in found.problems if "in no row of" not in problem.what]
    listed = {clip.path for clip in found.clips}
    on_disk = Found()
    for name in look(root).folders:
        if split_of(name):
            folder.read_split(root, name, on_disk)
    rows = _real_rows(root)
    unlisted = [clip for clip in on_disk.clips if clip.path not in listed]
    described = [rows.get(clip.path.relative_to(root).as_posix(), {}) for clip in unlisted]
    found.clips += [_described(clip, row) for clip, row in zip(unlisted, described, strict=True)]
    found.problems += on_disk.problems
    if any(row.get("subject") for row in described):
        found.subjects_from = "column"
    if _told(root, "source", "subjects_from") == "clip":  # the column then holds the sources' own names
        found.subjects_from = "clip"
    return found


def run_fold(path: Path) -> int | None:
    """The fold that an output of ARGen was made in; None for any other folder."""
    fold = _told(path, "recipe", "dataset", "fold")
    return fold if isinstance(fold, int) else None


def _told(path: Path, *keys: str) -> object:
    """What run.json says under some keys; None where it says nothing."""
    try:
        found = json.loads((path / "run.json").read_text(encoding="utf-8"))
        for key in keys:
            found = found[key]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def _real_rows(root: Path) -> dict[str, Mapping[str, str]]:
    """What the run knew of each real clip, by its name below the output."""
    file = root / "manifest" / "real.jsonl"
    return {row.get("file_name", ""): row for _, row in metadata.table_rows(file)} if file.is_file() else {}


def _described(clip: Clip, row: Mapping[str, str]) -> Clip:
    extra = metadata.extra_of(row)
    if clip.path.name.startswith("syn_"):
        extra["synthetic"] = "true"
    return replace(
        clip,
        label=unquote(clip.label),
        subject=row.get("subject") or clip.subject,
        licence=row.get("licence") or clip.licence,
        redistributable=row.get("redistributable") == "true",
        extra=extra,
    )


LAYOUT = Layout("argen", recognise, read, title="an output of ARGen")
