"""One table for everything: `clips.csv` with all columns, and a table per list; media as they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from argen.dataset.clip import Clip
from argen.dataset.exporting.entry import Entry, Format, Lists, Target
from argen.dataset.exporting.lines import write_lines

COLUMNS = (
    "file_name", "label", "label_id", "split", "synthetic", "subject", "source", "licence", "redistributable",
)  # fmt: skip


def place(target: Target, clip: Clip, name: str) -> str:
    """Media of a clip; a file keeps its suffix."""
    return f"clips/{name}{'' if clip.kind == 'frames' else clip.path.suffix.lower()}"


def write(target: Target, lists: Lists) -> None:
    """All clips once, then one table a list."""
    everything = [*lists["train"], *lists["val"], *lists["test"]]
    write_lines(target.out / "clips.csv", table(target, everything))
    for name, entries in lists.items():
        write_lines(target.out / "lists" / f"{name}.csv", table(target, entries))


def table(target: Target, entries: Iterable[Entry]) -> Iterator[str]:
    """Header and rows, quoted where a value needs it."""
    yield ",".join(COLUMNS)
    for entry in entries:
        clip = entry.clip
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(
            (
                entry.at(target.prefix),
                clip.label,
                entry.number,
                clip.split,
                str(clip.synthetic).lower(),
                clip.subject,
                clip.extra.get("source", clip.id),
                clip.licence,
                str(clip.redistributable).lower(),
            )
        )
        yield line.getvalue()


FORMAT = Format("csv", "as they are", place, write, absolute=False)
