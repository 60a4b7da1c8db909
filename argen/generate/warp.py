"""The `warp` generator: a photograph's own pixels, moved along the AU-driven mesh.

No weights beyond the landmarker's, milliseconds a frame, and the person stays the same by construction: every
pixel of skin is one of the photograph's. Per clip the mesh is laid out, folds are drawn and the insides of
eyes and mouth are prepared; per frame one drawn mesh gives the map, one resampling the skin, and what lies
behind the lids and the lips is laid in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.errors import NoFaceFound
from argen.face import models
from argen.generate import mouth, openings, raster, wrinkles
from argen.generate.mesh_layout import Layout, Window, lay_out, with_rings
from argen.generate.motion import Motion, motion
from argen.generate.placing import Placed, place
from argen.generate.request import Request

_CODE: Final = ("warp", "placing", "motion", "mesh_layout", "raster", "openings", "mouth", "wrinkles")
_UNMOVED: Final = 0.02  # pixels; a frame in which nothing moves farther is the source itself
_TINT: Final = (np.float32(0.85), np.float32(1.0), np.float32(1.08))


class WarpGenerator:
    """A Generator for real faces without a GPU; the same request gives the same bytes."""

    name = "warp"
    domain: str | None = None

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

    def takes_whole(self, frame: UInt8[ndarray, "H W 3"]) -> bool:
        """Never: every frame is cut around its face."""
        return False

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
    picture, points = placed.frame, placed.landmarks[:468]
    at_rest = lay_out(points, len(picture))
    vertices = with_rings(path.points, path.skull, at_rest)
    right, left, lips = openings.rims()
    drawn = raster.scene(at_rest, vertices, (right + left, lips))
    brightness = _Brightness.of(picture, points[:, :2], path)
    pair = openings.eyes(picture, points[:, :2], path)
    inside = mouth.inside_of_mouth(picture, points[:, :2], path)
    skin = picture.astype(np.float32)
    frames = np.repeat(picture[None], len(vertices), axis=0)
    for t, frame in enumerate(frames):
        if np.abs(vertices[t] - at_rest.source).max() < _UNMOVED:
            continue
        if brightness is not None:
            skin[brightness.window.slices] = brightness.lit(t)
        _resample(frame, skin, raster.inverse_map(drawn, t), at_rest)
        for eye in pair:
            openings.lay_eye(frame, eye, t)
        if inside is not None:
            mouth.lay_mouth(frame, inside, t)
    return frames


@dataclass(frozen=True)
class _Brightness:
    """The skin of a clip, lit and folded, still where it lies in the source."""

    window: Window
    skin: Float32[ndarray, "h w 3"]
    folds: Float32[ndarray, "T h w"]
    light: Float32[ndarray, "T g k"]

    @classmethod
    def of(
        cls, picture: UInt8[ndarray, "S S 3"], points: Float32[ndarray, "468 2"], path: Motion
    ) -> _Brightness | None:
        """None if the face lies outside the picture."""
        deep = wrinkles.depths(path.relief, path.rest)
        relief = wrinkles.relief(points, len(picture), deep.max(axis=0))
        if relief is None:
            return None
        window, count = relief.window, len(deep)
        light = wrinkles.shading(path.relief, path.rest) @ relief.glow
        return cls(
            window,
            picture[window.slices].astype(np.float32),
            (deep @ relief.folds).reshape(count, window.height, window.width),
            light.reshape(count, *relief.grid),
        )

    def lit(self, t: int) -> Float32[ndarray, "h w 3"]:
        """The skin in frame `t`."""
        change = cv2.resize(self.light[t], (self.window.width, self.window.height)) + 1
        # Blood: a fold darkens red least.
        factor = cv2.merge([change + tint * self.folds[t] for tint in _TINT])
        return np.asarray(cv2.multiply(self.skin, factor))


def _resample(
    frame: UInt8[ndarray, "S S 3"], skin: Float32[ndarray, "S S 3"], where: raster.Map, at_rest: Layout
) -> None:
    """Fetch skin pixels from where they lie; what stands still keeps its bytes."""
    fetched = cv2.remap(skin, *where, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    target = frame[at_rest.window.slices]
    moved = cv2.convertScaleAbs(np.maximum(fetched, 0, out=fetched))
    cv2.copyTo(np.ascontiguousarray(target), at_rest.still, moved)
    target[:] = moved


def _code_version() -> str:
    """Hash of the files that make the pixels: the same hash, the same bytes."""
    digest = hashlib.sha256()
    for name in _CODE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]
