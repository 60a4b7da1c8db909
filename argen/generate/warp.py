"""The `warp` generator: a photograph's own pixels, moved along the AU-driven mesh.

No weights beyond the landmarker's, milliseconds a frame, and the person stays the same by construction: every
pixel of skin is one of the photograph's. Per clip the mesh is laid out, folds are drawn and the insides of
eyes and mouth are prepared; per frame one drawn mesh gives the map, one resampling the skin, and what lies
behind the lids and the lips is laid in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.errors import NoFaceFound
from argen.face import models
from argen.generate import mouth, openings, raster, wrinkles
from argen.generate.motion import Motion, motion
from argen.generate.placing import Placed, place
from argen.generate.request import Request

_CODE: Final = ("warp", "placing", "motion", "raster", "openings", "mouth", "wrinkles")
_UNMOVED: Final = 0.02  # pixels; a frame in which nothing moves farther is the source itself
_TINT: Final = np.array([0.85, 1.0, 1.08], np.float32)  # blood: a fold darkens red least


class WarpGenerator:
    """A Generator for real faces without a GPU; the same request gives the same bytes."""

    name = "warp"

    def __init__(self, size: int = 256, batch: int = 4) -> None:
        """Clips of `size` x `size` pixels. Raises ModelUnavailable where the AU-to-mesh model is missing."""
        self.size = size
        self.batch = batch
        used = [models.locate("au_to_mesh"), models.locate("tessellation")]
        self.provenance: Mapping[str, str] = {
            "generator": self.name,
            **{path.name: models.file_hash(path) for path in used},
            "code": _code_version(),
            "opencv": cv2.__version__,
        }

    def __call__(self, requests: Sequence[Request]) -> list[UInt8[ndarray, "T S S 3"]]:
        """One clip a request, in order.

        Raises NoFaceFound for a request whose landmarks are missing, or whose Action Units are.
        """
        return [warp(request, self.size) for request in requests]


def warp(request: Request, size: int) -> UInt8[ndarray, "T S S 3"]:
    """The clip of one request."""
    affect = request.affect
    if not np.isfinite(request.action_units).all():
        raise NoFaceFound("source frame: no Action Units were measured; choose a frame with one visible face")
    placed = place(request.frame, request.landmarks, size)
    path = motion(placed.landmarks, request.action_units, affect.trajectory, affect.asymmetry, affect.pose)
    return _render(placed, path)


def _render(placed: Placed, path: Motion) -> UInt8[ndarray, "T S S 3"]:
    size = len(placed.frame)
    at_rest = raster.layout(placed.landmarks[:468], size)
    vertices = raster.with_rings(path.points, path.skull, at_rest)
    light = np.zeros(vertices.shape[:2], np.float32)
    light[:, :468] = wrinkles.shading(path.relief, path.rest)
    folds = wrinkles.creases(placed.landmarks[:468, :2], size)
    deep = wrinkles.depths(path.relief, path.rest)
    pair = openings.eyes(placed.frame, placed.landmarks[:468, :2], path)
    inside = mouth.inside_of_mouth(placed.frame, placed.landmarks[:468, :2], path)
    picture = placed.frame.astype(np.float32)
    frames = np.empty((len(vertices), size, size, 3), np.uint8)
    for t, frame in enumerate(frames):
        if np.abs(vertices[t] - at_rest.source).max() < _UNMOVED:
            frame[:] = placed.frame
            continue
        skin = _folded(picture, folds, deep[t])
        frame[:] = _resampled(skin, *raster.inverse_map(at_rest, vertices[t], light[t]))
        for eye in pair:
            openings.lay_eye(frame, eye, t)
        if inside is not None:
            mouth.lay_mouth(frame, inside, t)
    return frames


def _folded(
    picture: Float32[ndarray, "S S 3"], folds: wrinkles.Creases, deep: Float32[ndarray, "K"]
) -> Float32[ndarray, "S S 3"]:
    """The source with its folds this deep."""
    if deep.max(initial=0) < 0.01:
        return picture
    change = deep @ folds.fields
    skin = picture.copy()
    flat = skin.reshape(-1, 3)
    flat[folds.pixels] *= 1 + np.clip(change, -0.6, 0.6)[:, None] * _TINT
    return skin


def _resampled(
    skin: Float32[ndarray, "S S 3"],
    x: Float32[ndarray, "S S"],
    y: Float32[ndarray, "S S"],
    light: Float32[ndarray, "S S"],
) -> UInt8[ndarray, "S S 3"]:
    """Skin pixels fetched from where they lie, and lit."""
    fetched = cv2.remap(skin, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    light += 1
    return np.asarray(cv2.multiply(fetched, cv2.merge([light, light, light]), dtype=cv2.CV_8U))


def _code_version() -> str:
    """Hash of the files that make the pixels: the same hash, the same bytes."""
    digest = hashlib.sha256()
    for name in _CODE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]
