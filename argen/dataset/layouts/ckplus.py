"""CK+: 593 sequences of 123 people from calm to apex, 327 with an emotion, all with FACS codes.

    CK+/cohn-kanade-images/S005/001/S005_001_00000011.png
    CK+/Emotion/S005/001/S005_001_00000011_emotion.txt     one number, 0 to 7
    CK+/FACS/S005/001/S005_001_00000011_facs.txt           an Action Unit and its intensity a line

The FACS codes of the apex are the clip's ground-truth Action Units.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.dataset.clip import Clip, Problem
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.listed import descend
from argen.dataset.layouts.outline import Outline, outline
from argen.dataset.layouts.performed import collect, with_folds
from argen.dataset.lists import ENCODINGS, read_text
from argen.errors import DatasetError
from argen.face.action_units import AU_INDEX, au_vector

LABELS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
FOLDS = 10
IMAGES = "cohn-kanade-images"
UNSCORED = 0.6  # intensity 0 in the files means present, not scored: the middle of FACS's A to E
MERGED = {27: 26}  # mouth stretch is the far end of jaw drop; the project has no unit of its own for it


def recognise(top: Outline) -> bool:
    """The folder of images under its released name."""
    return top.find(IMAGES) is not None


def read(root: Path, fold: int = 1) -> Found:
    """The labelled sequences, in one of ten subject-disjoint folds. Raises DatasetError without labels."""
    top = outline(root)
    images = top.find(IMAGES)
    if images is None:
        raise DatasetError(f"{root}: no {IMAGES} folder, so this is not CK+ as released")
    emotions, facs = top.find("Emotion"), top.find("FACS")
    if emotions is None:
        raise DatasetError(f"{images.parent}: no Emotion folder beside {IMAGES}: nothing says what is shown")
    found = collect(root, images, _sequence)
    labels = {clip.id: _label(emotions, clip) for clip in found.clips}
    labelled = [clip for clip in found.clips if labels[clip.id] is not None]
    found.problems += _missing(len(found.clips) - len(labelled), facs)
    found.clips = [
        replace(clip, label=str(labels[clip.id]), action_units=_units(facs, clip)) for clip in labelled
    ]
    return with_folds(found, fold, FOLDS)


def _sequence(name: str) -> tuple[str, str, dict[str, str]] | None:
    parts = name.split("/")
    return ("", parts[0], {"name": name}) if len(parts) == 2 else None


def _missing(unlabelled: int, facs: Path | None) -> list[Problem]:
    problems = []
    if unlabelled:
        problems.append(Problem("Emotion", f"{unlabelled:,} sequences without an emotion: passed over"))
    if facs is None:
        problems.append(Problem("FACS", "no FACS folder: no ground-truth Action Units"))
    return problems


def _text(folder: Path | None, clip: Clip) -> tuple[Path, str] | None:
    place = descend(folder, *clip.extra["name"].split("/")) if folder else None
    files = sorted(place.glob("*.txt")) if place else []
    return (files[-1], read_text(files[-1], ENCODINGS)) if files else None


def _label(emotions: Path, clip: Clip) -> str | None:
    held = _text(emotions, clip)
    if held is None or not held[1].strip():
        return None
    try:
        return LABELS[int(float(held[1].split()[0]))]
    except (ValueError, IndexError) as error:
        raise DatasetError(f"{held[0]}: '{held[1].strip()[:20]}' is not an emotion 0 to 7") from error


def _units(facs: Path | None, clip: Clip) -> Float32[ndarray, "20"] | None:
    held = _text(facs, clip)
    if held is None:
        return None
    try:
        pairs = [
            (int(float(a)), float(b))
            for a, b in (line.split()[:2] for line in held[1].splitlines() if line.strip())
        ]
    except ValueError as error:
        raise DatasetError(f"{held[0]}: not 'unit intensity' a line") from error
    units: dict[str, float] = {}
    for number, intensity in pairs:
        name = f"AU{MERGED.get(number, number):02d}"
        if name in AU_INDEX:
            units[name] = max(units.get(name, 0.0), min(intensity, 5) / 5 if intensity > 0 else UNSCORED)
    return np.asarray(au_vector(units), np.float32)


LAYOUT = Layout(
    "ck+",
    recognise,
    read,
    title="CK+",
    folds=FOLDS,
    licence="CK+ agreement: non-commercial research, on application, no redistribution",
    redistributable=False,
    citation="P. Lucey et al., The Extended Cohn-Kanade Dataset (CK+): A Complete Dataset for Action Unit "
    "and Emotion-Specified Expression, CVPR Workshops 2010",
)
