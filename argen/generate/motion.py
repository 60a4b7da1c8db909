"""How the face's points move: Action Units and head pose to vertex positions, frame by frame.

Displacements are those of the AU-to-mesh model for the target minus those for the source, turned and
scaled into the photograph's own view, times a gain (`GAIN`, ours, set by eye: a regression shrinks what
it is unsure of). Eyelids and lips then obey what skin obeys: lids slide between open and shut over an
eyeball that stays, lips never pass each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Float64
from numpy import ndarray

from argen.face import geometry, mesh
from argen.face.action_units import ACTION_UNITS, AU_INDEX

GAIN: Final = {
    "AU01": 1.3, "AU02": 1.2, "AU04": 1.05, "AU05": 1.0, "AU06": 1.6, "AU07": 1.2, "AU09": 0.0, "AU10": 1.5,
    "AU11": 1.6, "AU12": 1.05, "AU14": 2.4, "AU15": 1.6, "AU17": 1.0, "AU20": 0.0, "AU23": 1.6, "AU24": 1.3,
    "AU25": 1.3, "AU26": 1.15, "AU28": 1.0, "AU43": 0.3,
}  # fmt: skip
"""Times the model's displacement at full strength."""
BULGE: Final = 0.5
"""Middling intensities are shown stronger, a (1 + BULGE (1 - a)): eyes and readers see half of them."""
MOST: Final = 0.051
"""Root mean square movement of the skin, outer-eye distances, that no frame exceeds: beyond it, and for a
source that smiles broadly well before, identity suffers. Smaller movements are hardly held back."""
# Where the regression sees too little: (vertex on the right, pull in x, y, z, reach), outer-eye distances.
# AU09 and AU20 are all pulls: their columns take the whole nose and the whole mouth down.
PULLS: Final = {
    "AU09": (
        (55, (0.012, 0.045, 0.0), 0.14), (168, (0.0, 0.02, 0.0), 0.1), (129, (-0.01, -0.055, 0.0), 0.11),
        (101, (0.0, -0.05, -0.02), 0.13), (39, (0.0, -0.04, -0.01), 0.1), (1, (0.0, -0.015, 0.0), 0.1),
    ),
    "AU17": ((199, (0.0, -0.03, -0.03), 0.12),),
    "AU20": ((61, (-0.065, 0.02, 0.03), 0.14), (91, (-0.02, 0.025, 0.0), 0.12)),
}  # fmt: skip

UPPER_LIDS: Final = (
    (246, 161, 160, 159, 158, 157, 173),
    (466, 388, 387, 386, 385, 384, 398),
)
LOWER_LIDS: Final = (
    (7, 163, 144, 145, 153, 154, 155),
    (249, 390, 373, 374, 380, 381, 382),
)
EYE_CORNERS: Final = ((33, 133), (263, 362))
# Rows of skin above the upper and below the lower lid, and what share of the lid's move each follows.
_ABOVE: Final = (
    (((247, 30, 29, 27, 28, 56, 190), 0.45), ((113, 225, 224, 223, 222, 221, 189), 0.1)),
    (((467, 260, 259, 257, 258, 286, 414), 0.45), ((342, 445, 444, 443, 442, 441, 413), 0.1)),
)
_BELOW: Final = (
    (((25, 110, 24, 23, 22, 26, 112), 0.45), ((31, 228, 229, 230, 231, 232, 233), 0.12)),
    (((255, 339, 254, 253, 252, 256, 341), 0.45), ((261, 448, 449, 450, 451, 452, 453), 0.12)),
)
# Lip rows from the inside out; columns run from the subject's right to the left, corners apart.
UPPER_LIP: Final = (
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
    (183, 42, 41, 38, 12, 268, 271, 272, 407),
    (184, 74, 73, 72, 11, 302, 303, 304, 408),
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
)
LOWER_LIP: Final = (
    (95, 88, 178, 87, 14, 317, 402, 318, 324),
    (96, 89, 179, 86, 15, 316, 403, 319, 325),
    (77, 90, 180, 85, 16, 315, 404, 320, 307),
    (146, 91, 181, 84, 17, 314, 405, 321, 375),
)
LIP_CORNERS: Final = (78, 308)
_TAPER: Final = np.array([0.35, 0.7, 0.9, 1.0, 1.0, 1.0, 0.9, 0.7, 0.35])  # lips part less near the corners
_PARTED: Final = 0.1  # between the inner lips at AU25 in full, outer-eye distances
_LIP_FOLLOW: Final = (1.0, 0.9, 0.75, 0.6)
_LIDS_MEET: Final = 0.15  # of the opening, up from the lower lid
_LEAST_OPENING: Final = 0.25  # a source whose eyes are nearly shut does not tell how wide they can be

