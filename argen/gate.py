"""The gate: what a synthetic clip must show before it is kept.

Every check scores 0..1, has a threshold from the recipe, and passes or not; one decision, one reason in
words. The measurements are in `argen.face.measures`, which the rewards share: a tuned model is therefore
never judged by the gate alone (see `argen.face.judge` for a judge that neither uses).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.config import GateSettings
from argen.face import measures
from argen.face.action_units import ACTION_UNITS, FACS_NAMES
from argen.face.track import FaceTrack

ALIKE: Final = 0.04
"""Root mean square difference of Action Units over time at which two clips are half distinct; ours."""
MOMENTS: Final = 4

REASONS: Final = {
    "one_face": "not one face in enough frames",
    "identity": "no longer the source's face",
    "requested": "the requested Action Units are too weak",
    "unrequested": "Action Units move that were not asked for",
    "expression": "the expression does not move toward the label",
    "smooth": "it jerks",
    "alive": "it hardly moves",
    "sharp": "it is blurred against the source",
    "anomaly": "it looks unlike real clips",
}


@dataclass(frozen=True)
class Check:
    """One question put to a clip."""

    name: str
    score: float  # 0..1
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether the score reaches the threshold; a NaN never does."""
        return self.score >= self.threshold


@dataclass(frozen=True)
class Verdict:
    """All checks of one clip and what follows from them."""

    checks: tuple[Check, ...]
    detail: str = ""
    heat: UInt8[ndarray, "H W 3"] | None = None  # the strangest frame under its heat map

    @property
    def kept(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def scores(self) -> dict[str, float]:
        """Score by check, rounded so that a record is short."""
        return {check.name: round(float(check.score), 4) for check in self.checks}

    @property
    def reason(self) -> str:
        """Why it was dropped, the plainest failure first; what it passed, if kept."""
        failed = sorted((c for c in self.checks if not c.passed), key=lambda c: c.score - c.threshold)
        if not failed:
            return f"passed {len(self.checks)} checks"
        said = [f"{REASONS[c.name]} ({c.name} {c.score:.2f} < {c.threshold:.2f})" for c in failed]
        if self.detail and any(c.name in {"requested", "unrequested"} for c in failed):
            said.append(self.detail)
        return "; ".join(said)


def judge(
    frames: UInt8[ndarray, "T H W 3"],
    track: FaceTrack,
    affect: Affect,
    *,
    source: UInt8[ndarray, "h w 3"],
    person: Float32[ndarray, "D"],
    toward: Float32[ndarray, "20"],
    same_person: float,
    settings: GateSettings,
    p_value: float | None = None,
) -> Verdict:
    """Judge one clip. `person` is the source's identity, `toward` the label's direction in Action Units.

    `p_value` is the anomaly detector's, where one is fitted.
    """
    asked, seen = measures.change_asked(affect), measures.change_seen(track, affect)
    scores = {
        "one_face": float((track.face_count == 1).mean()),
        "identity": measures.identity_score(track, person, same_person),
        "requested": measures.requested_score(track, affect),
        "unrequested": measures.unrequested_score(track, affect),
        "expression": measures.expression_score(track, affect, toward),
        "smooth": measures.smoothness(track),
        "alive": measures.aliveness(track, affect),
        "sharp": measures.sharpness(frames, source, track),
    }
    if p_value is not None:
        scores["anomaly"] = p_value
    checks = tuple(Check(name, score, getattr(settings, name)) for name, score in scores.items())
    return Verdict(checks, _weakest_unit(asked, seen))


def fingerprint(track: FaceTrack) -> str:
    """What near-duplicates are told by: Action Units at four moments of the clip, a byte each, as hex."""
    rows = track.action_units[track.valid]
    if len(rows) == 0:
        return "00" * (MOMENTS * len(ACTION_UNITS))
    moments = np.linspace(0, len(rows) - 1, MOMENTS + 1)[1:].round().astype(int)
    return bytes(np.clip(255 * rows[moments].ravel(), 0, 255).round().astype(np.uint8)).hex()


def distinctness(fingerprints: Sequence[bytes]) -> Float32[ndarray, "N N"]:
    """Score 0..1 of every pair of clips being unlike: 0 the same, 0.5 at `ALIKE`."""
    rows = np.frombuffer(b"".join(fingerprints), np.uint8).reshape(len(fingerprints), -1).astype(np.float32)
    rows /= 255
    squares = (rows**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0) / rows.shape[1])
    return np.asarray(1.0 - 0.5 ** (distance / ALIKE), np.float32)


def _weakest_unit(asked: ndarray, seen: ndarray) -> str:
    if not np.isfinite(seen).all():
        return ""
    miss = np.abs(asked - seen)
    unit = int(miss.argmax())
    name = ACTION_UNITS[unit]
    return f"most of all {name} {FACS_NAMES[name]}: asked {asked[unit]:+.2f}, seen {seen[unit]:+.2f}"
