"""Light and colour: per vertex for the light, per pixel for skin, hair, eyes and mouth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.puppets.head import Head, Material, build_head
from argen.puppets.mesh import LEFT_EYE, RIGHT_EYE, face_model
from argen.puppets.person import Person, sample_person
from argen.puppets.raster import Fragments
from argen.puppets.scene import Performance, Scene
from argen.puppets.texture import SIDE, line_depth, skin_texture

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Look:
    """Everything about one person's picture that no frame changes."""

    neutral: ndarray
    head: Head
    texture: ndarray
    strands: ndarray
    person: Person


def look_of(person: Person) -> Look:
    """Built once for the puppets of `sample_person`."""
    return _known_look(person.seed) if sample_person(person.seed) is person else _make_look(person)


@lru_cache(maxsize=64)
def _known_look(seed: int) -> Look:
    return _make_look(sample_person(seed))


def _make_look(person: Person) -> Look:
    rng = np.random.default_rng([0x57A, person.seed])
    coarse = 64 if person.cut != "curly" else 40
    noise = cv2.resize(
        rng.normal(0, 1, (6 if person.cut != "curly" else 40, coarse)).astype(np.float32), (128, 64)
    )
    return Look(person.neutral, build_head(person), skin_texture(person), noise, person)


@cache
def _incidence(key: bytes, shape: tuple[int, int], vertices: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    triangles = np.frombuffer(key, np.int32).reshape(shape)
    rows, columns = triangles.ravel(), np.repeat(np.arange(len(triangles)), 3)
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(vertices, len(triangles)))


