"""Integrity: one person, one face, all the way: identity, geometry and sharpness against the source.

Takes frames, tracks, persons (the source's identity embedding), sources (its frame) and same_person (the
reader's limit); gives 0..1. A product, because a sharp face of somebody else is worth nothing. Where a
reader has no landmarks, geometry doesn't count.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from torch import Tensor

from argen.face import measures
from argen.face.track import FaceTrack
from argen.tuning.scoring import as_pictures


def integrity(
    frames: Float32[Tensor, "B T 3 H W"],
    tracks: Sequence[FaceTrack],
    persons: Sequence[Float32[ndarray, "D"]],
    sources: Sequence[UInt8[ndarray, "h w 3"]],
    same_person: float,
    **columns: object,
) -> Float32[Tensor, "B"]:
    """One value a clip, 0..1."""
    clips = as_pictures(frames)
    rows = zip(clips, tracks, persons, sources, strict=True)
    return torch.tensor(
        [
            measures.identity_score(track, person, same_person)
            * (measures.geometry_score(track) if np.isfinite(track.landmarks).any() else 1.0)
            * measures.sharpness(clip, source, track)
            for clip, track, person, source in rows
        ]
    )
