"""Who a puppet is: proportions, skin, hair and so on, all from one seed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.puppets.mesh import face_model

SKINS = ((246, 213, 190), (236, 188, 155), (219, 165, 128), (190, 132, 94), (150, 98, 66), (104, 66, 45))
HAIRS = (
    (24, 20, 19),
    (58, 38, 26),
    (96, 62, 36),
    (150, 108, 60),
    (205, 170, 110),
    (140, 60, 30),
    (165, 163, 160),
)
IRISES = ((70, 44, 24), (98, 66, 34), (92, 104, 62), (78, 112, 142), (106, 132, 150), (52, 36, 26))
CUTS = ("bald", "short", "side", "fringe", "long", "bob", "curly", "bun")

# name, centre vertices, radius, scale (x, y, z): a smooth lump of the mesh that grows about its centre
MODES = (
    ("face width", (168,), 3.0, (0.07, 0.0, 0.0)),
    ("face height", (168,), 3.0, (0.0, 0.06, 0.0)),
    ("jaw width", (152, 172, 397), 0.75, (0.13, 0.0, 0.0)),
    ("chin length", (152,), 0.45, (0.0, 0.16, 0.05)),
    ("cheeks", (50, 280), 0.5, (0.07, 0.0, 0.10)),
    ("nose width", (4,), 0.30, (0.16, 0.0, 0.0)),
    ("nose length", (4,), 0.35, (0.0, 0.12, 0.0)),
    ("nose depth", (4,), 0.35, (0.0, 0.0, 0.22)),
    ("eye size", (159, 145), 0.28, (0.10, 0.16, 0.0)),
    ("eye spacing", (159, 386), 0.45, (0.05, 0.0, 0.0)),
    ("eye slant", (33, 263), 0.3, (0.0, 0.0, 0.0)),
    ("mouth width", (13,), 0.45, (0.12, 0.0, 0.0)),
    ("lips", (13,), 0.22, (0.0, 0.30, 0.05)),
    ("brow height", (105, 334), 0.35, (0.0, 0.0, 0.0)),
    ("brow ridge", (9, 105, 334), 0.4, (0.0, 0.0, 0.12)),
    ("forehead", (10,), 0.6, (0.05, 0.08, 0.0)),
)


@dataclass(frozen=True)
class Person:
    """Everything about a puppet that an expression doesn't change."""

    seed: int
    shape: Float32[ndarray, "16"]  # one standard-normal number (clipped to 2) per mode of MODES
    skin: Float32[ndarray, "3"]  # RGB 0..255, like all colours here
    hair: Float32[ndarray, "3"]
    iris: Float32[ndarray, "3"]
    lips: Float32[ndarray, "3"]
    clothes: Float32[ndarray, "3"]
    cut: str
    hairline: float  # 0 low .. 1 receding
    volume: float  # thickness of the hair over the skull
    brow_weight: float  # thickness, 0..1
    beard: float  # 0 none .. 1 full
    moustache: float
    age: float  # 0 smooth .. 1 lined: static lines, and deeper dynamic ones
    glasses: int  # 0 none, 1 round, 2 square
    makeup: float
    freckles: float

    @property
    def vector(self) -> Float32[ndarray, "D"]:
        """All parameters as numbers: the ground truth of identity."""
        rest = [
            getattr(self, field.name) for field in fields(self) if field.name not in {"seed", "shape", "cut"}
        ]
        numbers = np.concatenate([np.atleast_1d(np.asarray(value, np.float32)) for value in rest])
        return np.concatenate([self.shape, numbers, [CUTS.index(self.cut)]]).astype(np.float32)

    @cached_property
    def neutral(self) -> Float32[ndarray, "478 3"]:
        """The person's own mesh with a neutral face; read only."""
        mesh = _shaped(face_model().neutral, self.shape)
        mesh.setflags(write=False)
        return mesh