def _normals(points: ndarray, triangles: ndarray) -> Float32[ndarray, "T N 3"]:
    corner = points[:, triangles]
    a, b = corner[:, :, 1] - corner[:, :, 0], corner[:, :, 2] - corner[:, :, 0]
    cross = np.empty_like(a)
    cross[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    cross[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    cross[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    sums = _incidence(triangles.tobytes(), triangles.shape, points.shape[1])
    flat = sums @ cross.transpose(1, 0, 2).reshape(len(triangles), -1)
    normal = flat.reshape(points.shape[1], len(points), 3).transpose(1, 0, 2)
    return np.asarray(normal / (np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-8), np.float32)


def vertex_light(placed: ndarray, head: Head, scene: Scene) -> Float32[ndarray, "T N"]:
    """Ambient, diffuse, and the soft shadow of brow, nose and chin, per vertex."""
    skin = (head.material == Material.SKIN) | (head.material >= Material.HAIR)
    one_sided = head.triangles[skin]
    normal = _normals(placed, one_sided)
    normal[:, 478:] = _outward(placed)[:, 478:]
    diffuse = np.clip(normal @ scene.light, 0, 1)
    sky = 0.5 + 0.5 * normal[..., 1]
    light = scene.ambient * (0.75 + 0.25 * sky) + (1.12 - scene.ambient) * diffuse
    cavity = np.zeros(placed.shape[1], np.float32)
    cavity[:478] = _cavities()
    light = light * (1 - cavity * (0.35 + 0.45 * max(float(scene.light[1]), 0.0)))
    light[:, -head.body :] *= 0.8  # the head's shadow
    return np.asarray(light, np.float32)


def _outward(points: ndarray) -> ndarray:
    away = points - np.array([0, 0.1, -0.9], np.float32)
    return np.asarray(away / (np.linalg.norm(away, axis=-1, keepdims=True) + 1e-8))


@cache
def _cavities() -> Float32[ndarray, "478"]:
    """Where little light reaches: eye sockets, under the nose, under the lip."""
    points = face_model().neutral
    depth = np.zeros(478, np.float32)
    for centre, radius, amount in (
        (157, 0.16, 0.45), (384, 0.16, 0.45), (243, 0.1, 0.35), (463, 0.1, 0.35),
        (164, 0.09, 0.30), (18, 0.09, 0.25), (129, 0.08, 0.2), (358, 0.08, 0.2),
        (98, 0.06, 0.5), (327, 0.06, 0.5),
    ):  # fmt: skip
        away = ((points[:, :2] - points[centre, :2]) ** 2).sum(axis=1)
        depth = np.maximum(depth, amount * np.exp(-away / (2 * radius**2)))
    return depth


def pixel_colours(
    found: Fragments, look: Look, model: ndarray, performance: Performance, shade: ndarray
) -> Float32[ndarray, "P 3"]:
    """Colour of every covered pixel under white light, 0..255."""
    material = look.head.material[found.triangles]
    light = _interpolate(shade.ravel(), found.corners, found.weights)
    vertices = model.shape[1]
    colour = np.empty((len(light), 3), np.float32)
    for kind in Material:
        at = np.flatnonzero(material == kind)
        if len(at) == 0:
            continue
        corners, weights = found.corners[at], found.weights[at]
        frame = corners[:, 0] // vertices
        if kind == Material.SKIN:
            colour[at] = _skin(corners % vertices, weights, frame, look, performance) * light[at, None]
        elif kind == Material.HAIR:
            colour[at] = _hair(corners % vertices, weights, look) * light[at, None]
        elif kind == Material.CLOTH:
            colour[at] = look.person.clothes * light[at, None]
        elif kind == Material.EYE:
            colour[at] = _eye(corners, weights, look, model, performance)
        else:
            colour[at] = _mouth(corners, weights, frame, model)
    return colour


def _interpolate(
    values: Float32[ndarray, "N *k"], corners: ndarray, weights: Float32[ndarray, "P 3"]
) -> Float32[ndarray, "P *k"]:
    """The weighted sum of three rows of `values` for each pixel, as one sparse product."""
    from scipy.sparse import csr_matrix

    ends = np.arange(0, 3 * len(corners) + 1, 3, dtype=np.int32)
    mix = csr_matrix((weights.ravel(), corners.ravel(), ends), shape=(len(corners), len(values)))
    return np.asarray(mix @ values)


def _skin(
    corners: ndarray, weights: ndarray, frame: ndarray, look: Look, performance: Performance
) -> ndarray:
    at = _interpolate(look.head.coordinates, corners, weights).astype(np.int32)
    flat = at[:, 1] * SIDE + at[:, 0]
    depth = line_depth(performance.action_units, look.person.age).ravel()[frame * SIDE * SIDE + flat]
    return np.asarray(look.texture.reshape(-1, 3)[flat] * (1 - depth)[:, None])


def _hair(corners: ndarray, weights: ndarray, look: Look) -> ndarray:
    at = _interpolate(look.head.coordinates, corners, weights)
    strand = look.strands[(at[:, 1] * 63).astype(np.int32), (at[:, 0] * 127).astype(np.int32)]
    shine = np.exp(-((at[:, 1] - 0.35) ** 2) / 0.02)
    return np.asarray(look.person.hair * (0.95 + 0.16 * strand + 0.25 * shine)[:, None])


def _eye(corners: ndarray, weights: ndarray, look: Look, model: ndarray, performance: Performance) -> ndarray:
    """Iris and pupil on the ball, shadow and lashes at the rim of the upper lid."""
    vertices = model.shape[1]
    frame = corners[:, 0] // vertices
    position = _interpolate(model.reshape(-1, 3), corners, weights)
    left = (corners == frame[:, None] * vertices + 479).any(axis=1)
    ball = np.stack([look.neutral[list(ring)].mean(axis=0) for ring in (RIGHT_EYE, LEFT_EYE)])
    half = 0.5 * np.linalg.norm(look.neutral[33] - look.neutral[133])
    home = ball[left.astype(int)] + _socket_motion(model, look.neutral)[frame, left.astype(int)]
    centre = home[:, :2] + performance.gaze[frame] * [0.42 * half, 0.22 * half]
    away = np.linalg.norm(position[:, :2] - centre, axis=1) / half
    rim = 1 - weights[np.arange(len(corners)), (corners % vertices >= 478).argmax(axis=1)]
    ring = (corners % vertices) < 478
    rise = np.where(ring, model.reshape(-1, 3)[corners][..., 1], 0).sum(1) / ring.sum(1) - home[:, 1]
    white = np.array([232, 228, 224], np.float32) * (0.92 - 0.30 * np.clip(rim, 0, 1)[:, None] ** 2)
    iris = _step(0.50 - away, 0.05)[:, None]
    pupil = _step(0.20 - away, 0.05)[:, None]
    colour = white * (1 - iris) + iris * look.person.iris * (0.8 + 0.5 * away[:, None])
    colour = colour * (1 - pupil) + pupil * 18
    glint = np.exp(-(((position[:, :2] - centre) / half - [0.14, 0.16]) ** 2).sum(1) / 0.008)[:, None]
    colour = colour + 170 * glint * iris
    upper = np.clip(rise / (0.25 * half), 0, 1)
    lash = _step(rim - (0.80 - 0.16 * upper), 0.08) * (0.25 + 0.75 * upper)
    return np.asarray(colour * (1 - 0.85 * lash)[:, None])


def _socket_motion(model: ndarray, neutral: ndarray) -> Float32[ndarray, "T 2 3"]:
    """How far each eye as a whole has moved in the head: that of its corners."""
    corners = np.array([[33, 133], [263, 362]])
    return np.asarray((model[:, corners] - neutral[corners]).mean(axis=2))


def _mouth(corners: ndarray, weights: ndarray, frame: ndarray, model: ndarray) -> ndarray:
    """Upper teeth hang from the skull, lower teeth and tongue ride on the jaw."""
    x, y = _interpolate(model.reshape(-1, 3), corners, weights)[:, :2].T
    upper, lower = model[frame, 13, 1], model[frame, 14, 1]
    corner = 0.5 * np.abs(model[frame, 308, 0] - model[frame, 78, 0])
    gap = upper - lower
    depth = np.clip(gap / 0.5, 0, 1)
    across = x / np.maximum(corner, 1e-3)
    dark = np.array([74, 26, 26], np.float32) * (1.1 - 0.7 * depth)[:, None]
    tongue = _step(lower + 0.42 * gap - y - 0.3 * gap * across**2, 0.03) * np.clip(gap * 4 - 0.4, 0, 1)
    colour = dark * (1 - tongue[:, None]) + tongue[:, None] * np.array([176, 84, 84], np.float32)
    edge = upper - 0.115 + 0.03 * across**2
    teeth = _step(y - edge, 0.02) * _step(0.92 - np.abs(across), 0.1)
    low = _step(lower + 0.06 * np.clip(3 * gap, 0, 1) - y, 0.02) * _step(0.75 - np.abs(across), 0.1) * 0.7
    enamel = np.maximum(teeth, low)[:, None]
    seam = 1 - 0.10 * (np.abs((x * 11) % 1 - 0.5) > 0.42)
    white = np.array([232, 224, 208], np.float32) * (1 - 0.35 * across[:, None] ** 2) * seam[:, None]
    return np.asarray(colour * (1 - enamel) + enamel * white)


def _step(value: ndarray, soft: float) -> ndarray:
    return np.clip(0.5 + value / (2 * soft), 0, 1)
