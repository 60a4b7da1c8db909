"""The twenty Action Units, in py-feat's order: the coordinate system of the whole project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

ACTION_UNITS: Final = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU11", "AU12",
    "AU14", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26", "AU28", "AU43",
)  # fmt: skip
AU_INDEX: Final[Mapping[str, int]] = {name: i for i, name in enumerate(ACTION_UNITS)}

FACS_NAMES: Final[Mapping[str, str]] = {
    "AU01": "inner brow raiser",
    "AU02": "outer brow raiser",
    "AU04": "brow lowerer",
    "AU05": "upper lid raiser",
    "AU06": "cheek raiser",
    "AU07": "lid tightener",
    "AU09": "nose wrinkler",
    "AU10": "upper lip raiser",
    "AU11": "nasolabial deepener",
    "AU12": "lip corner puller",
    "AU14": "dimpler",
    "AU15": "lip corner depressor",
    "AU17": "chin raiser",
    "AU20": "lip stretcher",
    "AU23": "lip tightener",
    "AU24": "lip pressor",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU28": "lip suck",
    "AU43": "eyes closed",
}

EXPRESSIONS: Final = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")
"""Order of `FaceTrack.expressions`, as in py-feat's Detectorv2 (lower-cased)."""


def au_vector(units: Mapping[str, float]) -> Float32[ndarray, "20"]:
    """`{"AU04": 0.7, ...}` as a vector in the project's order; intensities 0..1.

    Raises KeyError for a unit that is not one of the twenty.
    """
    vector = np.zeros(len(ACTION_UNITS), np.float32)
    for name, value in units.items():
        vector[AU_INDEX[name]] = value
    return vector
