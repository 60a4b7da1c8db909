"""How released datasets lie on disk: one file each, recognised by their files, the particular ones first."""

from __future__ import annotations

from pathlib import Path

from argen.dataset.layouts import argen_output, folder, metadata
from argen.dataset.layouts.layout import Layout
from argen.errors import DatasetError, did_you_mean

LAYOUTS: tuple[Layout, ...] = (argen_output.LAYOUT, metadata.LAYOUT, folder.LAYOUT)


def recognise(root: Path) -> Layout:
    """The layout of a folder, by its files. Raises DatasetError if there are no clips of any form."""
    for layout in LAYOUTS:
        if layout.recognise(root):
            return layout
    raise DatasetError(f"{root}: no clips in it; give a folder with one folder of clips per class")


def by_name(name: str) -> Layout:
    """A layout that was named. Raises DatasetError with the names that exist."""
    known = {layout.name: layout for layout in LAYOUTS}
    if name not in known:
        raise DatasetError(f"dataset.layout: no '{name}'{did_you_mean(name, known)}")
    return known[name]
