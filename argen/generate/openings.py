"""What shows through lids and lips: eyeballs that stay where the skull is, and the inside of the mouth.

Skin is one layer with openings; behind each opening lies a picture that does not move with the skin. Where
the source's own opening shows something, that is what lies there; beyond it the eyeball is continued
outwards and the mouth is painted: cavity, teeth, tongue, in tones taken from the photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.generate.mesh_layout import Window, window_around
from argen.generate.motion import (
    EYE_CORNERS,
    LIP_CORNERS,
    LOWER_LIDS,
    LOWER_LIP,
    UPPER_LIDS,
    UPPER_LIP,
    Motion,
)

_LASHES: Final = 0.25  # of the eye's opening, from the top, is the upper lid's edge and shadow
_FINE: Final = 3  # an opening's edge is drawn this many times finer, then averaged


@dataclass(frozen=True)
class Eye:
    """One eye of a clip: where its lids are in every frame, and the eyeball behind them."""

    window: Window
    rims: Float32[ndarray, "T n 2"]
    shifts: Float32[ndarray, "T 2"]  # of the eyeball, with the skull
    ball: Float32[ndarray, "h w 3"]
    bare: Float32[ndarray, "h w 3"]  # the eyeball without the shadow of the source's upper lid
    lifted: Float32[ndarray, "T"]  # share of the bare one: how far the lid leaves its shadow


def rims() -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Vertices around the right eye, the left eye and the mouth."""
    eyes = [
        (outer, *upper, inner, *reversed(lower))
        for (outer, inner), upper, lower in zip(EYE_CORNERS, UPPER_LIDS, LOWER_LIDS, strict=True)
    ]
    mouth = (LIP_CORNERS[0], *UPPER_LIP[0], LIP_CORNERS[1], *reversed(LOWER_LIP[0]))
    return eyes[0], eyes[1], mouth


def coverage(rim: Float32[ndarray, "n 2"], window: Window) -> Float32[ndarray, "h w"]:
    """Share of each pixel of the window that lies inside the rim."""
    fine = np.zeros((window.height * _FINE, window.width * _FINE), np.uint8)
    corners = ((rim - [window.x, window.y] + 0.5) * _FINE - 0.5) * 16
    cv2.fillPoly(fine, [np.round(corners).astype(np.int32)], 255, cv2.LINE_8, 4)
    small = cv2.resize(fine, (window.width, window.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / 255


def eyes(picture: UInt8[ndarray, "S S 3"], points: Float32[ndarray, "468 2"], path: Motion) -> list[Eye]:
    """Both eyes; one that lies outside the picture is left out."""
    found = []
    for rim in rims()[:2]:
        at = list(rim)
        margin = 0.25 * float(np.ptp(points[at, 0])) + 3
        window = window_around(np.concatenate([path.points[:, at], points[None, at]]), margin, len(picture))
        if window is not None:
            found.append(
                _eye(picture, points[at], path.points[:, at], path.skull[:, at].mean(axis=1), window)
            )
    return found


def _eye(
    picture: UInt8[ndarray, "S S 3"],
    rim: Float32[ndarray, "n 2"],
    rims: Float32[ndarray, "T n 2"],
    shifts: Float32[ndarray, "T 2"],
    window: Window,
) -> Eye:
    upper, lower = slice(1, len(rim) // 2), slice(-1, -len(rim) // 2, -1)  # columns from the outer corner
    inner = rim.copy()
    inner[upper] += _LASHES * (rim[lower] - rim[upper])
    lift = (rim[upper] - rims[:, upper])[..., 1].mean(axis=1) + shifts[:, 1]
    thick = max(_LASHES * float((rim[lower] - rim[upper])[:, 1].mean()), 0.5)
    return Eye(
        window,
        rims,
        shifts,
        continued(picture, rim, window),
        continued(picture, inner, window),
        np.clip(lift / thick, 0, 1).astype(np.float32),
    )


def lay_eye(frame: UInt8[ndarray, "S S 3"], eye: Eye, t: int) -> None:
    """Put the eyeball between the lids of frame `t`."""
    ball = eye.ball + eye.lifted[t] * (eye.bare - eye.ball) if eye.lifted[t] > 0 else eye.ball
    put(frame, moved(ball, eye.shifts[t]), coverage(eye.rims[t], eye.window), eye.window)


def continued(
    picture: UInt8[ndarray, "S S 3"], rim: Float32[ndarray, "n 2"], window: Window
) -> Float32[ndarray, "h w 3"]:
    """The picture inside the rim, and outside it what is inside nearest to it."""
    inside = coverage(rim, window) > 0.9
    cut = picture[window.slices].astype(np.float32)
    if not inside.any():
        return cut
    _, labels = cv2.distanceTransformWithLabels(
        np.where(inside, 0, 255).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((labels.max() + 1, 3), np.float32)
    colours[labels[inside]] = cut[inside]
    filled = colours[labels]
    soft = cv2.GaussianBlur(filled, (0, 0), 1.0)
    return np.asarray(np.where(coverage(rim, window)[..., None] > 0, filled, soft), np.float32)


def moved(picture: Float32[ndarray, "h w C"], shift: Float32[ndarray, "2"]) -> Float32[ndarray, "h w C"]:
    """The picture shifted by a fraction of pixels; its border is continued."""
    turn = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    size = picture.shape[1::-1]
    return np.asarray(cv2.warpAffine(picture, turn, size, borderMode=cv2.BORDER_REPLICATE), np.float32)


def put(
    frame: UInt8[ndarray, "S S 3"],
    behind: Float32[ndarray, "h w 3"],
    share: Float32[ndarray, "h w"],
    window: Window,
) -> None:
    """Lay what is behind into the frame, by its share of each pixel."""
    skin = frame[window.slices]
    mixed = skin + share[..., None] * (behind - skin)
    frame[window.slices] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
