"""What the gate sees of a face: for every patch of the flat face and every frame, its pixels and its mesh.

A synthetic clip has a known source frame, and that is its strongest normal: laid flat, every frame shows the
same spots of the same person. So pixels speak by how they differ from the source (`look`: structure that
nothing near it in the source explains, at the scales of an eyelid, an eye and a mouth; `shade` and colour;
`detail`: texture lost or gained) and from the frame before (`change`). The mesh speaks by how it moves: where
it lies is the head's pose and the person's build.

Without the search nearby an eye on a cheek drowns: expressions, and landmarks a pixel or two off, make sound
skin as unlike the same spot of its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray

from argen.anomaly.canonical import SKIN, Canonical

PATCH: Final = 8  # pixels of the flat face
WINDOWS: Final = (5, 9, 13)  # pixels of the flat face at half its size: about an eyelid, an eye, a mouth
REACH: Final = 2  # such pixels each way: how far off expression and landmarks may carry what is sound
FLOOR: Final = 5e-3  # of a difference in brightness (skin is 1) or of a move in patches: below is noise
STILL: Final = 1e-3  # of a change from frame to frame: lower than a camera's noise
COPY: Final = 1e-4  # of the whole face's, one pixel of sixty by one grey level: below is no still moment
CONTRAST: Final = 2e-3  # variance of brightness below which structure is noise
ONE_SIDED: Final = (True, True, False, False, False)  # nothing looks too much like its source

Picture = tuple[UInt8[ndarray, "h w 3"], Float32[ndarray, "478 3"]]  # and where its face is


def face_features(
    frames: UInt8[ndarray, "T H W 3"],
    landmarks: Float32[ndarray, "T 478 3"],
    source: Picture,
    canonical: Canonical,
) -> tuple[Float32[ndarray, "T N _"], ...]:
    """The five modalities: look, shade, detail, change, mesh."""
    flat = canonical.unwrap(frames, landmarks)
    first = canonical.unwrap(source[0][None], source[1][None])
    skin = np.maximum(first[:, canonical.inside].mean(axis=(0, 1)), 1e-3)
    flat, first = flat / skin, first / skin
    return (
        _look(flat, first),
        _shade(flat, first),
        _detail(flat, first),
        _change(flat, canonical.inside),
        mesh_features(landmarks, canonical),
    )


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
    """Patches that lie on the face, but for a corner: at its rim the background shows when the head turns."""
    return np.asarray(_pool(canonical.inside[None].astype(np.float32))[0] > 0.8).reshape(-1)


def _look(flat: Float32[ndarray, "T S S 3"], source: Float32[ndarray, "1 S S 3"]) -> ndarray:
    """Structure that nothing near it in the source explains, at each window.

    Roots, as of squared distances: logarithms would call the step from sound to faint as large as that from
    faint to an eye on a cheek.
    """
    now, then = (_half(picture.mean(axis=3)) for picture in (flat, source))
    return _rows([np.sqrt(_pool(_unlikeness(now, then, window), PATCH // 2)) for window in WINDOWS])


def _shade(flat: Float32[ndarray, "T S S 3"], source: Float32[ndarray, "1 S S 3"]) -> ndarray:
    """Shade and colour that aren't the source's; logarithms."""
    difference = _pool(flat - source)
    shade = np.abs(difference - difference.mean(axis=(1, 2), keepdims=True)).mean(axis=3)
    colour = np.abs(difference - difference.mean(axis=3, keepdims=True)).mean(axis=3)
    return _rows([np.log(shade + FLOOR), np.log(colour + FLOOR)])


def _detail(flat: Float32[ndarray, "T S S 3"], source: Float32[ndarray, "1 S S 3"]) -> ndarray:
    """Contrast and sharpness against the source's; logarithms of ratios."""
    now, then = flat.mean(axis=3), source.mean(axis=3)
    contrast = [np.log(_pool(_variance(_soft(grey), PATCH + 1)) + 1e-4) for grey in (now, then)]
    sharpness = [np.log(_pool(_laplacian(grey)) + FLOOR) for grey in (now, then)]
    return _rows([contrast[0] - contrast[1], sharpness[0] - sharpness[1]])


