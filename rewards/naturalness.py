"""Naturalness: the asked expression, over time, moving as a real face moves.

Takes tracks and affects; gives 0..1. The mean of how closely the Action Units follow the target, how far the
face goes toward it, and how still the rest stays; times smoothness and a motion floor, so that a frozen
face, which is perfectly smooth, wins nothing.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from argen.affect.affect import Affect
from argen.face import measures
from argen.face.track import FaceTrack


def naturalness(
    tracks: Sequence[FaceTrack], affects: Sequence[Affect], **columns: object
) -> Float32[Tensor, "B"]:
    """One value a clip, 0..1."""
    return torch.tensor([_one(track, affect) for track, affect in zip(tracks, affects, strict=True)])


def _one(track: FaceTrack, affect: Affect) -> float:
    follows = measures.trajectory_score(track, affect)
    toward = measures.expression_score(track, affect, measures.change_asked(affect))
    rest = measures.unrequested_score(track, affect)
    moving = min(1.0, 2 * measures.aliveness(track, affect))
    return (follows + toward + rest) / 3 * measures.smoothness(track) * moving
