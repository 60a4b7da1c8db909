"""Small pictures of numbers, as inline SVG and PNG: no script, no library in the page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.face.action_units import ACTION_UNITS
from argen.whole import part_of

WIDTH: Final = 220
HEIGHT: Final = 84
SHOWN: Final = 4  # curves per clip: the units that were asked to move most


def main_units(target: Float32[ndarray, "T 20"]) -> list[int]:
    """The units that the target moves most, strongest first."""
    moved = np.abs(target - target[0]).max(axis=0)
    return [int(i) for i in np.argsort(-moved, kind="stable")[:SHOWN] if moved[i] > 0.05]


def curves_svg(target: Float32[ndarray, "T 20"], seen: Float32[ndarray, "S 20"]) -> str:
    """Asked (dashed) and seen (solid) intensity, 0..1, over the clip, of the units that move most."""
    lines = []
    for order, unit in enumerate(main_units(target)):
        lines.append(_polyline(target[:, unit], f"c{order} asked"))
        lines.append(_polyline(seen[:, unit], f"c{order}"))
        lines.append(
            f'<text x="{WIDTH - 34}" y="{12 + 13 * order}" class="c{order}">{ACTION_UNITS[unit]}</text>'
        )
    title = "<title>Action Units over time, asked dashed, seen solid; 0 below, 1 above</title>"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{title}{"".join(lines)}</svg>'


def _polyline(values: Float32[ndarray, "T"], name: str) -> str:
    x = np.linspace(2, WIDTH - 40, len(values)) if len(values) > 1 else np.array([2.0])
    y = HEIGHT - 4 - np.clip(values, 0, 1) * (HEIGHT - 8)
    points = " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))
    return f'<polyline class="{name}" points="{points}"/>'


def draw_target(units: Float32[ndarray, "20"], path: Path, size: int = 160) -> None:
    """The face that was asked for, as a line drawing of the Action Unit mesh at the apex."""
    import cv2

    from argen.face.mesh import au_mesh, triangles

    mesh = au_mesh(np.clip(units, 0, 1))
    points = mesh[:, :2] - (mesh[:, :2].max(axis=0) + mesh[:, :2].min(axis=0)) / 2
    points = points / np.abs(points).max() * size * 0.46 + size / 2
    canvas = np.full((size * 2, size * 2, 3), 255, np.uint8)
    corners = (points[triangles()] * 2 * 16).round().astype(np.int32)
    cv2.polylines(canvas, list(corners), True, (150, 110, 60), 1, cv2.LINE_AA, 4)
    save_image(path, cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA))


def save_image(path: Path, picture: UInt8[ndarray, "H W 3"], quality: int = 85) -> None:
    """Write blue, green, red as the file's suffix says; whole, or not at all."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    part = part_of(path)
    part.write_bytes(cv2.imencode(path.suffix, picture, options)[1].tobytes())
    part.replace(path)
