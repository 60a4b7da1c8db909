"""VideoMAE and pytorchvideo: `<video> <label>`, no header, `train.csv`, `val.csv`, `test.csv`."""

from __future__ import annotations

from argen.dataset.clip import Clip
from argen.dataset.exporting.entry import Format, Lists, Target
from argen.dataset.exporting.lines import write_lines


def place(target: Target, clip: Clip, name: str) -> str:
    """Video of a clip."""
    return f"videos/{name}.mp4"


def write(target: Target, lists: Lists) -> None:
    """One file a list."""
    for name, entries in lists.items():
        rows = (f"{entry.at(target.prefix)} {entry.number}" for entry in entries)
        write_lines(target.out / f"{name}.csv", rows)


FORMAT = Format("videomae", "videos", place, write)
