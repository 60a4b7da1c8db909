"""From Action Units to the seven expressions, and from MediaPipe's blendshapes to a calm frame's units.

Both are small written rules, so that the gate's view of an expression can be read and argued with, and
stays independent of the judge of the final figures (`argen.face.judge`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from argen.face.action_units import ACTION_UNITS, AU_INDEX, EXPRESSIONS, au_vector

PROTOTYPES: Final[Mapping[str, Mapping[str, float]]] = {
    "happy": {"AU06": 0.7, "AU12": 1.0, "AU25": 0.3},
    "sad": {"AU01": 0.8, "AU04": 0.6, "AU11": 0.3, "AU15": 0.9, "AU17": 0.5},
    "surprise": {"AU01": 0.8, "AU02": 0.8, "AU05": 0.6, "AU25": 0.5, "AU26": 0.9},
    "fear": {"AU01": 0.8, "AU02": 0.4, "AU04": 0.6, "AU05": 0.9, "AU20": 0.8, "AU25": 0.5},
    "disgust": {"AU04": 0.3, "AU09": 1.0, "AU10": 0.8, "AU15": 0.3, "AU17": 0.4},
    "anger": {"AU04": 1.0, "AU05": 0.4, "AU07": 0.6, "AU23": 0.7, "AU24": 0.6},
}
"""EMFACS combinations (Ekman, Friesen & Hager 2002, FACS Investigator's Guide); the strengths are ours."""
SHARPNESS: Final = 12.0
"""Logits per unit of explained energy: a calm face is neutral at 0.77, a half-strength smile happy at 0.8."""
NEUTRAL_ENERGY: Final = 0.25
"""Energy an expression must explain to be as likely as neutral."""

# Blendshapes that tell a unit in one frame, and the value below which calm faces lie. cheekSquint, noseSneer
# and mouthFrown stay near 0 on any face, so AU9, AU11 and AU15 are unknown in a single frame: taken as 0.
_BLENDSHAPES: Final[Mapping[str, tuple[tuple[str, ...], float]]] = {
    "AU01": (("browInnerUp",), 0.45),
    "AU02": (("browOuterUpLeft", "browOuterUpRight"), 0.4),
    "AU04": (("browDownLeft", "browDownRight"), 0.3),
    "AU05": (("eyeWideLeft", "eyeWideRight"), 0.2),
    "AU07": (("eyeSquintLeft", "eyeSquintRight"), 0.65),
    "AU10": (("mouthUpperUpLeft", "mouthUpperUpRight"), 0.3),
    "AU12": (("mouthSmileLeft", "mouthSmileRight"), 0.2),
    "AU14": (("mouthDimpleLeft", "mouthDimpleRight"), 0.3),
    "AU17": (("mouthShrugLower",), 0.4),
    "AU20": (("mouthStretchLeft", "mouthStretchRight"), 0.3),
    "AU24": (("mouthPressLeft", "mouthPressRight"), 0.3),
    "AU25": (("mouthLowerDownLeft", "mouthLowerDownRight"), 0.15),
    "AU26": (("jawOpen",), 0.1),
    "AU28": (("mouthRollLower", "mouthRollUpper"), 0.3),
    "AU43": (("eyeBlinkLeft", "eyeBlinkRight"), 0.4),
}


def expressions_of(action_units: Float[ndarray, "T 20"]) -> Float32[ndarray, "T 7"]:
    """Probabilities in the order of EXPRESSIONS; rows of NaN stay NaN.

    An expression's energy is how much of the units its prototype explains at its best strength in 0..1;
    the probabilities are a softmax over those energies and a constant for neutral.
    """
    units = np.asarray(action_units, np.float64)
    prototypes = _prototypes()
    size = np.square(prototypes).sum(axis=1)
    along = units @ prototypes.T
    strength = np.clip(along / size, 0.0, 1.0)
    energy = 2 * strength * along - strength**2 * size
    neutral = np.full((len(units), 1), NEUTRAL_ENERGY) + 0 * along[:, :1]
    logits = SHARPNESS * np.concatenate([neutral, energy], axis=1)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def units_of_blendshapes(scores: Mapping[str, float]) -> Float32[ndarray, "20"]:
    """The units that one frame shows in itself, 0..1, from MediaPipe's blendshape scores."""
    units = np.zeros(len(ACTION_UNITS), np.float32)
    for name, (shapes, floor) in _BLENDSHAPES.items():
        value = float(np.mean([scores.get(shape, 0.0) for shape in shapes]))
        units[AU_INDEX[name]] = max(value - floor, 0.0) / (1.0 - floor)
    # A broad smile lifts the cheeks; MediaPipe's own cheekSquint never says so.
    units[AU_INDEX["AU06"]] = 0.6 * units[AU_INDEX["AU12"]]
    return units


@lru_cache(maxsize=1)
def _prototypes() -> Float32[ndarray, "6 20"]:
    return np.stack([au_vector(PROTOTYPES[name]) for name in EXPRESSIONS[1:]])