def _change(flat: Float32[ndarray, "T S S 3"], inside: Bool[ndarray, "S S"]) -> ndarray:
    """How much a patch changed since the frame before: its pixels, its mean, and the whole face."""
    step = np.diff(flat, axis=0, prepend=flat[:1])
    step[0] = step[1]
    pixels = _pool(np.abs(step)).mean(axis=3)
    whole = np.abs(step)[:, inside].mean(axis=(1, 2))[:, None, None]
    parts = [pixels + STILL, np.abs(_pool(step)).mean(axis=3) + STILL]
    moved = np.where(whole < COPY, COPY, whole + STILL)  # so that a copy is far from what merely rests
    return _rows([np.log(part) for part in (*parts, np.broadcast_to(moved, pixels.shape))])


def _unlikeness(
    a: Float32[ndarray, "T s s"], b: Float32[ndarray, "1 s s"], window: int
) -> Float32[ndarray, "T s s"]:
    """1 minus the structural similarity (Wang et al. 2004) without its brightness to the likest nearby.

    0 the same, about 1 where nothing is alike.
    """
    mean, variance = _means(a, window), _variance(a, window)
    likest = np.full_like(a, -1)
    for near in _displaced(b):
        shared = _means(a * near, window) - mean * _means(near, window)
        likeness = (2 * shared + CONTRAST) / (variance + _variance(near, window) + CONTRAST)
        np.maximum(likest, likeness, out=likest)
    return np.asarray(np.clip(1 - likest, 0, None))


def _displaced(picture: Float32[ndarray, "1 s s"]) -> Iterator[Float32[ndarray, "1 s s"]]:
    """The picture moved by up to REACH pixels each way."""
    wide = np.pad(picture, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
    side = picture.shape[1]
    for y, x in np.ndindex(2 * REACH + 1, 2 * REACH + 1):
        yield wide[:, y : y + side, x : x + side]


def _variance(grey: ndarray, window: int) -> ndarray:
    return np.asarray(np.maximum(_means(grey * grey, window) - _means(grey, window) ** 2, 0))


def _means(grey: ndarray, window: int) -> ndarray:
    import cv2

    return np.stack([cv2.blur(picture, (window, window), borderType=cv2.BORDER_REFLECT) for picture in grey])


def _half(grey: Float32[ndarray, "T S S"]) -> Float32[ndarray, "T s s"]:
    import cv2

    side = grey.shape[1] // 2
    return np.stack([cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in grey])


def _soft(grey: ndarray) -> ndarray:
    """Less sensitive to landmarks that are a pixel off."""
    import cv2

    return np.stack([cv2.GaussianBlur(picture, (0, 0), 1.2) for picture in grey])


def _nearness(canonical: Canonical) -> Float[ndarray, "N 468"]:
    """How much each landmark speaks for each patch."""
    side = canonical.size // PATCH
    rows, columns = np.indices((side, side)) * PATCH + (PATCH - 1) / 2
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    square = np.square(centres[:, None] - canonical.points[None, :SKIN, :2]).sum(axis=2)
    weight = np.exp(-square / (2 * PATCH**2)) + 1e-12
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _pool(image: ndarray, patch: int = PATCH) -> ndarray:
    """Mean over patches: `[T S S ...]` to `[T s s ...]`."""
    T, S = image.shape[:2]
    side = S // patch
    return np.asarray(image.reshape(T, side, patch, side, patch, *image.shape[3:]).mean(axis=(2, 4)))


def _laplacian(grey: ndarray) -> ndarray:
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return np.asarray(np.abs(around - 4 * grey))


def _rows(parts: list[ndarray]) -> Float32[ndarray, "T N D"]:
    joined = np.stack(parts, axis=3)
    return np.asarray(joined.reshape(len(joined), -1, len(parts)), np.float32)