_NECK: Final = np.array([0.0, 0.75, 0.7])
"""What the head turns about, in outer-eye distances from between the eyes."""


@dataclass(frozen=True)
class Motion:
    """Where the 468 skin vertices are in every frame, and how far the skull carries eyes and teeth."""

    points: Float32[ndarray, "T 468 2"]
    skull: Float32[ndarray, "T 468 2"]  # displacement by head pose alone
    relief: Float32[ndarray, "T 468 3"]  # shape in the face's own frame, outer-eye distances, for shading
    rest: Float32[ndarray, "468 3"]  # the same for the source


def motion(
    landmarks: Float32[ndarray, "478 3"],
    source: Float32[ndarray, "20"],
    trajectory: Float32[ndarray, "T 20"],
    asymmetry: Float32[ndarray, "20"],
    pose: Float32[ndarray, "T 3"],
) -> Motion:
    """Vertex positions of a clip on the photograph of `landmarks`, whose face shows `source` now."""
    points = landmarks[:468].astype(np.float64)
    sides = _per_side(source, trajectory, asymmetry)
    moved = _model_displacement(_shown(sides) - _shown(source)[None, :, None])
    scale, turn, _ = geometry.similarity(mesh.au_mesh(source)[None, :468].astype(np.float64), points[None])
    to_view = scale[0] * turn[0].T
    relief = (points - points.mean(axis=0)) @ turn[0] / scale[0]
    face = moved + relief
    _move_lids(face, relief, source, sides)
    _move_lips(face, relief, source, trajectory)
    expression = (face - relief) @ to_view
    skull = _turn_head(points[None], pose, to_view) - points
    placed = _turn_head(points + expression, pose, to_view)
    return Motion(
        placed[..., :2].astype(np.float32),
        skull[..., :2].astype(np.float32),
        face.astype(np.float32),
        relief.astype(np.float32),
    )


def _per_side(
    source: Float32[ndarray, "20"], trajectory: Float32[ndarray, "T 20"], asymmetry: Float32[ndarray, "20"]
) -> Float64[ndarray, "T 20 2"]:
    """Intensities on the subject's right and left: what one side gives away the other gains."""
    change = (trajectory - source)[..., None].astype(np.float64)
    share = 1.0 + np.stack([-asymmetry, asymmetry], axis=-1)
    return np.asarray(np.clip(source[:, None] + change * share, 0.0, 1.25))


def _shown(units: Float[ndarray, "*n"]) -> Float64[ndarray, "*n"]:
    return np.asarray(units * (1 + BULGE * (1 - np.minimum(units, 1.0))), np.float64)


@lru_cache(maxsize=1)
def _columns() -> tuple[Float64[ndarray, "20 1404"], Float64[ndarray, "468"]]:
    """Displacements with gains and pulls, and how much each vertex belongs to the subject's left."""
    calm = mesh.calm_mesh()[:468].astype(np.float64)
    gains = np.array([GAIN[name] for name in ACTION_UNITS])
    moves = mesh.au_displacements()[:, :468] * gains[:, None, None]
    mirror = mesh.mirror_index()
    for name, pulls in PULLS.items():
        for vertex, pull, reach in pulls:
            twins = {(vertex, 1), (int(mirror[vertex]), -1)} if mirror[vertex] != vertex else {(vertex, 1)}
            for centre, side in sorted(twins):
                near = np.linalg.norm(calm[:, :2] - calm[centre, :2], axis=1) / reach
                moves[AU_INDEX[name]] += np.exp(-(near**2))[:, None] * np.multiply(pull, [side, 1, 1])
    return moves.reshape(20, -1), _ramp(calm[:, 0], -0.12, 0.12)


def _model_displacement(change: Float64[ndarray, "T 20 2"]) -> Float64[ndarray, "T 468 3"]:
    moves, left = _columns()
    right_side, left_side = (change[..., side] @ moves for side in (0, 1))
    shape = (len(change), 468, 3)
    share = left[:, None]
    moved = right_side.reshape(shape) * (1 - share) + left_side.reshape(shape) * share
    size = np.sqrt(np.square(moved).sum(axis=2).mean(axis=1))
    return np.asarray(moved * ((1 + (size / MOST) ** 4) ** -0.25)[:, None, None])


def _ramp(x: Float[ndarray, "*n"], start: float, end: float) -> Float64[ndarray, "*n"]:
    """Smooth step from 0 at `start` to 1 at `end`."""
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float64)


