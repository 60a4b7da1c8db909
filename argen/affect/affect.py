"""Affect: what one synthetic clip is meant to show, in words and in Action Units over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray


@dataclass(frozen=True)
class Affect:
    """The target of one job: the conditioning of a generator and the yardstick of the gate."""

    label: str
    caption: str
    written_by: Literal["template", "vlm", "template after vlm"]
    trajectory: Float32[ndarray, "T 20"]  # Action Units 0..1; starts at the source's own
    asymmetry: Float32[ndarray, "20"]  # -1..1: share moved to the subject's left (+) or right (-)
    pose: Float32[ndarray, "T 3"]  # small head motion: yaw, pitch, roll in degrees, starts at 0
    exemplars: tuple[str, ...]  # ids of what was retrieved
    profile: Literal["class clips", "prototype"]  # where the target Action Units came from

    @property
    def apex(self) -> int:
        """Frame of the strongest target expression; AU43 (last) is left out, for a blink is no apex."""
        return int(np.argmax(np.abs(self.trajectory - self.trajectory[0])[:, :-1].sum(axis=1)))
