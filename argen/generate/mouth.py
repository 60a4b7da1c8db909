"""The inside of a mouth, painted in the photograph's own tones: upper teeth hang from the skull and stand
still, lower teeth and tongue go with the jaw, and between them it is dark.

Lengths are in widths of the mouth, across u and down v from the middle of the closed lips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy import ndarray

from argen.generate.mesh_layout import Window, window_around
from argen.generate.motion import LIP_CORNERS, LOWER_LIP, UPPER_LIP, Motion
from argen.generate.openings import continued, coverage, moved, put, rims

_UPPER_EDGE: Final = 0.11  # how far the upper incisors come down below the line of the closed lips
_ROOTS: Final = 0.3  # how far teeth are painted up or down behind the lips
_GAPS: Final = (0.0, 0.1, 0.185, 0.26, 0.33)  # between teeth, from the middle outwards
_OPEN: Final = 0.04  # inner lips farther apart than this show something worth keeping


@dataclass(frozen=True)
class Mouth:
    """The mouth of a clip: where its lips are in every frame, and what skull and jaw carry behind them."""

    window: Window
    rims: Float32[ndarray, "T n 2"]
    shifts: Float32[ndarray, "2 T 2"]  # of skull and jaw
    skull: Float32[ndarray, "h w 4"]  # the last channel: 1 where painted, 0 where the source's own
    jaw: Float32[ndarray, "h w 4"]  # over the skull's; the last channel is its share
    shadow: float  # reach of the lips' shadow, pixels


def inside_of_mouth(
    picture: UInt8[ndarray, "S S 3"], points: Float32[ndarray, "468 2"], path: Motion
) -> Mouth | None:
    """Paint the inside of this mouth; what the source shows of its own is kept. None if it is outside."""
    rim = list(rims()[2])
    margin = 0.15 * float(np.ptp(points[rim, 0])) + 3
    window = window_around(np.concatenate([path.points[:, rim], points[None, rim]]), margin, len(picture))
    if window is None:
        return None
    u, v, width, gap = _mouth_frame(points, window)
    tones = _tones(picture, points)
    skull, painted = _skull_layer(u, v, tones), np.ones(u.shape)
    jaw, share = _jaw_layer(u, v - gap, tones)
    kept = coverage(points[rim], window)
    if gap > _OPEN:
        soft = np.maximum(kept, np.clip(2 * cv2.GaussianBlur(kept, (0, 0), max(0.02 * width, 0.6)), 0, 1))
        own = continued(picture, points[rim], window)
        skull += soft[..., None] * (own - skull)
        painted -= soft
    lower = LOWER_LIP[0][4]
    return Mouth(
        window,
        path.points[:, rim],
        np.stack([path.skull[:, lower], path.points[:, lower] - points[lower]]),
        np.dstack([skull, painted]).astype(np.float32),
        np.dstack([jaw, share]).astype(np.float32),
        max(0.05 * width, 0.8),
    )


def lay_mouth(frame: UInt8[ndarray, "S S 3"], mouth: Mouth, t: int) -> None:
    """Put the inside of the mouth between the lips of frame `t`."""
    share = coverage(mouth.rims[t], mouth.window)
    if not share.any():
        return
    skull, jaw = moved(mouth.skull, mouth.shifts[0, t]), moved(mouth.jaw, mouth.shifts[1, t])
    painted = skull[..., 3:]
    inside = skull[..., :3] + painted * jaw[..., 3:] * (jaw[..., :3] - skull[..., :3])
    depth = cv2.GaussianBlur(share, (0, 0), mouth.shadow)[..., None]
    inside *= 1 - painted * (1 - np.clip(1.2 * depth + 0.35, 0.5, 1.0))
    put(frame, inside, share, mouth.window)


def _mouth_frame(
    points: Float32[ndarray, "468 2"], window: Window
) -> tuple[Float64[ndarray, "h w"], Float64[ndarray, "h w"], float, float]:
    """u and v of every pixel of the window, the width of the mouth in pixels, and how far it is open."""
    right, left = points[list(LIP_CORNERS)].astype(np.float64)
    across = left - right
    width = max(float(np.linalg.norm(across)), 1.0)
    across /= width
    down = np.array([-across[1], across[0]])
    upper, lower = (
        points[list(row[0][2:7])].astype(np.float64).mean(axis=0) for row in (UPPER_LIP, LOWER_LIP)
    )
    gap = max(float((lower - upper) @ down), 0.0) / width
    x, y = np.meshgrid(np.arange(window.width) + window.x, np.arange(window.height) + window.y)
    offset = np.stack([x, y], axis=-1) - upper
    return offset @ across / width, offset @ down / width, width, gap


@dataclass(frozen=True)
class _Tones:
    teeth: Float64[ndarray, "3"]
    dark: Float64[ndarray, "3"]
    tongue: Float64[ndarray, "3"]


def _tones(picture: UInt8[ndarray, "S S 3"], points: Float32[ndarray, "468 2"]) -> _Tones:
    """Teeth as light as the skin's lights and greyer; the dark and the tongue after the lips."""
    limit = len(picture) - 1
    skin = _at(picture, points[[50, 280, 101, 330, 205, 425, 4, 151, 9]], limit)
    lips = _at(picture, points[[*LOWER_LIP[1], *LOWER_LIP[2]]], limit).mean(axis=0)
    light = np.percentile(skin, 80, axis=0)
    grey = np.full(3, light.mean())
    warm = light.mean() * np.array([1.02, 1.0, 0.93])
    tint = 0.25 * light + 0.75 * np.where(np.ptp(light) < 25, grey, warm)
    return _Tones(np.minimum(tint * 1.02, 235.0), lips * 0.2, lips * [0.72, 0.66, 0.66])


