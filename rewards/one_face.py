"""One face: the share of frames with exactly one measurable face. Meant as a gate (`tune.gates`)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from argen.face.track import FaceTrack


def one_face(tracks: Sequence[FaceTrack], **columns: object) -> Float32[Tensor, "B"]:
    """One value a clip, 0..1."""
    return torch.tensor([float(track.valid.mean()) for track in tracks])
