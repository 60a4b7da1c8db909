"""Everything of a head that the face mesh lacks: eyeballs, mouth, skull, ears, hair, neck, shoulders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy import ndarray

from argen.puppets.mesh import INNER_LIPS, LEFT_EYE, OVAL, RIGHT_EYE, face_model
from argen.puppets.person import Person
from argen.puppets.texture import uv


class Material(IntEnum):
    """How a triangle is coloured."""

    SKIN = 0
    EYE = 1
    MOUTH = 2
    HAIR = 3
    CLOTH = 4


@dataclass(frozen=True)
class Head:
    """Static parts of one person: vertices beyond the face mesh, triangles, and what shades them.

    Vertices are, in order: the 478 of the face, two eye centres and the mouth centre (moved with their
    rings), then `extra`, rigid with the head; the last `body` of them stay when the head turns.
    """

    extra: Float32[ndarray, "E 3"]
    body: int
    triangles: Int32[ndarray, "F 3"]
    material: UInt8[ndarray, "F"]
    bias: Float32[ndarray, "F"]
    coordinates: Float32[ndarray, "N 2"]  # texture pixels on skin, strand coordinates on hair


CENTRES = 3
FIRST = 478 + CENTRES
EYE_CENTRES = (478, 479)
MOUTH_CENTRE = 480


def build_head(person: Person) -> Head:
    """All parts of one person's head."""
    neutral = person.neutral
    parts = _Parts(neutral)
    parts.add_faces(face_model().triangles, Material.SKIN)
    for centre, ring in ((478, RIGHT_EYE), (479, LEFT_EYE), (480, INNER_LIPS)):
        material = Material.MOUTH if centre == 480 else Material.EYE
        fan = [(centre, ring[i], ring[(i + 1) % len(ring)]) for i in range(len(ring))]
        parts.add_faces(_facing(np.array(fan, np.int32), neutral, centre), material)
    _add_skull(parts, neutral)
    _add_ears(parts, neutral, person)
    if person.cut != "bald":
        _add_hair(parts, neutral, person)
    _add_body(parts, neutral, person)
    return parts.finish()


class _Parts:
    """Collects vertices and triangles."""

    def __init__(self, neutral: ndarray) -> None:
        self.points: list[ndarray] = []
        self.coordinates = [uv(neutral), np.zeros((CENTRES, 2), np.float32)]
        self.faces: list[ndarray] = []
        self.materials: list[ndarray] = []
        self.biases: list[ndarray] = []
        self.count = FIRST
        self.body = 0

    def add_points(self, points: ndarray, coordinates: ndarray | None = None) -> int:
        """Index of the first of the new vertices."""
        first = self.count
        self.points.append(points.astype(np.float32))
        self.coordinates.append(uv(points) if coordinates is None else coordinates.astype(np.float32))
        self.count += len(points)
        return first

    def add_faces(self, faces: ndarray, material: Material, bias: float = 0.0) -> None:
        self.faces.append(faces.astype(np.int32))
        self.materials.append(np.full(len(faces), int(material), np.uint8))
        self.biases.append(np.full(len(faces), bias, np.float32))

    def add_grid(
        self, rings: list[ndarray], material: Material, bias: float = 0.0, strands: bool = False
    ) -> None:
        """Quads between successive rings of equal length (open, both windings so that it has two sides)."""
        width = len(rings[0])
        points = np.concatenate(rings)
        along = np.repeat(np.linspace(0, 1, len(rings)), width)
        across = np.tile(np.linspace(0, 1, width), len(rings))
        first = self.add_points(points, np.stack([across, along], 1) if strands else None)
        i, j = np.meshgrid(np.arange(len(rings) - 1), np.arange(width - 1), indexing="ij")
        a = (first + i * width + j).ravel()
        quads = np.concatenate(
            [np.stack([a, a + 1, a + width], 1), np.stack([a + 1, a + width + 1, a + width], 1)]
        )
        self.add_faces(np.concatenate([quads, quads[:, ::-1]]), material, bias)

    def finish(self) -> Head:
        return Head(
            np.concatenate(self.points),
            self.body,
            np.concatenate(self.faces),
            np.concatenate(self.materials),
            np.concatenate(self.biases),
            np.concatenate(self.coordinates),
        )


def _facing(fan: ndarray, neutral: ndarray, centre: int) -> ndarray:
    """The fan wound like the skin, whichever way its ring is listed."""
    points = np.concatenate([neutral, np.zeros((CENTRES, 3), np.float32)])
    points[centre] = neutral[fan[:, 1]].mean(axis=0)
    a, b, c = points[fan[0]][:, :2]
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    return fan if cross * SKIN_WINDING > 0 else fan[:, ::-1]


SKIN_WINDING = 1.0  # sign of a skin triangle's area seen from the front, y up


def _outline(neutral: ndarray) -> ndarray:
    ring = neutral[list(OVAL)]
    return np.concatenate([ring, ring[:1]])


