"""How released datasets lie on disk: one file each, recognised by their files, the particular ones first."""

from __future__ import annotations

from pathlib import Path

from argen.dataset.layouts import (
    afew,
    argen_output,
    caer,
    ckplus,
    cremad,
    dfew,
    ferv39k,
    folder,
    mafw,
    mead,
    metadata,
    mug,
    oulu_casia,
    ravdess,
)
from argen.dataset.layouts.layout import Layout
from argen.dataset.layouts.outline import outline
from argen.errors import DatasetError, did_you_mean

LAYOUTS: tuple[Layout, ...] = (
    argen_output.LAYOUT,
    metadata.LAYOUT,
    dfew.LAYOUT,
    ferv39k.LAYOUT,
    mafw.LAYOUT,
    mafw.COMPOUND,
    afew.LAYOUT,
    ckplus.LAYOUT,
    mug.LAYOUT,
    oulu_casia.LAYOUT,
    mead.LAYOUT,
    caer.LAYOUT,
    ravdess.LAYOUT,
    cremad.LAYOUT,
    folder.LAYOUT,
)


def recognise(root: Path) -> Layout:
    """The layout of a folder, by its files. Raises DatasetError if there are no clips of any form."""
    top = outline(root)
    for layout in LAYOUTS:
        if layout.recognise(top):
            return layout
    raise DatasetError(f"{root}: no clips in it; give a folder with one folder of clips per class")


def by_name(name: str) -> Layout:
    """A layout that was named. Raises DatasetError with the names that exist."""
    known = {layout.name: layout for layout in LAYOUTS}
    if name not in known:
        raise DatasetError(f"dataset.layout: no '{name}'{did_you_mean(name, known)}")
    return known[name]
