"""AFEW: clips of films by emotion; train and val are released, test is not.

    AFEW/{train,val}/<Emotion>/<000046280>/*.jpg   (face crops)   or   <000046280>.avi

A clip's name is nine digits: film and time.
"""

from __future__ import annotations

from pathlib import Path

from argen.dataset.layouts import folder
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline
from argen.dataset.tree import split_of

LABELS = frozenset({"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"})
CLIP = r"\d{9}(\.\w+)?"


def recognise(top: Outline) -> bool:
    """The emotions of AFEW under train and val, and clips named by nine digits."""
    splits = [name for name in top.folders[""] if split_of(name)]
    labels = {label.lower() for name in splits for label in top.folders.get(name, ())}
    if {split_of(name) for name in splits} != {"train", "val"} or not labels or not labels <= LABELS:
        return False
    clips = {*top.folders_like(CLIP), *top.files_like(CLIP)}
    return any(name.count("/") == 2 for name in clips)


def read(root: Path, fold: int = 1) -> Found:
    """As a folder per class; the film is not known, so no subjects."""
    return folder.read(root, fold)


LAYOUT = Layout(
    "afew",
    recognise,
    read,
    title="AFEW",
    licence="AFEW (EmotiW) agreement: non-commercial research, on application, no redistribution",
    redistributable=False,
    citation="A. Dhall, R. Goecke, S. Lucey, T. Gedeon, Collecting Large, Richly Annotated Facial-Expression "
    "Databases from Movies, IEEE MultiMedia 19(3), 2012",
)
