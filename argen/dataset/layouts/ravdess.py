"""RAVDESS: 24 actors, eight emotions, speech and song.

    RAVDESS/[.../]Actor_01/02-01-06-01-02-01-12.mp4
    modality - channel - emotion - intensity - statement - repetition - actor

A performance released with sound (01) and without (02) is one clip; the one with sound is taken.
"""

from __future__ import annotations

from pathlib import Path

from argen.dataset.clip import Clip, Problem
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.outline import Outline
from argen.dataset.layouts.performed import by_pattern, collect, with_folds

LABELS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgust", "08": "surprised",
}  # fmt: skip
FOLDS = 6
NAME = r"(?P<modality>0[12])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<statement>0[12])-(?P<repetition>0[12])-(?P<subject>\d{2})"  # noqa: E501


def recognise(top: Outline) -> bool:
    """Files named by seven numbers."""
    return any(True for _ in top.files_like(NAME + r"\.\w+"))


def read(root: Path, fold: int = 1) -> Found:
    """One of six folds, four actors each: two women and two men."""
    found = collect(root, root, by_pattern(r"(?:.*/)?" + NAME, LABELS))
    performances: dict[str, Clip] = {}
    for clip in sorted(found.clips, key=lambda clip: clip.path.name):
        performances.setdefault(clip.path.stem.partition("-")[2], clip)
    silent = len(found.clips) - len(performances)
    if silent:
        found.problems.append(Problem("02-*", f"{silent:,} silent twins of clips with sound: passed over"))
    found.clips = list(performances.values())
    return with_folds(found, fold, FOLDS, blocks=True)


LAYOUT = Layout(
    "ravdess",
    recognise,
    read,
    title="RAVDESS",
    folds=FOLDS,
    licence="CC BY-NC-SA 4.0",
    citation="S. R. Livingstone, F. A. Russo, The Ryerson Audio-Visual Database of Emotional Speech and "
    "Song, PLoS ONE 13(5), 2018",
)
