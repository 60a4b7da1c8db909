"""Skin as a picture: brows, lips, beard, blush, lines. Frontal projection of the person's own mesh."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from argen.puppets.mesh import OUTER_LIPS, face_model
from argen.puppets.person import Person

SIDE = 192
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
BEARD = (
    132,
    58,
    172,
    136,
    150,
    149,
    176,
    148,
    152,
    377,
    400,
    378,
    379,
    365,
    397,
    288,
    361,
    433,
    287,
    17,
    57,
    213,
)
MOUSTACHE = (61, 186, 92, 165, 167, 164, 393, 391, 322, 410, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)


def uv(points: Float[ndarray, "*N 3"]) -> Float32[ndarray, "*N 2"]:
    """Texture coordinates in pixels of a neutral mesh point."""
    u = (points[..., 0] + 1.15) / 2.3 * SIDE
    v = (1.25 - points[..., 1]) / 2.5 * SIDE
    return np.clip(np.stack([u, v], axis=-1), 0, SIDE - 1.01).astype(np.float32)


def skin_texture(person: Person) -> Float32[ndarray, "S S 3"]:
    """Albedo, 0..255."""
    rng = np.random.default_rng([0x7E7, person.seed])
    at = uv(person.neutral)
    picture = np.broadcast_to(person.skin, (SIDE, SIDE, 3)).astype(np.float32).copy()
    mottle = _noise(rng, 12) * 5 + _noise(rng, 48) * 3
    picture += mottle[..., None]
    _blend(picture, _spot(at, (50, 280), 22.0), person.skin * [1.02, 0.80, 0.78], 0.35 + 0.3 * person.makeup)
    _blend(picture, _spot(at, (1,), 9.0), person.skin * [1.0, 0.82, 0.80], 0.3)
    _blend(
        picture,
        _spot(at, (145, 374), 10.0, (0, 6)),
        person.skin * [0.80, 0.74, 0.76],
        0.25 + 0.35 * person.age,
    )
    if person.freckles:
        dots = (rng.random((SIDE, SIDE)) < 0.03 * person.freckles).astype(np.float32)
        mask = cv2.GaussianBlur(dots, (3, 3), 0.8) * _spot(at, (50, 280, 1), 24.0)
        _blend(picture, np.clip(2 * mask, 0, 1), person.skin * [0.7, 0.55, 0.45], 0.8)
    _paint_beard(picture, person, at, rng)
    if person.makeup:
        _blend(
            picture, _spot(at, (159, 386), 10.0, (0, -5)), person.lips * [0.8, 0.7, 0.9], 0.5 * person.makeup
        )
    lips = _polygon(at[list(OUTER_LIPS)], 0.8)
    _blend(picture, lips, person.lips, 0.75)
    for brow in BROWS:
        _paint_brow(picture, person, at[list(brow)], rng)
    lines = line_maps()
    static = person.age * (
        0.5 * lines[0] + 0.4 * lines[1] + 0.5 * lines[3] + 0.65 * lines[4] + 0.3 * lines[7]
    )
    return np.asarray(
        np.clip(picture * (1 - 0.2 * np.clip(static, 0, 1))[..., None], 0, 255).astype(np.float32)
    )


def _paint_brow(picture: ndarray, person: Person, ring: ndarray, rng: np.random.Generator) -> None:
    upper, lower = ring[:5], ring[5:][::-1]
    middle = (upper + lower) / 2
    half = (0.35 + 0.5 * person.brow_weight) * (upper - lower) / 2
    ring = np.concatenate([middle + half, (middle - half)[::-1]])
    hairs = 0.75 + 0.25 * _noise(rng, 96)
    colour = np.minimum(person.hair * 0.8, person.skin * 0.62)
    _blend(picture, _polygon(ring, 1.1) * np.clip(hairs, 0, 1), colour, 0.65 + 0.3 * person.brow_weight)


def _paint_beard(picture: ndarray, person: Person, at: ndarray, rng: np.random.Generator) -> None:
    stubble = np.clip(0.8 + 0.35 * _noise(rng, 96), 0, 1)
    colour = np.minimum(person.hair * 0.9, person.skin * 0.75)
    if person.beard:
        _blend(picture, _polygon(at[list(BEARD)], 4.0) * stubble, colour, 0.9 * person.beard)
    if person.moustache:
        _blend(picture, _polygon(at[list(MOUSTACHE)], 2.0) * stubble, colour, 0.9 * person.moustache)


def _noise(rng: np.random.Generator, cells: int) -> Float32[ndarray, "S S"]:
    small = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def _blend(picture: ndarray, mask: ndarray, colour: ndarray, opacity: float) -> None:
    share = (mask * opacity)[..., None].astype(np.float32)
    picture *= 1 - share
    picture += share * np.asarray(colour, np.float32)


def _spot(at: ndarray, vertices: tuple[int, ...], radius: float, shift: tuple[int, int] = (0, 0)) -> ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    total = np.zeros((SIDE, SIDE), np.float32)
    for vertex in vertices:
        centre = at[vertex] + shift
        total = np.maximum(total, np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * radius**2)))
    return total


def _polygon(ring: ndarray, blur: float) -> Float32[ndarray, "S S"]:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mask, [np.round(ring * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), blur), np.float32) / 255


# Lines that a unit draws: which units, and the strokes (vertex chains) they draw
LINES = (
    ("forehead", (0, 1), ((54, 103, 67, 109, 10, 338, 297, 332, 284),
                          (68, 104, 69, 108, 151, 337, 299, 333, 298))),
    ("frown", (2,), ((9, 107), (9, 336), (8, 55), (8, 285))),
    ("nose", (6,), ((193, 168, 417), (122, 6, 351), (196, 197, 419), (48, 131, 198), (278, 360, 420))),
    ("crow's feet", (4, 5), ((33, 35), (33, 124), (130, 143), (263, 265), (263, 353), (359, 372))),
    ("nasolabial", (6, 7, 8, 9), ((129, 203, 206, 216, 212), (358, 423, 426, 436, 432))),
    ("dimple", (10, 9), ((57, 212), (287, 432))),
    ("marionette", (11, 13), ((61, 202, 210), (291, 422, 430))),
    ("chin", (12,), ((18, 200), (194, 201, 200, 421, 418), (140, 171, 175, 396, 369))),
    ("under eye", (4, 5), ((130, 110, 24, 23, 22, 26), (359, 339, 254, 253, 252, 256))),
    ("lip rim", (14, 15, 18), ((37, 164, 267), (91, 181, 17, 405, 321))),
)  # fmt: skip


@cache
def line_maps() -> Float32[ndarray, "10 S S"]:
    """How dark each family of lines draws each point of the skin, 0..1."""
    at = uv(face_model().neutral)
    maps = np.zeros((len(LINES), SIDE, SIDE), np.float32)
    for row, (_, _, strokes) in enumerate(LINES):
        canvas = np.zeros((SIDE, SIDE), np.uint8)
        for stroke in strokes:
            chain = np.round(at[list(stroke)] * 16).astype(np.int32)
            cv2.polylines(canvas, [chain], False, 255, 3, cv2.LINE_AA, 4)
        maps[row] = cv2.GaussianBlur(canvas, (0, 0), 2.0) / 255.0
    return np.asarray(np.clip(maps * 1.5, 0, 1))


def line_depth(action_units: Float32[ndarray, "T 20"], age: float) -> Float32[ndarray, "T S S"]:
    """How much of the light the moving lines of each frame take away, 0..1."""
    drawn = np.stack([action_units[:, list(units)].max(axis=1) for _, units, _ in LINES], axis=1)
    depth = (0.22 + 0.20 * age) * drawn.astype(np.float32) @ line_maps().reshape(len(LINES), -1)
    return np.asarray(np.clip(depth, 0, 0.7).reshape(-1, SIDE, SIDE))
