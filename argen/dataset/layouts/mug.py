"""MUG: 86 performers (52 public), six emotions and neutral, as sequences of images.

MUG/[subjects3/]001/anger/take000/img_0000.jpg
"""

from __future__ import annotations

from pathlib import Path

from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline
from argen.dataset.layouts.performed import by_pattern, collect, with_folds

LABELS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
FOLDS = 10
CLIP = r"(?:.*/)?(?P<subject>\d{3})/(?P<emotion>[a-z]+)/(?P<take>take\d+)"


def recognise(top: Outline) -> bool:
    """Takes below an emotion below a three-digit performer."""
    describe = by_pattern(CLIP, dict(zip(LABELS, LABELS, strict=True)))
    return any(describe(name) for name in top.folders_like(r"take\d+"))


def read(root: Path, fold: int = 1) -> Found:
    """One of ten subject-disjoint folds."""
    describe = by_pattern(CLIP, dict(zip(LABELS, LABELS, strict=True)))
    return with_folds(collect(root, root, describe), fold, FOLDS)


LAYOUT = Layout(
    "mug",
    recognise,
    read,
    title="MUG",
    folds=FOLDS,
    licence="MUG agreement: non-commercial research, on application, no redistribution",
    redistributable=False,
    citation="N. Aifanti, C. Papachristou, A. Delopoulos, The MUG Facial Expression Database, WIAMIS 2010",
)
