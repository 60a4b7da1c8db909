"""What the gate sees of a face: for every patch of the flat face and every frame, its pixels and its mesh.

Pixels say how a patch is, how it differs from the clip's own typical frame, and how it changed since the
frame before. The mesh speaks by how it moves: where it lies is the head's pose and the person's build, and
rejected good clips when we tried it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray

from argen.anomaly.canonical import Canonical

PATCH = 8  # pixels of the flat face
FLOOR = 5e-3  # of a change in brightness (0..1) or of a move in patches: below is noise and rounding


def pixel_features(
    frames: UInt8[ndarray, "T H W 3"], landmarks: Float32[ndarray, "T 478 3"], canonical: Canonical
) -> Float32[ndarray, "T N D"]:
    """Colour against the clip's skin, structure, sharpness, asymmetry, and how each changes."""
    flat = canonical.unwrap(frames, landmarks)
    skin = flat[:, canonical.inside].mean(axis=(0, 1))
    flat = flat / np.maximum(skin, 1e-3) * canonical.inside[..., None]
    grey = flat.mean(axis=3)
    typical = np.median(flat, axis=0, keepdims=True)
    edges = np.log(_pool(_laplacian(grey)) + FLOOR)
    change = flat - typical
    step = np.diff(flat, axis=0, prepend=flat[:1])
    step[0] = step[1]
    parts = [
        _pool(flat),
        np.log(_pool(np.abs(np.gradient(grey, axis=1)))[..., None] + FLOOR),
        np.log(_pool(np.abs(np.gradient(grey, axis=2)))[..., None] + FLOOR),
        edges[..., None],
        np.log(_pool(np.abs(grey - grey[:, :, ::-1]))[..., None] + FLOOR),
        _pool(change),
        np.log(_pool(np.abs(change)).mean(axis=-1, keepdims=True) + FLOOR),
        (edges - np.median(edges, axis=0))[..., None],
        np.log(_pool(np.abs(step)).mean(axis=-1, keepdims=True) + FLOOR),
        _pool(step).mean(axis=-1, keepdims=True),
    ]
    return _rows(parts)


def mesh_features(landmarks: Float32[ndarray, "T 478 3"], canonical: Canonical) -> Float32[ndarray, "T N D"]:
    """Speed and acceleration of the skin near each patch, head motion taken out; logarithms."""
    shape = canonical.shapes(landmarks)[..., :2] / PATCH
    velocity = np.diff(shape, axis=0, prepend=shape[:1])
    velocity[0] = velocity[1]
    acceleration = np.diff(velocity, axis=0, prepend=velocity[:1])
    lengths = np.stack([np.linalg.norm(part, axis=2) for part in (velocity, acceleration)], axis=2)
    near = np.einsum("nv,tvd->tnd", _nearness(canonical), lengths)
    return np.asarray(np.log(near + FLOOR), np.float32)


def face_patches(canonical: Canonical) -> Bool[ndarray, "N"]:
    """Patches that lie on the face whole: at its rim the background shows when the head turns."""
    return np.asarray(_pool(canonical.inside[None].astype(np.float32))[0] > 0.99).reshape(-1)


def _nearness(canonical: Canonical) -> Float[ndarray, "N 468"]:
    """How much each landmark speaks for each patch."""
    side = canonical.size // PATCH
    rows, columns = np.indices((side, side)) * PATCH + (PATCH - 1) / 2
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    square = np.square(centres[:, None] - canonical.points[None, :, :2]).sum(axis=2)
    weight = np.exp(-square / (2 * PATCH**2)) + 1e-12
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _pool(image: ndarray) -> ndarray:
    """Mean over patches: `[T S S ...]` to `[T s s ...]`."""
    T, S = image.shape[:2]
    side = S // PATCH
    return np.asarray(image.reshape(T, side, PATCH, side, PATCH, *image.shape[3:]).mean(axis=(2, 4)))


def _laplacian(grey: ndarray) -> ndarray:
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return np.asarray(np.abs(around - 4 * grey))


def _rows(parts: list[ndarray]) -> Float32[ndarray, "T N D"]:
    joined = np.concatenate(parts, axis=3)
    return np.asarray(joined.reshape(len(joined), -1, joined.shape[3]), np.float32)
