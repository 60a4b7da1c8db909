"""What drove a decision: which frames, which Action Units, which level. By intervention, not attention.

Every number is a change of the margin: the log-odds of the class that was said against the next one.
A frame counts by how much the margin falls when it is replaced by its neighbour in time; a concept by how
much it falls when its evidence is taken away; levels and streams by their share of it, which is exact,
since logits are their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from argen.dataset.clip import Clip
from argen.face.action_units import ACTION_UNITS, FACS_NAMES
from argen.recogniser.checkpoint import Trained
from argen.recogniser.frames import FrameCache, pick
from argen.recogniser.texts import LEVELS

SHOWN: Final = 6  # concepts in a picture
SIDE, GAP, ROW = 128, 6, 20  # pixels
INK, FOR, AGAINST, PAPER = (34, 34, 34), (44, 123, 182), (215, 48, 39), (255, 255, 255)


@dataclass(frozen=True)
class Explanation:
    """Why a clip was taken for `said` and not for `next_best`."""

    id: str
    label: str
    said: str
    next_best: str
    confidence: float
    margin: float  # log-odds
    window: UInt8[ndarray, "T H W 3"]
    frames: Float32[ndarray, "T"]  # fall of the margin without the frame
    concepts: dict[str, float]  # fall of the margin without the concept; empty without the aggregator
    evidence: dict[str, float]  # 0..1: is the concept shown?
    parts: dict[str, float]  # of the margin, by level of the prompts and by the aggregator; they sum to it


@torch.inference_mode()
def explain(trained: Trained, clip: Clip, cache: FrameCache) -> Explanation:
    """Explain one decision. Raises UnreadableClip."""
    model, wanted = trained.model, trained.settings.frames
    decoded = cache(clip, model.tower.size)
    window = np.asarray(decoded[pick(len(decoded), wanted)])
    device = next(model.parameters()).device
    clips = torch.from_numpy(np.stack([window, *_without_each(window)])).to(device)
    outputs = model(clips)
    said, next_best = (int(i) for i in outputs.logits[0].topk(2).indices)

    def margin(logits: torch.Tensor) -> Float32[ndarray, "R"]:
        return (logits[:, said] - logits[:, next_best]).float().cpu().numpy()

    margins = margin(outputs.logits)
    parts: dict[str, float] = {}
    if outputs.alignment is not None:
        for level, name in enumerate(LEVELS):
            parts[name] = float(margin(model.part(outputs, level))[0])
    concepts: dict[str, float] = {}
    evidence: dict[str, float] = {}
    if outputs.aggregate is not None:
        parts["aggregator"] = float(margin(model.part(outputs, None))[0])
        evidence = dict(zip(ACTION_UNITS, outputs.aggregate.evidence[0].sigmoid().tolist(), strict=True))
        for number, name in enumerate(ACTION_UNITS):
            without = torch.zeros(len(ACTION_UNITS), dtype=torch.bool, device=device)
            without[number] = True
            concepts[name] = float(margins[0] - margin(model(clips[:1], without).logits)[0])
    return Explanation(
        clip.id,
        clip.label,
        trained.classes[said],
        trained.classes[next_best],
        float(outputs.logits[0].softmax(dim=-1)[said]),
        float(margins[0]),
        window,
        (margins[0] - margins[1:]).astype(np.float32),
        concepts,
        evidence,
        parts,
    )


def _without_each(window: UInt8[ndarray, "T H W 3"]) -> list[UInt8[ndarray, "T H W 3"]]:
    """The window with each frame in turn replaced by the one before it; the first, by the second."""
    made = []
    for frame in range(len(window)):
        changed = window.copy()
        changed[frame] = window[frame - 1 if frame else min(1, len(window) - 1)]
        made.append(changed)
    return made


def draw(explanation: Explanation, path: Path) -> Path:
    """One picture: the frames with their weights, the strongest concepts, and the parts of the margin."""
    count = len(explanation.window)
    strongest = sorted(explanation.concepts, key=lambda name: -abs(explanation.concepts[name]))[:SHOWN]
    rows = max(len(strongest), len(explanation.parts), 1)
    width = max(count * (SIDE + GAP) + GAP, 760)
    picture = Image.new("RGB", (width, 3 * ROW + SIDE + 50 + (rows + 2) * ROW), PAPER)
    pen = ImageDraw.Draw(picture)
    _write(pen, (GAP, 4), f"{explanation.id}   labelled {explanation.label}")
    said = f"said {explanation.said} ({explanation.confidence:.0%}), not {explanation.next_best}"
    _write(
        pen, (GAP, 4 + ROW), f"{said}; log-odds {explanation.margin:+.2f}. Blue speaks for it, red against."
    )
    _frames(picture, pen, explanation, 3 * ROW)
    top = 3 * ROW + SIDE + 50
    _write(pen, (GAP, top), "by Action Unit (shown 0..1; margin lost without it)")
    rows_of_units = [
        (f"{name} {FACS_NAMES[name]} ({explanation.evidence[name]:.2f})", explanation.concepts[name])
        for name in strongest
    ]
    _bars(pen, (GAP, top + ROW), rows_of_units, width // 2 - 2 * GAP)
    _write(pen, (width // 2, top), "by part (they sum to the log-odds)")
    _bars(pen, (width // 2, top + ROW), list(explanation.parts.items()), width // 2 - 2 * GAP)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


def _frames(picture: Image.Image, pen: ImageDraw.ImageDraw, explanation: Explanation, top: int) -> None:
    most = max(float(np.abs(explanation.frames).max()), 1e-6)
    for number, (frame, weight) in enumerate(zip(explanation.window, explanation.frames, strict=True)):
        left = GAP + number * (SIDE + GAP)
        picture.paste(Image.fromarray(frame).resize((SIDE, SIDE)), (left, top))
        tall = round(abs(float(weight)) / most * 24)
        foot = top + SIDE + 28
        pen.rectangle((left, foot - tall, left + SIDE, foot), fill=FOR if weight >= 0 else AGAINST)
        _write(pen, (left, foot + 1), f"{float(weight):+.2f}")


def _bars(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], rows: Sequence[tuple[str, float]], width: int
) -> None:
    left, top = corner
    most = max((abs(value) for _, value in rows), default=0.0) or 1.0
    room = width - 250
    for number, (name, value) in enumerate(rows):
        y = top + number * ROW
        _write(pen, (left, y), name)
        long = round(abs(value) / most * room)
        pen.rectangle((left + 200, y + 4, left + 200 + long, y + 14), fill=FOR if value >= 0 else AGAINST)
        _write(pen, (left + 205 + long, y), f"{value:+.2f}")


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> None:
    pen.text(at, text, fill=INK, font=ImageFont.load_default(12))
