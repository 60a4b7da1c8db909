"""ARGen's own output: real clips beside synthetic ones, the latter marked by their metadata rows.

The rows of `metadata.jsonl` are read as any metadata; real frame folders and stills, which VideoFolder's
tables cannot name, are found on disk by their class folder.
"""

from __future__ import annotations

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
    found = metadata.read(root, fold) if metadata.recognise(outline(root)) else Found()
    found.problems = [problem for problem in found.problems if "in no row of" not in problem.what]
    listed = {clip.path for clip in found.clips}
    on_disk = Found()
    for name in look(root).folders:
        if split_of(name):
            folder.read_split(root, name, on_disk)
    found.clips += [_named(clip) for clip in on_disk.clips if clip.path not in listed]
    found.problems += on_disk.problems
    return found


def _named(clip: Clip) -> Clip:
    synthetic = clip.path.name.startswith("syn_")
    extra = {"synthetic": "true"} if synthetic else {}
    return replace(clip, label=unquote(clip.label), extra=extra)


LAYOUT = Layout("argen", recognise, read, title="an output of ARGen")
