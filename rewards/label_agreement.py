"""Label agreement: how surely a reader's expression classifier names the label at the apex. A held-out judge.

Takes tracks and affects; gives 0..1, or None for a label that is none of the seven.
"""

from collections.abc import Sequence

import numpy as np

from argen.affect.affect import Affect
from argen.affect.emotion import canonical
from argen.face.action_units import EXPRESSIONS
from argen.face.track import FaceTrack


def label_agreement(
    tracks: Sequence[FaceTrack], affects: Sequence[Affect], **columns: object
) -> list[float | None]:
    """One value a clip: the mean probability of the label over the third of the frames around the apex."""
    return [_one(track, affect) for track, affect in zip(tracks, affects, strict=True)]


def _one(track: FaceTrack, affect: Affect) -> float | None:
    name = canonical(affect.label)
    if name not in EXPRESSIONS:
        return None
    apex = affect.apex / max(len(affect.trajectory) - 1, 1) * (len(track) - 1)
    near = np.abs(np.arange(len(track)) - apex) <= max(len(track) / 6, 1)
    seen = track.expressions[near & track.valid, EXPRESSIONS.index(name)]
    return float(np.nan_to_num(seen).mean()) if len(seen) else 0.0
