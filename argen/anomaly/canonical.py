"""A face laid flat: every pixel of the canonical picture is the same spot of skin in every frame and person.

Triangles over the mean landmarks carry pixels from a frame into it, so a patch of the mouth is compared with
mouths, whatever the pose and the expression. The landmarks end below the hair line; a second row of points
above them adds the forehead's upper half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy import ndarray

from argen.face.geometry import apply, similarity
from argen.face.mesh import STILL_POINTS

SKIN = 468  # landmarks beyond are the irises
MARGIN = 0.02  # of the canonical picture, around the face
BROW, TOP = 9, 10  # between the brows, and the highest landmark
HAIRLINE = (54, 103, 67, 109, 10, 338, 297, 332, 284)  # the highest landmarks, ear to ear
RISE = 0.8  # of the way from brow to top that the forehead goes on


@dataclass(frozen=True)
class Canonical:
    """The flat face: where each landmark lies, and which three landmarks carry each pixel."""

    points: Float32[ndarray, "477 3"]  # pixels of the canonical picture; the forehead last
    size: int
    corners: Int64[ndarray, "S S 3"]
    weights: Float32[ndarray, "S S 3"]
    inside: Bool[ndarray, "S S"]

    @classmethod
    def of(cls, shapes: Sequence[Float32[ndarray, "T 478 3"]], size: int) -> Canonical:
        """From the landmarks of normal clips; frames without a face are passed over."""
        rows = np.concatenate([shape[np.isfinite(shape).all(axis=(1, 2)), :SKIN] for shape in shapes])
        mean = rows[0].astype(np.float64)
        for _ in range(3):  # the mean face, and how every face lies on it
            mean = apply(rows, *similarity(rows, mean[None])).mean(axis=0)
        return cls.from_points(_upright(_with_forehead(mean), size), size)

    @classmethod
    def from_points(cls, points: Float32[ndarray, "477 3"], size: int) -> Canonical:
        """From where the landmarks lie, in pixels."""
        from scipy.spatial import Delaunay

        mesh = Delaunay(points[:, :2].astype(np.float64))
        rows, columns = np.indices((size, size))
        pixels = np.stack([columns, rows], axis=2).reshape(-1, 2).astype(np.float64)
        triangle = mesh.find_simplex(pixels)
        frame = mesh.transform[triangle]
        two = np.einsum("pij,pj->pi", frame[:, :2], pixels - frame[:, 2])
        weights = np.concatenate([two, 1 - two.sum(axis=1, keepdims=True)], axis=1)
        inside = triangle >= 0
        weights[~inside] = 0
        shape = (size, size, 3)
        corners = np.asarray(mesh.simplices[triangle], np.int64).reshape(shape)
        flat = weights.astype(np.float32).reshape(shape)
        return cls(points, size, corners, flat, inside.reshape(size, size))

    def unwrap(
        self, frames: UInt8[ndarray, "T H W 3"], landmarks: Float32[ndarray, "T 478 3"]
    ) -> Float32[ndarray, "T S S 3"]:
        """Frames laid flat, 0..1; black outside the face."""
        import cv2

        maps = np.einsum("tpqcx,pqc->tpqx", _with_forehead(landmarks)[:, self.corners, :2], self.weights)
        flat = [
            cv2.remap(
                frame, where.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            for frame, where in zip(frames, maps, strict=True)
        ]
        return np.asarray(np.stack(flat) * self.inside[..., None] / np.float32(255), np.float32)

    def rewrap(
        self, heat: Float32[ndarray, "T S S"], landmarks: Float32[ndarray, "T 478 3"], shape: tuple[int, int]
    ) -> Float32[ndarray, "T H W"]:
        """Values on the flat face back onto the frames, by the nearest landmark's; 0 off the face."""
        import cv2

        at = np.clip(self.points[:, :2].round().astype(int), 0, self.size - 1)
        values = heat[:, at[:, 1], at[:, 0]]
        out = np.zeros((len(heat), *shape), np.float32)
        for t, points in enumerate(_with_forehead(landmarks)[..., :2]):
            radius = max(int(np.ptp(points[:, 0]) / 16), 1)
            hull = np.zeros(shape, np.uint8)
            cv2.fillConvexPoly(hull, cv2.convexHull(points.round().astype(np.int32)), 1)
            out[t] = _scatter(points, values[t], radius, shape) * hull
        return out

    def shapes(self, landmarks: Float32[ndarray, "T 478 3"]) -> Float[ndarray, "T 468 3"]:
        """Landmarks in canonical pixels, head motion taken out by the points that no muscle moves."""
        still = [i for i in STILL_POINTS if i < SKIN]
        rows = landmarks[:, :SKIN].astype(np.float64)
        return apply(rows, *similarity(rows[:, still], self.points[None, still].astype(np.float64)))


def _with_forehead(landmarks: Float[ndarray, "*T V 3"]) -> Float[ndarray, "*T 477 3"]:
    """The skin's landmarks and a row above the highest."""
    up = (landmarks[..., TOP, :] - landmarks[..., BROW, :])[..., None, :]
    above = landmarks[..., HAIRLINE, :] + RISE * up
    return np.concatenate([landmarks[..., :SKIN, :], above.astype(landmarks.dtype)], axis=-2)


def _upright(mean: Float[ndarray, "477 3"], size: int) -> Float32[ndarray, "477 3"]:
    """Eyes level, facing the viewer, filling the picture but for a margin."""
    across = mean[263] - mean[33]
    down = mean[152] - mean[10]
    x = across / np.linalg.norm(across)
    y = down - (down @ x) * x
    y /= np.linalg.norm(y)
    turned = (mean - mean.mean(axis=0)) @ np.stack([x, y, np.cross(x, y)], axis=1)
    low, high = turned[:, :2].min(axis=0), turned[:, :2].max(axis=0)
    scale = (1 - 2 * MARGIN) * (size - 1) / (high - low).max()
    turned[:, :2] -= (low + high) / 2
    out = turned * scale
    out[:, :2] += (size - 1) / 2
    return np.asarray(out, np.float32)


def _scatter(points: ndarray, values: ndarray, radius: int, shape: tuple[int, int]) -> ndarray:
    """Values at points, spread into a smooth field: a normalised convolution."""
    import cv2

    field, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    x, y = points.round().astype(int).T
    seen = (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
    np.add.at(field, (y[seen], x[seen]), values[seen])
    np.add.at(weight, (y[seen], x[seen]), 1)
    field, weight = (cv2.GaussianBlur(image, (0, 0), radius) for image in (field, weight))
    return np.asarray(field / np.maximum(weight, 1e-6))