def lids(units: Float[ndarray, "*n 20"]) -> tuple[Float64[ndarray, "*n"], Float64[ndarray, "*n"]]:
    """Where the upper and the lower lid's edges are, in openings of an eye at rest: 1 and 0 at rest.

    AU5 lifts the upper, AU7 and AU6 push up the lower, AU43 brings both together.
    """
    au = {
        name: np.asarray(units[..., AU_INDEX[name]], np.float64)
        for name in ("AU05", "AU06", "AU07", "AU09", "AU43")
    }
    upper = 1 + 0.3 * au["AU05"] - 0.12 * au["AU07"] - 0.1 * au["AU06"] - 0.1 * au["AU09"]
    lower = 0.28 * au["AU07"] + 0.15 * au["AU06"] + 0.1 * au["AU09"]
    shut = np.clip(au["AU43"], 0, 1)
    upper, lower = (edge + (_LIDS_MEET - edge) * shut for edge in (upper, lower))
    return np.asarray(upper), np.asarray(lower)


def mouth_opening(units: Float[ndarray, "*n 20"]) -> Float64[ndarray, "*n"]:
    """How far the lips are asked to part, 0 shut .. 1: AU25 and AU26, unless AU24 or AU28 press them."""
    parted = units[..., AU_INDEX["AU25"]] + units[..., AU_INDEX["AU26"]]
    pressed = np.maximum(units[..., AU_INDEX["AU24"]], units[..., AU_INDEX["AU28"]])
    return np.asarray(np.clip(parted, 0, 1) * (1 - 0.8 * np.clip(pressed, 0, 1)), np.float64)


def _move_lids(
    face: Float64[ndarray, "T 468 3"],
    rest: Float64[ndarray, "468 3"],
    source: Float32[ndarray, "20"],
    sides: Float64[ndarray, "T 20 2"],
) -> None:
    """Slide both lids of both eyes; skin above and below follows by less the farther it is."""
    upper_now, lower_now = lids(source)
    for eye in (0, 1):
        upper, lower = list(UPPER_LIDS[eye]), list(LOWER_LIDS[eye])
        wide = (rest[lower] - rest[upper]) / max(float(upper_now - lower_now), _LEAST_OPENING)
        upper_then, lower_then = lids(sides[..., eye])
        lift = -(upper_then - upper_now)[:, None, None] * wide
        drop = -(lower_then - lower_now)[:, None, None] * wide
        face[:, upper], face[:, lower] = rest[upper] + lift, rest[lower] + drop
        for rows, move in ((_ABOVE[eye], lift), (_BELOW[eye], drop)):
            for row, share in rows:
                face[:, list(row)] += share * move


def _move_lips(
    face: Float64[ndarray, "T 468 3"],
    rest: Float64[ndarray, "468 3"],
    source: Float32[ndarray, "20"],
    trajectory: Float32[ndarray, "T 20"],
) -> None:
    """Part the lips as asked; where the source's are parted and the target's not, bring them together.

    What the reader missed of the source's opening goes as the clip leaves the source's expression.
    """
    upper, lower = list(UPPER_LIP[0]), list(LOWER_LIP[0])
    gap_now = rest[lower, 1] - rest[upper, 1]
    gap_model = face[:, lower, 1] - face[:, upper, 1]
    read = float(mouth_opening(source))
    unread = max(min(float(gap_now[3:6].mean()) / _PARTED, 1.0) - read, 0.0)
    change = np.abs(trajectory - source).sum(axis=1)
    left = 1 - change / max(float(change.max()), 1.0)
    asked, now = (mouth_opening(trajectory) + unread * left)[:, None], read + unread
    closing = np.clip(asked / now, 0, 1) if now > 0.05 else np.ones_like(asked)
    growth = np.maximum(gap_model - gap_now, 0.0) * np.clip(2.5 * asked, 0, 1) * _TAPER
    correction = closing * gap_now + growth - gap_model
    for rows, share in ((UPPER_LIP, -0.45), (LOWER_LIP, 0.55)):
        for row, follow in zip(rows, _LIP_FOLLOW, strict=True):
            face[:, list(row), 1] += share * follow * correction


def _turn_head(
    points: Float64[ndarray, "#T 468 3"], pose: Float32[ndarray, "T 3"], to_view: Float64[ndarray, "3 3"]
) -> Float64[ndarray, "T 468 3"]:
    """Yaw, pitch, roll in degrees about the neck; the pivot follows from the first frame's points."""
    yaw, pitch, roll = np.radians(pose.astype(np.float64)).T
    pivot = points[0, list(mesh.OUTER_EYE_CORNERS)].mean(axis=0) + _NECK @ to_view
    turns = _about(1, yaw) @ _about(0, pitch) @ _about(2, roll)
    return np.asarray((points - pivot) @ np.swapaxes(turns, 1, 2) + pivot)


def _about(axis: int, angle: Float64[ndarray, "T"]) -> Float64[ndarray, "T 3 3"]:
    turn = np.tile(np.eye(3), (len(angle), 1, 1))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[:, i, i] = turn[:, j, j] = np.cos(angle)
    turn[:, i, j], turn[:, j, i] = -np.sin(angle), np.sin(angle)
    return turn
