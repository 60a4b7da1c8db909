"""The model card of a tuned adapter: what it is, what it was tuned for, and how that went, in curves."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from argen.config import SPEED, Settings
from argen.tuning.settings import TuneRecipe

WIDTH, HEIGHT, MARGIN = 640, 200, 34
COLOURS = ("#1b6ca8", "#c0392b", "#1e8449", "#7d3c98", "#b9770e", "#515a5a")


def write_card(folder: Path, recipe: TuneRecipe, about: Mapping[str, str], stopped: str) -> None:
    """README.md and curves.svg beside the adapter, from the run's own log."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    trials = [entry for entry in log if entry["kind"] == "evaluation"]
    rows = [entry for entry in log if entry["kind"] == "iteration"]
    names = sorted({name for entry in trials for name in entry if "/" in name})
    (folder / "curves.svg").write_text(curves(trials, names), encoding="utf-8")
    best = max(trials, key=lambda entry: -math.inf if entry["worth"] is None else entry["worth"])
    table = "\n".join(f"| {name} | {_round(trials[0], name)} | {_round(best, name)} |" for name in names)
    tune, noise = recipe.tune, recipe.tune.exploration
    judge = listed(tune.judge) or "none, so read the numbers with care"
    text = f"""# LoRA adapter for {about.get("pipeline", "an image-to-video pipeline")}

Tuned with ARGen against {listed(tune.rewards)}.
Judge, whose expressions come from networks that no reward asks: {judge}.

| | |
|---|---|
| base model | {about.get("model", "")} |
| revision | {about.get("revision", "")} |
| objective | {tune.objective}; noise {noise.kind}, eta {noise.eta:g}, rho {noise.rho:g} |
| iterations | {len(rows)}; the best was found after {best["iteration"]}; {stopped} |
| jobs | {about.get("jobs", "")} |
| clips tried | {len(rows) * tune.prompts * tune.num_generations} |
| rank | {tune.rank} |
| recipe | {recipe.hash} |
| tuned with | guidance {recipe.generate.guidance:g}; {_steps(recipe)} steps |

![curves](curves.svg)

| fixed jobs | before | best |
|---|---|---|
{table}

Use it: `argen-augment SRC OUT {use_of(folder, recipe)}`,
or `pipe.load_lora_weights` where the pipeline has it. Clips made with it are synthetic: say so.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def listed(rewards: Mapping[str, float]) -> str:
    """Rewards with their weights, for a reader."""
    return ", ".join(f"{name} (weight {weight:g})" for name, weight in rewards.items())


def use_of(adapter: Path, recipe: TuneRecipe) -> str:
    """The settings that call an adapter as it was tuned and judged: all that differ from ARGen's own."""
    chosen = recipe.generate.model_copy(
        update={"adapter": adapter, "steps": max(recipe.tune.steps or (recipe.generate.steps,))}
    )
    told = {f"generate.{name}": value for name, value in _own(chosen).items() if name not in SPEED}
    told |= {f"face.{name}": value for name, value in _own(recipe.face).items()}
    words = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in told.items()
    }
    return " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in words.items())


def _own(section: Settings) -> dict[str, Any]:
    """What differs from the default, as plain data."""
    usual = type(section)().model_dump(mode="json")
    return {name: value for name, value in section.model_dump(mode="json").items() if value != usual[name]}


def _steps(recipe: TuneRecipe) -> str:
    return " or ".join(map(str, recipe.tune.steps or (recipe.generate.steps,)))


def curves(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """An SVG of some values over iterations, each scaled to its own range, which the legend gives."""
    parts = []
    for place, name in enumerate(names):
        points = [
            (float(entry["iteration"]), float(entry[name]))
            for entry in entries
            if entry.get(name) is not None
        ]
        if points:
            parts.append(_line(points, name, place))
    height = HEIGHT + 2 * MARGIN + 16 * len(names)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
    frame = (
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{WIDTH - 2 * MARGIN}" height="{HEIGHT}" '
        'fill="none" stroke="#999"/>'
    )
    return "\n".join([head, frame, *parts, "</svg>"])


def _line(points: Sequence[tuple[float, float]], name: str, place: int) -> str:
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    spots = " ".join(
        f"{MARGIN + (x - first) / (last - first) * (WIDTH - 2 * MARGIN):.1f},"
        f"{MARGIN + HEIGHT - (y - low) / max(high - low, 1e-9) * HEIGHT:.1f}"
        for x, y in points
    )
    colour, y = COLOURS[place % len(COLOURS)], HEIGHT + 2 * MARGIN + 16 * place
    return (
        f'<polyline points="{spots}" fill="none" stroke="{colour}" stroke-width="2"/>'
        f'<text x="{MARGIN}" y="{y}" font-size="12" fill="{colour}">{name}: {low:.3g} to {high:.3g}</text>'
    )


def _round(entry: Mapping[str, Any], name: str) -> str:
    return f"{entry[name]:.3f}" if entry.get(name) is not None else ""