@lru_cache(maxsize=512)
def sample_person(seed: int) -> Person:
    """The puppet with this number; the same number is the same person, everywhere."""
    rng = np.random.default_rng([0x9E37, seed])
    mature = rng.random()
    long_haired = rng.random() < 0.5
    cut = str(rng.choice(CUTS[3:] if long_haired else (*CUTS[:4], "curly")))
    skin = _mix(rng, SKINS, 7.0)
    hair = _mix(rng, HAIRS, 6.0) if mature < 0.8 else np.array(HAIRS[-1]) + rng.normal(0, 18)
    bearded = (not long_haired) and rng.random() < 0.45
    return Person(
        seed=seed,
        shape=np.clip(rng.normal(0, 1, len(MODES)), -2, 2).astype(np.float32),
        skin=_colour(skin),
        hair=_colour(hair),
        iris=_colour(_mix(rng, IRISES, 6.0)),
        lips=_colour(
            skin * [0.84, 0.64, 0.64] + rng.normal(0, 6, 3) + (rng.random() < 0.25) * np.array([20, -14, -8])
        ),
        clothes=_colour(rng.uniform(20, 225, 3)),
        cut=cut,
        hairline=float(rng.beta(2, 4) if not long_haired else rng.beta(2, 6)),
        volume=float(rng.uniform(0.04, 0.14)),
        brow_weight=float(rng.uniform(0.2, 1.0) * (0.75 if long_haired else 1.0)),
        beard=float(rng.uniform(0.3, 1.0)) if bearded else 0.0,
        moustache=float(rng.uniform(0.3, 1.0)) if bearded and rng.random() < 0.7 else 0.0,
        age=float(np.clip(mature + rng.normal(0, 0.1), 0, 1)),
        glasses=int(rng.choice([0, 0, 0, 0, 1, 2])),
        makeup=float(rng.uniform(0.2, 1.0)) if long_haired and rng.random() < 0.5 else 0.0,
        freckles=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.2 else 0.0,
    )


def _mix(rng: np.random.Generator, palette: tuple[tuple[int, int, int], ...], spread: float) -> ndarray:
    first, second = rng.choice(len(palette) - 1), rng.random()
    colour = np.array(palette[first]) * (1 - second) + np.array(palette[first + 1]) * second
    return np.asarray(colour * np.exp(rng.normal(0, 0.01 * spread)) + rng.normal(0, 0.4 * spread, 3))


def _colour(rgb: ndarray) -> Float32[ndarray, "3"]:
    return np.asarray(np.clip(rgb, 8, 250).astype(np.float32))


def _shaped(mesh: Float32[ndarray, "478 3"], shape: Float32[ndarray, "16"]) -> Float32[ndarray, "478 3"]:
    moved = mesh.copy()
    for amount, (name, centres, radius, scale) in zip(shape, MODES, strict=True):
        for part in (centres,) if len(centres) == 1 or name in {"jaw width", "face width"} else zip(centres):
            middle = mesh[list(part)].mean(axis=0)
            weight = np.exp(-((mesh - middle) ** 2 * [1, 1, 0.3]).sum(axis=1) / (2 * radius**2))[:, None]
            moved += amount * weight * (mesh - middle) * scale
    moved += shape[9] * 0.035 * _lump(mesh, ((159, 145), (386, 374)), 0.25, outward=True)
    moved[:, 1] += shape[10] * 0.03 * _lump(mesh, ((33,), (263,)), 0.16)[:, 1]
    moved[:, 1] += shape[13] * 0.035 * _lump(mesh, ((105, 66), (334, 296)), 0.20)[:, 1]
    return moved.astype(np.float32)


def _lump(
    mesh: ndarray, groups: tuple[tuple[int, ...], ...], radius: float, outward: bool = False
) -> ndarray:
    """Weight around each group, as a displacement along y (or away from the midline)."""
    total = np.zeros_like(mesh)
    for group in groups:
        middle = mesh[list(group)].mean(axis=0)
        weight = np.exp(-((mesh - middle)[:, :2] ** 2).sum(axis=1) / (2 * radius**2))
        total[:, 0 if outward else 1] += weight * (np.sign(middle[0]) if outward else 1)
    return total
