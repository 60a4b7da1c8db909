"""Hugging Face VideoFolder: `train/<label>/<name>.mp4` and a `metadata.jsonl` per split."""

from __future__ import annotations

import json

from argen.dataset.clip import Clip
from argen.dataset.exporting.entry import Entry, Format, Lists, Target
from argen.dataset.exporting.lines import write_lines
from argen.dataset.exporting.names import folder_name


def place(target: Target, clip: Clip, name: str) -> str:
    """Video of a clip below its split and class."""
    return f"{clip.split}/{folder_name(clip.label)}/{name.replace('/', '_')}.mp4"


def write(target: Target, lists: Lists) -> None:
    """`metadata.jsonl` in each split; the lists of names beside them."""
    for split in ("train", "val", "test"):
        if lists[split]:
            write_lines(target.out / split / "metadata.jsonl", (_row(entry, split) for entry in lists[split]))
    for name, entries in lists.items():
        write_lines(target.out / "lists" / f"{name}.txt", (entry.path for entry in entries))


def _row(entry: Entry, split: str) -> str:
    clip = entry.clip
    row = {
        "file_name": entry.path.removeprefix(f"{split}/"),
        "label": clip.label,
        "label_id": entry.number,
        "synthetic": clip.synthetic,
        "subject": clip.subject,
        "source": clip.extra.get("source", clip.id),
        "split": split,
        "licence": clip.licence,
        "redistributable": clip.redistributable,
        "caption": clip.extra.get("caption", ""),
    }
    return json.dumps(row, ensure_ascii=False)


FORMAT = Format("videofolder", "videos", place, write, prefixed=False, absolute=False)
