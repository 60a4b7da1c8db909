"""MAE-DFER (of VideoMAE's lineage): `<folder of frames> <label>`, no header.

saved/data/dfew/org/split01/{train,val,test}.csv
"""

from __future__ import annotations

from argen.dataset.clip import Clip
from argen.dataset.exporting.entry import Format, Lists, Target
from argen.dataset.exporting.lines import write_lines

FOLDERS = {"dfew": "dfew/org", "ferv39k": "ferv39k/all_scenes", "mafw": "mafw/single"}


def place(target: Target, clip: Clip, name: str) -> str:
    """Frames of a clip."""
    return f"frames/{name}"


def write(target: Target, lists: Lists) -> None:
    """One file a list."""
    below = FOLDERS.get(target.layout, target.dataset.lower())
    folder = target.out / "saved" / "data" / below / f"split{target.fold:02d}"
    for name, entries in lists.items():
        write_lines(
            folder / f"{name}.csv", (f"{entry.at(target.prefix)} {entry.number}" for entry in entries)
        )


FORMAT = Format("mae-dfer", "frames", place, write)
