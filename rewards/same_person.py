"""Same person: the identity of the clip's worst half against the source. Meant as a gate (`tune.gates`).

1 is the same, 0.5 the reader's limit.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from argen.face import measures
from argen.face.track import FaceTrack


def same_person(
    tracks: Sequence[FaceTrack],
    persons: Sequence[Float32[ndarray, "D"]],
    same_person: float,
    **columns: object,
) -> Float32[Tensor, "B"]:
    """One value a clip, 0..1."""
    rows = zip(tracks, persons, strict=True)
    return torch.tensor([measures.identity_score(track, person, same_person) for track, person in rows])