def _at(
    picture: UInt8[ndarray, "S S 3"], points: Float32[ndarray, "n 2"], limit: int
) -> Float64[ndarray, "n 3"]:
    places = np.clip(np.rint(points), 0, limit).astype(int)
    soft = cv2.blur(picture, (3, 3))
    return np.asarray(soft[places[:, 1], places[:, 0]], np.float64)


def _skull_layer(
    u: Float64[ndarray, "h w"], v: Float64[ndarray, "h w"], tones: _Tones
) -> Float64[ndarray, "h w 3"]:
    """Upper teeth before the dark: an arch whose sides lie deeper and darker."""
    edge = _UPPER_EDGE * (1 - (u / 0.5) ** 2)
    teeth = _step(edge - v, 0.018) * _step(v + _ROOTS, 0.03)
    light = np.clip(1.0 - 2.4 * u**2, 0.0, 1.0) * (1 - 0.13 * _between_teeth(u))
    cavity = tones.dark * np.clip(1.15 - 1.6 * np.abs(v[..., None] - 0.1), 0.45, 1.1)
    share = (teeth * np.clip(1.25 - 2.4 * np.abs(u), 0, 1))[..., None]
    return np.asarray(cavity + share * (tones.teeth * light[..., None] - cavity))


def _jaw_layer(
    u: Float64[ndarray, "h w"], v: Float64[ndarray, "h w"], tones: _Tones
) -> tuple[Float64[ndarray, "h w 3"], Float64[ndarray, "h w"]]:
    """Lower teeth along the lower lip and the tongue behind them; v is down from the lower lip's edge."""
    arch = -0.04 + 0.14 * u**2
    teeth = _step(v - arch, 0.02) * np.clip(1.2 - 2.8 * np.abs(u), 0, 1)
    light = np.clip(0.75 - 1.9 * u**2, 0.0, 1.0) * (1 - 0.12 * _between_teeth(u * 1.25))
    tongue = np.exp(-((u / 0.27) ** 4) - np.clip((-0.05 - v) / 0.12, 0, None) ** 2)
    ridge = 1 - 0.25 * np.exp(-((u / 0.05) ** 2))
    colour = tones.tongue * (0.9 * ridge)[..., None]
    colour = colour + teeth[..., None] * (tones.teeth * light[..., None] - colour)
    return np.asarray(colour), np.asarray(np.maximum(0.75 * tongue, teeth))


def _between_teeth(u: Float64[ndarray, "h w"]) -> Float64[ndarray, "h w"]:
    return np.asarray(sum(np.exp(-(((np.abs(u) - gap) / 0.014) ** 2)) for gap in _GAPS))


def _step(x: Float64[ndarray, "h w"], softness: float) -> Float64[ndarray, "h w"]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x / softness * 2, -30, 30))))