def _add_skull(parts: _Parts, neutral: ndarray) -> None:
    ring = _outline(neutral)
    up = np.clip(ring[:, 1:2] / 1.1, -1, 1)
    top = np.clip(up, 0, 1)
    rings = [ring]
    for spread, rise, back in ((1.02, 0.06, 0.22), (1.04, 0.16, 0.6), (0.98, 0.18, 1.1), (0.6, 0.1, 1.6)):
        grown = ring * [spread, 1.0, 1.0]
        grown[:, 1:2] = ring[:, 1:2] * np.where(up > 0, 1, 1 - 0.16 * back) + rise * top
        grown[:, 2] -= back * (0.45 + 0.55 * (up[:, 0] > -0.5))
        rings.append(grown)
    parts.add_grid(rings, Material.SKIN, bias=-0.02)


def _add_ears(parts: _Parts, neutral: ndarray, person: Person) -> None:
    size = 0.22 + 0.02 * float(person.shape[4])
    angle = np.linspace(0, 2 * np.pi, 11)
    for root, side in ((127, -1.0), (356, 1.0)):
        centre = neutral[root] + [side * 0.06, -0.17, -0.30]
        ring = np.stack(
            [side * (0.10 + 0.10 * np.cos(angle)), size * 1.25 * np.sin(angle), -0.10 * np.cos(angle)], 1
        )
        inner = centre + ring * 0.45
        parts.add_grid(
            [centre + ring, inner, np.broadcast_to(np.add(centre, (0, 0, -0.06)), ring.shape)], Material.SKIN
        )


def _add_hair(parts: _Parts, neutral: ndarray, person: Person) -> None:
    """A cap from the hairline over the skull; long cuts add a curtain behind the cheeks."""
    rng = np.random.default_rng([0x4A1, person.seed])
    ring = neutral[[*OVAL[28:], *OVAL[:9]]]  # from one temple over the top to the other
    side = np.abs(np.linspace(-1, 1, len(ring)))[:, None]
    curl = {"curly": 0.07, "bun": 0.01}.get(person.cut, 0.02)
    wave = rng.normal(0, curl, (6, len(ring), 3))
    drop = (1 - side**2) * (0.02 + 0.16 * (1 - person.hairline) - 0.12 * person.hairline)
    if person.cut == "fringe":
        drop = drop + 0.26 * (1 - side**4)
    if person.cut == "side":
        drop = drop + 0.16 * np.clip(np.linspace(-0.6, 1, len(ring)), 0, 1)[:, None] * (1 - side**6)
    front = ring - drop * [0.0, 1.0, -0.10] + [0, 0, 0.05]
    thick = person.volume * (2.2 if person.cut == "curly" else 1.0)
    rings = [front + 0.5 * wave[0]]
    for row, (spread, rise, back) in enumerate(
        ((0.6, 0.7, 0.08), (1.0, 1.6, 0.4), (1.1, 2.1, 0.9), (0.8, 1.6, 1.5))
    ):
        grown = ring * [1 + spread * thick, 1.0, 1.0]
        grown[:, 1:2] += (0.10 + rise * thick) * (1 - side**3)
        grown[:, 2] -= back
        rings.append(grown + wave[row + 1])
    parts.add_grid(rings, Material.HAIR, bias=0.06, strands=True)
    if person.cut in {"long", "bob", "curly", "fringe"}:
        _add_curtains(parts, ring, person, thick, wave)
    if person.cut == "bun":
        angle = np.linspace(0, 2 * np.pi, 12)
        ball = np.stack([0.28 * np.cos(angle), 0.24 * np.sin(angle), 0 * angle], 1)
        ball += np.array([0, 1.48 + thick, -0.6])
        parts.add_grid([ball, ball * 0 + ball.mean(0)], Material.HAIR, strands=True)


def _add_curtains(parts: _Parts, ring: ndarray, person: Person, thick: float, wave: ndarray) -> None:
    length = {"long": 2.3, "bob": 1.25, "curly": 0.9, "fringe": 1.7}[person.cut]
    for end, side in ((ring[0], -1.0), (ring[-1], 1.0)):
        reach = np.linspace(0, 1, 7)[:, None]
        down = end + reach * [side * 0.12, -length, 0] + [side * 0.02, 0.35, -0.25] + wave[0, :7]
        out = down + [side * (0.16 + 1.2 * thick), 0.05, -0.45] + wave[1, :7]
        back = down * [0.5, 1, 1] + [0, 0, -1.1]
        parts.add_grid([down, out, back], Material.HAIR, bias=-0.05, strands=True)


def _add_body(parts: _Parts, neutral: ndarray, person: Person) -> None:
    """Neck and shoulders, which stay when the head turns."""
    before = parts.count
    angle = np.linspace(-np.pi, 0, 12)
    radius = 0.62 + 0.06 * float(person.shape[2])
    neck = [
        np.stack([radius * k * np.cos(angle), np.full(12, y), -0.75 - radius * k * np.sin(angle)], 1)
        for y, k in ((-0.55, 0.95), (-1.3, 0.95), (-1.7, 1.05), (-2.0, 1.6))
    ]
    parts.add_grid(neck, Material.SKIN, bias=-0.6)
    across = np.linspace(-2.6, 2.6, 12)
    top = -1.62 - 0.10 * across**2 - 0.25 * np.exp(-(across**2) / 0.12)
    rows = [np.stack([across, top - depth, np.full(12, -0.35 - 0.1 * depth)], 1) for depth in (0.0, 0.5, 1.6)]
    parts.add_grid(rows, Material.CLOTH, bias=-0.5)
    parts.body = parts.count - before
