"""Oulu-CASIA: 80 performers, six emotions from calm to apex, in visible light at strong illumination.

Oulu/[.../]OriginalImg/VL/Strong/P001/Anger/000.jpeg
"""

from __future__ import annotations

from pathlib import Path

from argen.dataset.clip import Problem
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline, outline
from argen.dataset.layouts.performed import by_pattern, collect, with_folds
from argen.errors import DatasetError

LABELS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
FOLDS = 10
CLIP = r"(?P<subject>P\d{3})/(?P<emotion>[a-z]+\d?)"


def recognise(top: Outline) -> bool:
    """VL/Strong, or NI/Strong, with performers P001 ..."""
    return any("/Strong/P" in f"/{name}" for name in top.folders_like(r"P\d{3}"))


def read(root: Path, fold: int = 1) -> Found:
    """The 480 sequences that are used everywhere, in one of ten subject-disjoint folds."""
    top = outline(root)
    home = top.find("VL", "Strong") or (top.find("Strong") if root.name.upper() == "VL" else None)
    if home is None:
        raise DatasetError(f"{root}: no VL/Strong folder: the visible-light sequences are missing")
    found = collect(root, home, by_pattern(CLIP, dict(zip(LABELS, LABELS, strict=True))))
    found.problems.append(
        Problem("NI, Weak, Dark", "near infrared and weak light: passed over, as in the field")
    )
    return with_folds(found, fold, FOLDS)


LAYOUT = Layout(
    "oulu-casia",
    recognise,
    read,
    title="Oulu-CASIA NIR&VIS",
    folds=FOLDS,
    licence="Oulu-CASIA agreement: non-commercial research, on application, no redistribution",
    redistributable=False,
    citation="G. Zhao, X. Huang, M. Taini, S. Li, M. Pietikainen, Facial Expression Recognition from "
    "Near-Infrared Videos, Image and Vision Computing 29(9), 2011",
)
