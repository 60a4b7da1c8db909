"""Behind the head and in front of it: backgrounds and glasses."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen.puppets.person import Person


@lru_cache(maxsize=32)
def backdrop(seed: int, side: int) -> UInt8[ndarray, "S S 3"]:
    """What is behind the puppet: a ramp, clouds, a few boxes, out of focus."""
    rng = np.random.default_rng([0xBAC, seed])
    base, other = (rng.uniform(50, 205) + rng.normal(0, 22, 3) for _ in range(2))
    ramp = (
        np.linspace(0, 1, side)[:, None, None]
        if rng.random() < 0.5
        else np.linspace(0, 1, side)[None, :, None]
    )
    picture = base + (other - base) * 0.6 * ramp + np.zeros((side, side, 3))
    for cells, amount in ((5, 16), (14, 8)):
        noise = (
            rng.normal(0, amount, (cells, cells, 1)) + rng.normal(0, 0.35 * amount, (cells, cells, 3))
        ).astype(np.float32)
        picture += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 5)):
        corner = rng.integers(0, side, 2)
        extent = rng.integers(side // 10, side // 2, 2)
        tint = tuple(float(c) for c in rng.uniform(40, 215) + rng.normal(0, 22, 3))
        cv2.rectangle(picture, tuple(map(int, corner)), tuple(map(int, corner + extent)), tint, -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.01, 0.03) * side)))


def background(seed: int, side: int, frames: int) -> UInt8[ndarray, "T S S 3"]:
    """The same backdrop for every frame."""
    return np.repeat(backdrop(seed, side)[None], frames, axis=0)


def draw_glasses(picture: UInt8[ndarray, "T S S 3"], points: ndarray, person: Person) -> None:
    """Frames and temples, on top of what is drawn."""
    dark = tuple(float(c) for c in np.array([30, 26, 24]) + 20 * (person.seed % 3))
    width = max(1, picture.shape[1] // 72)
    for frame, mesh in zip(picture, points, strict=True):
        ends = []
        for outer, inner, temple in ((33, 133, 127), (263, 362, 356)):
            middle = (mesh[outer, :2] + mesh[inner, :2]) / 2
            half = np.abs(mesh[outer, 0] - mesh[inner, 0]) * 0.78
            box = np.array([half, half * (0.8 if person.glasses == 1 else 0.62)])
            if person.glasses == 1:
                cv2.ellipse(frame, _at(middle), _at(box), 0, 0, 360, dark, width, cv2.LINE_AA)
            else:
                cv2.rectangle(frame, _at(middle - box), _at(middle + box), dark, width, cv2.LINE_AA)
            toward = np.sign(mesh[temple, 0] - middle[0])
            cv2.line(
                frame,
                _at(middle + np.array([toward * half, 0])),
                _at(mesh[temple, :2]),
                dark,
                width,
                cv2.LINE_AA,
            )
            ends.append(middle - [toward * half, 0])
        cv2.line(frame, _at(ends[0]), _at(ends[1]), dark, width, cv2.LINE_AA)


def _at(point: ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
