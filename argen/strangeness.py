"""The gate's CIF check: a detector fitted on a handful of real training clips before the run.

Normals are the first clips, calibration the next, the classes taking turns; none is held out, none synthetic.
With m calibration clips no p-value lies below 1/(m+1): a threshold below that could reject nothing, and
is refused.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen.anomaly.gate import FaceAnomaly, FaceGate
from argen.anomaly.heatmap import overlay
from argen.calibration import in_turn
from argen.dataset.clip import Clip, Dataset
from argen.errors import JobError, RecipeError
from argen.face.track import FaceTrack

log = logging.getLogger(__name__)
NORMALS: Final = 4
MOST_CALIBRATION: Final = 40

Measured = tuple[UInt8[ndarray, "T H W 3"], FaceTrack]


def fit_face_gate(dataset: Dataset, threshold: float, measure: Callable[[Clip], Measured]) -> FaceGate:
    """Fit CIF for a run. `measure` reads and measures a clip as generated clips are.

    Raises RecipeError where the training clips are too few for the threshold.
    """
    needed = math.ceil(1 / threshold) - 1
    clips = list(_usable(dataset, measure, NORMALS + max(needed, MOST_CALIBRATION)))
    found = max(len(clips) - NORMALS, 0)
    if found < needed:
        raise RecipeError(
            f"gate.anomaly: {threshold} needs {needed} real training clips to count against and {NORMALS} "
            f"normals; {found} are usable: set it to {1 / (found + 1):.2f} or more, or to 0 to switch it off"
        )
    return FaceGate.fit(clips[:NORMALS], clips[NORMALS:])


def hottest(frames: UInt8[ndarray, "T H W 3"], anomaly: FaceAnomaly) -> UInt8[ndarray, "H W 3"]:
    """The strangest frame with its heat map laid over it."""
    worst = int(np.nan_to_num(anomaly.frames, nan=-np.inf).argmax())
    return overlay(frames[worst], anomaly.heatmap[worst], 0.0, 1.0)


def _usable(dataset: Dataset, measure: Callable[[Clip], Measured], most: int) -> Iterator[Measured]:
    """Real training clips with a face in two frames."""
    for clip in in_turn(dataset):
        if most == 0:
            return
        try:
            frames, track = measure(clip)
        except JobError as error:
            log.warning("%s: not a normal clip: %s", clip.id, error)
            continue
        if track.valid.sum() >= 2:
            most -= 1
            yield frames, track
