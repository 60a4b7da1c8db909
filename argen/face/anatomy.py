"""Where each Action Unit may move the face, and the movements that the learned mesh model lacks.

py-feat's AU-to-mesh model was fitted on whole faces, so a column also carries what merely went along with
its unit: raising the brows nods the head, and AU25 (lips part) closes them. Each column is therefore kept
to its muscle's region, made the same left and right, and where what is left hardly moves the points by
which the Facial Action Coding System defines the unit, a written movement is added. Regions and written
movements are ours: directions from Ekman, Friesen & Hager (2002), sizes 2 to 6 mm on an adult face.

Coordinates are those of `argen.face.mesh`: unit = outer eye corners' distance (about 90 mm), y down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.face.action_units import ACTION_UNITS, AU_INDEX

_MOUTH_LINE: Final = 0.70
_EYE_LINE: Final = 0.0
_MIDDLE: Final = 0.06  # half width of the strip in which both sides' pushes blend


@dataclass(frozen=True)
class Push:
    """A bump of movement around (x, y), mirrored to both sides: `out` away from the middle, `down`."""

    x: float
    y: float
    radius: float
    out: float = 0.0
    down: float = 0.0
    side: str = "any"  # "above" or "below" the opening that runs at `line`
    line: float = _MOUTH_LINE


PUSHES: Final[Mapping[str, tuple[Push, ...]]] = {
    "AU01": (Push(0.2, -0.26, 0.16, down=-0.03),),
    "AU02": (Push(0.55, -0.24, 0.2, down=-0.06),),
    "AU04": (Push(0.15, -0.2, 0.16, out=-0.025, down=0.03),),
    "AU06": (Push(0.45, 0.28, 0.2, down=-0.03),),
    "AU07": (Push(0.36, 0.04, 0.14, down=-0.025, side="below", line=_EYE_LINE),),
    "AU10": (Push(0.0, 0.62, 0.16, down=-0.045, side="above"), Push(0.24, 0.42, 0.14, down=-0.02)),
    "AU11": (Push(0.3, 0.5, 0.14, out=0.015, down=-0.02),),
    "AU12": (Push(0.3, 0.7, 0.2, out=0.07, down=-0.065), Push(0.0, 0.62, 0.2, down=-0.02)),
    "AU14": (Push(0.32, 0.7, 0.16, out=-0.04),),
    "AU15": (Push(0.3, 0.72, 0.14, down=0.055),),
    "AU20": (Push(0.32, 0.74, 0.2, out=0.06, down=-0.06),),
    "AU25": (
        Push(0.0, 0.76, 0.24, down=0.07, side="below"),
        Push(0.0, 0.64, 0.24, down=-0.04, side="above"),
    ),
}


def localised(
    calm: Float32[ndarray, "478 3"],
    moves: Float32[ndarray, "20 478 3"],
    mirror: ndarray,
    without_motion: Callable[[ndarray, ndarray], ndarray],
) -> Float32[ndarray, "20 478 3"]:
    """The learned displacements, each kept to its region, symmetric, with the written ones added.

    `without_motion(move, still)` takes out of a move the head motion seen on the vertices `still`.
    """
    regions = region_weights(calm)
    flip = np.array([-1, 1, 1], np.float32)
    result = np.zeros_like(moves)
    for i, name in enumerate(ACTION_UNITS):
        move = without_motion(moves[i], regions[i] < 0.1)
        move = (move + move[mirror] * flip) / 2
        result[i] = move * regions[i][:, None] + sum(_bump(calm, push) for push in PUSHES.get(name, ()))
    result[:, 468:] = 0.0  # gaze is no Action Unit: the irises stay
    return result


def region_weights(calm: Float32[ndarray, "478 3"]) -> Float32[ndarray, "20 478"]:
    """How much each vertex may follow each Action Unit, 0..1, smooth at the edges."""
    x, y = np.abs(calm[:, 0]), calm[:, 1]
    off_nose = _ramp(x, 0.14, 0.26)
    brow = _fade(y, -0.04, 0.1) * _fade(x, 0.6, 0.85)
    eye = _disc(x, y, (0.35, -0.01), (0.27, 0.2))
    cheek = np.maximum(_disc(x, y, (0.45, 0.25), (0.36, 0.4)) * off_nose * _fade(y, 0.5, 0.7), eye)
    nose = _fade(x, 0.35, 0.6) * _ramp(y, -0.4, -0.2) * _fade(y, 0.68, 0.74)
    upper_lip = _fade(x, 0.35, 0.6) * _ramp(y, 0.2, 0.4) * _fade(y, 0.68, 0.73)
    below_nose = np.maximum(off_nose, _ramp(y, 0.42, 0.5))
    mouth = _disc(x, y, (0.0, 0.72), (0.75, 0.6)) * _ramp(y, 0.3, 0.5) * below_nose
    smile = mouth * _fade(y, 0.85, 1.05)
    corners = _disc(x, y, (0.32, 0.7), (0.34, 0.3)) * below_nose
    lips = _disc(x, y, (0.0, 0.72), (0.5, 0.32)) * below_nose
    inner_brow = brow * (0.3 + 0.7 * _fade(x, 0.3, 0.6))
    regions = {
        "AU01": inner_brow, "AU02": brow, "AU04": inner_brow, "AU05": eye, "AU06": cheek, "AU07": eye,
        "AU09": nose, "AU10": upper_lip, "AU11": _disc(x, y, (0.33, 0.45), (0.3, 0.4)) * off_nose,
        "AU12": smile, "AU14": 0.3 * corners, "AU15": corners, "AU20": smile,
        "AU17": _ramp(y, 0.5, 0.7) * _fade(x, 0.5, 0.8), "AU23": lips, "AU24": lips, "AU25": lips,
        "AU26": _ramp(y, 0.5, 0.74), "AU28": lips, "AU43": eye,
    }  # fmt: skip
    weights = np.zeros((len(ACTION_UNITS), len(calm)), np.float32)
    for name, weight in regions.items():
        weights[AU_INDEX[name]] = weight
    return weights


def _bump(calm: Float32[ndarray, "478 3"], push: Push) -> Float32[ndarray, "478 3"]:
    x, y = np.abs(calm[:, 0]), calm[:, 1]
    weight = np.exp(-(np.square(x - push.x) + np.square(y - push.y)) / push.radius**2)
    if push.side != "any":
        below = _ramp(y, push.line - 0.015, push.line + 0.015)
        weight = weight * (below if push.side == "below" else 1 - below)
    move = np.zeros_like(calm)
    move[:, 0] = push.out * weight * np.clip(calm[:, 0] / _MIDDLE, -1, 1)
    move[:, 1] = push.down * weight
    return move


def _ramp(value: ndarray, low: float, high: float) -> ndarray:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def _fade(value: ndarray, low: float, high: float) -> ndarray:
    return np.asarray(1 - _ramp(value, low, high))


def _disc(x: ndarray, y: ndarray, centre: tuple[float, float], radii: tuple[float, float]) -> ndarray:
    """1 well inside an ellipse, 0 well outside."""
    return _fade(np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1]), 0.75, 1.35)
