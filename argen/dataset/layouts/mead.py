"""MEAD: 60 actors, eight emotions at three intensities, filmed from seven views; the front view is read.

MEAD/M003/video/front/angry/level_1/001.mp4
"""

from __future__ import annotations

from pathlib import Path

from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline
from argen.dataset.layouts.performed import by_pattern, collect, with_folds

LABELS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
FOLDS = 5
CLIP = (
    r"(?:.*/)?(?P<subject>[MW]\d{3})/video/front/(?P<emotion>[a-z]+)/level_(?P<intensity>[123])/(?P<take>\d+)"
)


def recognise(top: Outline) -> bool:
    """Actors M003, W009 ... with their video folder by view."""
    actors = top.folders_like(r"[MW]\d{3}")
    return any(top.at(actor, "video") for actor in actors)


def read(root: Path, fold: int = 1) -> Found:
    """The front view, in one of five actor-disjoint folds."""
    return with_folds(
        collect(root, root, by_pattern(CLIP, dict(zip(LABELS, LABELS, strict=True)))), fold, FOLDS
    )


LAYOUT = Layout(
    "mead",
    recognise,
    read,
    title="MEAD",
    folds=FOLDS,
    licence="MEAD terms: non-commercial research, no redistribution",
    redistributable=False,
    citation="K. Wang et al., MEAD: A Large-scale Audio-visual Dataset for Emotional Talking-face "
    "Generation, ECCV 2020",
)
