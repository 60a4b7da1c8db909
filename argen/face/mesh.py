"""The face as a mesh: MediaPipe's 478 points, their triangles, and how Action Units move them.

The linear model from 20 Action Units to the mesh is py-feat's (`au_to_mesh_pls_v4.npz`, fitted on real
video). It is read from the installed package by path: importing py-feat takes seconds and changes the
threading of the process. Coordinates are in image convention: x right, y down, z towards the viewer
negative; the origin is midway between the outer eye corners, whose distance in the calm face is 1.
Left and right are the subject's.
"""

from __future__ import annotations

import json
from functools import lru_cache, partial
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32
from numpy import ndarray

from argen.errors import ModelUnavailable
from argen.face import anatomy, models
from argen.face.action_units import ACTION_UNITS

# Closed rings start at the outer corner and run along the lower lid or lip first.
RIGHT_EYE: Final = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE: Final = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
OUTER_LIPS: Final = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip
INNER_LIPS: Final = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
FACE_OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
# Brows are polygons too: lower edge from the outer end inwards, then the upper edge back.
RIGHT_BROW: Final = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW: Final = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
# An iris is its centre, then four points on its rim.
RIGHT_IRIS: Final = (468, 469, 470, 471, 472)
LEFT_IRIS: Final = (473, 474, 475, 476, 477)
OUTER_EYE_CORNERS: Final = (33, 263)
# Hardly moved by any muscle: forehead and temples, nose bridge, eye corners. Heads are aligned on these.
STILL_POINTS: Final = (
    10, 109, 67, 103, 54, 21, 338, 297, 332, 284, 251, 127, 356, 234, 454,
    168, 6, 197, 195, 33, 133, 263, 362,
)  # fmt: skip


def au_mesh(action_units: Float[ndarray, "*shape 20"]) -> Float32[ndarray, "*shape 478 3"]:
    """The average face showing these Action Units (0..1, not clipped), in the module's coordinates.

    Raises ModelUnavailable where py-feat is not installed.
    """
    moved = np.tensordot(np.asarray(action_units, np.float32), au_displacements(), axes=1)
    return np.asarray(calm_mesh() + moved, np.float32)


def calm_mesh() -> Float32[ndarray, "478 3"]:
    """The average face at rest."""
    return _model()[0]


def au_displacements() -> Float32[ndarray, "20 478 3"]:
    """How far each vertex moves per Action Unit at full strength, within the unit's region.

    The learned model with what `argen.face.anatomy` takes out and adds.
    """
    return _model()[1]


@lru_cache(maxsize=1)
def triangles() -> Int32[ndarray, "898 3"]:
    """Triangles over the first 468 points, with closed eyes and mouth: see `skin_triangles`.

    Raises ModelUnavailable where py-feat is not installed.
    """
    text = models.locate("tessellation").read_text(encoding="utf-8")
    return np.asarray(json.loads(text)["triangles"], np.int32)


@lru_cache(maxsize=1)
def skin_triangles() -> Int32[ndarray, "852 3"]:
    """Triangles with the eyes and the mouth left open."""
    rings = (RIGHT_EYE, LEFT_EYE, INNER_LIPS)
    closing = [np.isin(triangles(), ring).all(axis=1) for ring in rings]
    return np.asarray(triangles()[~np.any(closing, axis=0)])


@lru_cache(maxsize=1)
def mirror_index() -> Int32[ndarray, "478"]:
    """For every vertex, the one on the other side of the face; its own inverse."""
    return _mirror(calm_mesh())


def similarity_directions(mesh: Float[ndarray, "V 3"]) -> Float32[ndarray, "7 V 3"]:
    """How vertices move under 3 translations, 3 small rotations and a growth of the whole mesh."""
    centred = np.asarray(mesh - mesh.mean(axis=0), np.float32)
    shifts = np.repeat(np.eye(3, dtype=np.float32)[:, None], len(mesh), axis=1)
    turns = np.stack([np.cross(axis, centred) for axis in np.eye(3, dtype=np.float32)])
    return np.concatenate([shifts, turns, centred[None]]).astype(np.float32)


@lru_cache(maxsize=1)
def _model() -> tuple[Float32[ndarray, "478 3"], Float32[ndarray, "20 478 3"]]:
    path = models.locate("au_to_mesh")
    with np.load(path, allow_pickle=False) as file:
        names, coef, intercept = file["au_columns"], file["coef"], file["intercept"]
    if tuple(names) != ACTION_UNITS or intercept.shape != (1434,):
        raise ModelUnavailable(f"{path}: not py-feat's AU-to-mesh model v4; install py-feat>=2.1.5")
    flip = np.array([1, -1, -1], np.float32)  # the model's y points up, its z towards the viewer
    calm = _to_vertices(intercept) * flip
    unit = np.linalg.norm(np.subtract(*calm[list(OUTER_EYE_CORNERS)]))
    origin = calm[list(OUTER_EYE_CORNERS)].mean(axis=0)
    calm = np.asarray((calm - origin) / unit, np.float32)
    # The three pose inputs that follow the twenty units stay 0.
    moves = _to_vertices(coef[: len(ACTION_UNITS)]) * flip / unit
    learned = np.asarray(moves, np.float32)
    return calm, anatomy.localised(calm, learned, _mirror(calm), partial(_without_motion, calm))


def _to_vertices(flat: Float[ndarray, "*shape 1434"]) -> Float[ndarray, "*shape 478 3"]:
    """The model's output is axis-major: all x, all y, all z."""
    return np.asarray(np.moveaxis(flat.reshape(*flat.shape[:-1], 3, 478), -2, -1))


def _without_motion(
    calm: Float32[ndarray, "478 3"], move: Float32[ndarray, "478 3"], still: Bool[ndarray, "478"]
) -> Float32[ndarray, "478 3"]:
    """Residual of a move after the head motion and growth that best explain it on the still vertices."""
    directions = similarity_directions(calm)
    basis = directions[:, still].reshape(7, -1).T
    amount, *_ = np.linalg.lstsq(basis, move[still].ravel(), rcond=None)
    return np.asarray(move - np.tensordot(amount, directions, axes=1), np.float32)


def _mirror(calm: Float32[ndarray, "478 3"]) -> Int32[ndarray, "478"]:
    from scipy.optimize import linear_sum_assignment

    mirrored = calm * np.array([-1, 1, 1], np.float32)
    distance = np.linalg.norm(mirrored[:, None] - calm[None], axis=2)
    # Pairs, not nearest points: at the mouth corners several lie closer than the face is symmetric.
    _, partner = linear_sum_assignment(np.square(distance + distance.T))
    return np.asarray(partner, np.int32)
