"""What the gate sees of a face: for every patch of the flat face and every frame, its pixels and its mesh.

A synthetic clip has a known source frame, and that is its strongest normal: laid flat, every frame shows the
same spots of the same person. So pixels speak by how they differ from the source (`look`, at the scales of
an eyelid, an eye and a mouth; `detail`: texture lost or gained) and from the frame before (`change`). The
mesh speaks by how it moves: where it lies is the head's pose and the person's build.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray

from argen.anomaly.canonical import SKIN, Canonical

PATCH: Final = 8  # pixels of the flat face
WINDOWS: Final = (9, 17, 25)  # pixels: about an eyelid, an eye, a mouth
FLOOR: Final = 5e-3  # of a difference in brightness (skin is 1) or of a move in patches: below is noise
STILL: Final = 1e-3  # of a change from frame to frame: lower than a camera's noise, so that a copy stands out
CONTRAST: Final = 2e-3  # variance of brightness below which structure is noise
ONE_SIDED: Final = (True, False, False, False)  # nothing looks too much like its source

Picture = tuple[UInt8[ndarray, "h w 3"], Float32[ndarray, "478 3"]]  # and where its face is


def face_features(
    frames: UInt8[ndarray, "T H W 3"],
    landmarks: Float32[ndarray, "T 478 3"],
    source: Picture,
    canonical: Canonical,
) -> tuple[Float32[ndarray, "T N _"], ...]:
    """The four modalities: look, detail, change, mesh."""
    flat = canonical.unwrap(frames, landmarks)
    first = canonical.unwrap(source[0][None], source[1][None])
    skin = np.maximum(first[:, canonical.inside].mean(axis=(0, 1)), 1e-3)
    flat, first = flat / skin, first / skin
    return (
        _look(flat, first),
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
    """Structure that isn't the source's, at each window; shade and colour that aren't. Logarithms."""
    now, then = (_soft(picture.mean(axis=3)) for picture in (flat, source))
    unlike = [np.log(_pool(_unlikeness(now, then, window)) + 1e-2) for window in WINDOWS]
    difference = _pool(flat - source)
    shade = np.abs(difference - difference.mean(axis=(1, 2), keepdims=True)).mean(axis=3)
    colour = np.abs(_pool((flat - source) - (flat - source).mean(axis=3, keepdims=True))).mean(axis=3)
    return _rows([*unlike, np.log(shade + FLOOR), np.log(colour + FLOOR)])


def _detail(flat: Float32[ndarray, "T S S 3"], source: Float32[ndarray, "1 S S 3"]) -> ndarray:
    """Contrast and sharpness against the source's; logarithms of ratios."""
    now, then = flat.mean(axis=3), source.mean(axis=3)
    contrast = [np.log(_pool(_variance(_soft(grey), WINDOWS[0])) + 1e-4) for grey in (now, then)]
    sharpness = [np.log(_pool(_laplacian(grey)) + FLOOR) for grey in (now, then)]
    return _rows([contrast[0] - contrast[1], sharpness[0] - sharpness[1]])


def _change(flat: Float32[ndarray, "T S S 3"], inside: Bool[ndarray, "S S"]) -> ndarray:
    """How much a patch changed since the frame before: its pixels, its mean, and the whole face."""
    step = np.diff(flat, axis=0, prepend=flat[:1])
    step[0] = step[1]
    pixels = _pool(np.abs(step)).mean(axis=3)
    whole = np.abs(step)[:, inside].mean(axis=(1, 2))[:, None, None]
    parts = [pixels, np.abs(_pool(step)).mean(axis=3), np.broadcast_to(whole, pixels.shape)]
    return _rows([np.log(part + STILL) for part in parts])


def _unlikeness(a: ndarray, b: ndarray, window: int) -> ndarray:
    """1 minus the structural similarity (Wang et al. 2004) without its brightness; 0 the same, 2 inverted."""
    shared = _means(a * b, window) - _means(a, window) * _means(b, window)
    return np.asarray(
        np.clip(
            1 - (2 * shared + CONTRAST) / (_variance(a, window) + _variance(b, window) + CONTRAST), 0, None
        )
    )


def _variance(grey: ndarray, window: int) -> ndarray:
    return np.asarray(np.maximum(_means(grey * grey, window) - _means(grey, window) ** 2, 0))


def _means(grey: ndarray, window: int) -> ndarray:
    import cv2

    return np.stack([cv2.blur(picture, (window, window), borderType=cv2.BORDER_REFLECT) for picture in grey])


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
    joined = np.stack(parts, axis=3)
    return np.asarray(joined.reshape(len(joined), -1, len(parts)), np.float32)
