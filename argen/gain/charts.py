"""Inline SVG of findings: no script, no library; colours come from the page, so light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from argen.gain.statistics import Estimate

ROW: Final = 26
LEFT: Final = 260  # pixels for names
LONGEST: Final = 36  # letters that fit into them; the rest is in the tooltip
WIDE: Final = 420  # of the plot
RIGHT: Final = 14
TALL: Final = 220


@dataclass(frozen=True)
class Row:
    """One arm of a forest plot."""

    title: str
    score: Estimate
    dots: tuple[float, ...]  # one a seed
    kind: str  # class of its colour: real, made, top


def forest_svg(rows: Sequence[Row]) -> str:
    """UAR of every arm: a bar for the 95 % interval, a ring for the mean, a dot for each seed."""
    values = [v for row in rows for v in (*_interval(row.score), *row.dots)]
    low, high = _range(values)
    height = ROW * len(rows) + 30
    parts = _grid(low, high, height - 24)
    for number, row in enumerate(rows):
        parts.append(_forest_row(row, ROW * number + ROW // 2 + 4, low, high))
    return _svg(LEFT + WIDE + RIGHT, height, "UAR by arm, with 95 % intervals", parts)


def sweep_svg(points: Sequence[tuple[float, Estimate, tuple[float, ...]]]) -> str:
    """UAR over the share of each class's distance to the largest that is filled with clips."""
    low, high = _range([v for _, score, dots in points for v in (*_interval(score), *dots)])
    most = max(share for share, _, _ in points) or 1.0
    left, wide = 48, 420

    def place(share: float, value: float) -> tuple[float, float]:
        return left + 16 + share / most * (wide - 32), 10 + (high - value) / (high - low) * (TALL - 50)

    parts = []
    for tick in _ticks(low, high):
        _, y = place(0.0, tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * tick:.0f}</text>')
    line = " ".join("{:.1f},{:.1f}".format(*place(share, score.value)) for share, score, _ in points)
    parts.append(f'<polyline class="made" points="{line}"/>')
    for share, score, dots in points:
        x, y = place(share, score.value)
        bottom, top = (place(share, v)[1] for v in _interval(score))
        parts.append(f'<line class="made bar" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{top:.1f}"/>')
        parts += [f'<circle class="dot" cx="{x:.1f}" cy="{place(share, dot)[1]:.1f}" r="2"/>' for dot in dots]
        parts.append(f'<circle class="made mean" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(f'<text x="{x:.1f}" y="{TALL - 22}" text-anchor="middle">{share:g}</text>')
    middle = left + wide / 2
    parts.append(f'<text x="{middle}" y="{TALL - 4}" text-anchor="middle">share of the gap filled</text>')
    return _svg(left + wide + RIGHT, TALL, "UAR in percent over the mixing ratio", parts)


def _forest_row(row: Row, y: int, low: float, high: float) -> str:
    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * WIDE

    start, end = _interval(row.score)
    said = f"{row.title}: {100 * row.score.value:.1f} ({100 * start:.1f} to {100 * end:.1f})"
    dots = "".join(f'<circle class="dot" cx="{x(dot):.1f}" cy="{y}" r="2"/>' for dot in row.dots)
    shown = row.title if len(row.title) <= LONGEST else f"{row.title[: LONGEST - 1]}…"
    name = f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(shown)}</text>'
    return (
        f"<g><title>{escape(said)}</title>{name}"
        f'<line class="{row.kind} bar" x1="{x(start):.1f}" x2="{x(end):.1f}" y1="{y}" y2="{y}"/>{dots}'
        f'<circle class="{row.kind} mean" cx="{x(row.score.value):.1f}" cy="{y}" r="5"/></g>'
    )


def _grid(low: float, high: float, height: int) -> list[str]:
    parts = []
    for tick in _ticks(low, high):
        x = LEFT + (tick - low) / (high - low) * WIDE
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height + 16}" text-anchor="middle">{100 * tick:.0f}</text>')
    return parts


def _interval(score: Estimate) -> tuple[float, float]:
    """An interval that is not known has no length."""
    known = math.isfinite(score.low) and math.isfinite(score.high)
    return (score.low, score.high) if known else (score.value, score.value)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.02, 0.06 * (high - low))
    return max(0.0, low - room), min(1.0, high + room)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, at most seven."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 7)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    head = f'<svg class="plot" viewBox="0 0 {width} {height}" role="img"><title>{title}</title>'
    return f"{head}{''.join(parts)}</svg>"
