"""CREMA-D: 91 actors, six emotions at four levels.

CREMA-D/VideoFlash/1001_DFA_ANG_XX.flv   actor _ sentence _ emotion _ level
"""

from __future__ import annotations

from pathlib import Path

from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline
from argen.dataset.layouts.performed import by_pattern, collect, with_folds

LABELS = {"ANG": "Anger", "DIS": "Disgust", "FEA": "Fear", "HAP": "Happy", "NEU": "Neutral", "SAD": "Sad"}
FOLDS = 5
NAME = r"(?P<subject>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>LO|MD|HI|XX|X)"


def recognise(top: Outline) -> bool:
    """Video files named by actor, sentence, emotion and level."""
    return any(True for _ in top.files_like(NAME + r"\.(flv|mp4|avi|mkv|webm)"))


def read(root: Path, fold: int = 1) -> Found:
    """One of five actor-disjoint folds."""
    return with_folds(collect(root, root, by_pattern(r"(?:.*/)?" + NAME, LABELS)), fold, FOLDS)


LAYOUT = Layout(
    "crema-d",
    recognise,
    read,
    title="CREMA-D",
    folds=FOLDS,
    licence="Open Database License 1.0",
    citation="H. Cao et al., CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset, IEEE Transactions "
    "on Affective Computing 5(4), 2014",
)
