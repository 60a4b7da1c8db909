"""DFER-CLIP (also Former-DFER): `<folder of frames> <number of frames> <label>`, no header.

annotation/DFEW_set_1_train.txt, annotation/FERV39K_train.txt, annotation/MAFW_set_1_train.txt
"""

from __future__ import annotations

from argen.dataset.clip import Clip
from argen.dataset.exporting.entry import Format, Lists, Target
from argen.dataset.exporting.lines import write_lines


def place(target: Target, clip: Clip, name: str) -> str:
    """Frames of a clip."""
    return f"frames/{name}"


def write(target: Target, lists: Lists) -> None:
    """One file a list."""
    start = f"{target.dataset}_" if target.layout == "ferv39k" else f"{target.dataset}_set_{target.fold}_"
    for name, entries in lists.items():
        rows = (f"{entry.at(target.prefix)} {entry.frames} {entry.number}" for entry in entries)
        write_lines(target.out / "annotation" / f"{start}{name}.txt", rows)


FORMAT = Format("dfer-clip", "frames", place, write)
