"""CAER: 13,201 clips of television shows by emotion.

CAER/{train,validation,test}/<Emotion>/<0001>.avi
"""

from __future__ import annotations

from pathlib import Path

from argen.dataset.layouts import folder
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline

LABELS = frozenset({"anger", "disgust", "fear", "happy", "neutral", "sad", "surprise"})


def recognise(top: Outline) -> bool:
    """Train, validation and test with CAER's seven emotions, and .avi clips named by four digits."""
    splits = {name.lower(): name for name in top.folders[""]}
    if not {"train", "validation", "test"} <= set(splits):
        return False
    labels = {
        name.lower() for split in ("train", "validation", "test") for name in top.folders[splits[split]]
    }
    return bool(labels) and labels <= LABELS and any(n.count("/") == 2 for n in top.files_like(r"\d{4}\.avi"))


def read(root: Path, fold: int = 1) -> Found:
    """As a folder per class, with the official splits."""
    return folder.read(root, fold)


LAYOUT = Layout(
    "caer",
    recognise,
    read,
    title="CAER",
    licence="CAER agreement: non-commercial research, no redistribution",
    redistributable=False,
    citation="J. Lee et al., Context-Aware Emotion Recognition Networks, ICCV 2019",
)
