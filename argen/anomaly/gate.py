"""CIF as the gate: from a handful of real clips, is this synthetic one a face like theirs?

Nodes are patches of the flat face (`canonical.py`), one hypergraph a frame; the modalities are its pixels and
its mesh, each with its change over time (so clips should be of one frame rate). A clip's score is the upper
quantile of its frames'. The p-value is conformal: the share of real calibration clips at least as strange,
the clip itself counted among them; from m clips it can't fall below 1 / (m + 1): rejecting at 5 % takes 19.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8
from numpy import ndarray

from argen.anomaly.canonical import Canonical
from argen.anomaly.detector import Detector, Scores
from argen.anomaly.face_features import PATCH, face_patches, mesh_features, pixel_features
from argen.anomaly.fusion import upsample
from argen.anomaly.patches import Patches, concatenate
from argen.anomaly.settings import CifSettings
from argen.errors import ModelUnavailable, UsageError
from argen.face.track import FaceTrack

SIZE: Final = 96  # pixels of the flat face, 12 x 12 patches
QUANTILE: Final = 0.9  # of the frames' scores: a break in a tenth of a clip is seen
SETTINGS: Final = CifSettings(K=6, ratio=0.05, fusion="z-sum", power=1.0)
SPREAD_FLOOR: Final = 0.5  # share of a feature's overall deviation that every patch is granted

Clip = tuple[UInt8[ndarray, "T H W 3"], FaceTrack]


@dataclass(frozen=True)
class FaceAnomaly:
    """How strange one clip is, and where in which frame."""

    score: float  # larger is stranger; infinite without two frames of a face
    p_value: float  # share of real clips at least as strange; 1 / (m + 1) at least
    heatmap: Float32[ndarray, "T H W"]  # 0 usual, 1 calibration's strangest
    frames: Float32[ndarray, "T"]  # each frame's score; NaN where it wasn't judged


@dataclass(frozen=True)
class Yardstick:
    """Turns a clip into patches: features in deviations of the normals' own, patch by patch."""

    canonical: Canonical
    means: tuple[Float32[ndarray, "N _"], ...]  # one a modality
    spreads: tuple[Float32[ndarray, "N _"], ...]

    @classmethod
    def of(cls, normals: Sequence[Clip]) -> Yardstick:
        """From clips with two frames of a face at least."""
        canonical = Canonical.of([track.landmarks for _, track in normals], SIZE)
        raw = zip(*(_features(canonical, *clip) for clip in normals), strict=True)
        pairs = [_statistics(np.concatenate(part)) for part in raw]
        means, spreads = zip(*pairs, strict=True)
        return cls(canonical, means, spreads)

    def __call__(self, frames: UInt8[ndarray, "T H W 3"], track: FaceTrack) -> Patches:
        """One sample a frame that has a face."""
        scaled = []
        raw = _features(self.canonical, frames, track)
        for part, mean, spread in zip(raw, self.means, self.spreads, strict=True):
            z = np.arcsinh((part - mean) / spread)  # so that no single feature drowns the others
            scaled.append(torch.from_numpy((z / part.shape[2] ** 0.5).astype(np.float32)))
        on_face = torch.from_numpy(face_patches(self.canonical)).repeat(len(scaled[0]), 1)
        return Patches(tuple(scaled), on_face, (SIZE // PATCH, SIZE // PATCH))


@dataclass(frozen=True)
class FaceGate:
    """A fitted gate. `calibration` holds the scores of the real clips that p-values are counted against."""

    yardstick: Yardstick
    detector: Detector
    calibration: Float32[ndarray, "m"]
    hot: float  # the fused patch score that heat maps show as 1

    @classmethod
    def fit(
        cls, normals: Sequence[Clip], calibration: Sequence[Clip], settings: CifSettings = SETTINGS
    ) -> FaceGate:
        """Learn from a few real clips, and count p-values against others. Both of training clips only."""
        usable, others = ([c for c in clips if len(_judged(c[1])) >= 2] for clips in (normals, calibration))
        if not usable or not others:
            raise UsageError(
                f"anomaly gate: of {len(normals)} normal and {len(calibration)} calibration clips "
                f"{len(usable)} and {len(others)} show a face in two frames; one of each at least, 19 to "
                "reject at 5 %"
            )
        yardstick = Yardstick.of(usable)
        detector = Detector.fit(concatenate([yardstick(*clip) for clip in usable]), settings, SIZE // PATCH)
        judged = [detector.score(yardstick(*clip)) for clip in others]
        values = np.array([_clip_score(scores.image.numpy()) for scores in judged], np.float32)
        hot = max(float(_heat(detector, scores).max()) for scores in judged)
        return cls(yardstick, detector, np.sort(values), max(hot, 1e-6))

    def score(self, frames: UInt8[ndarray, "T H W 3"], track: FaceTrack) -> FaceAnomaly:
        """Judge one clip; `track` was measured on `frames`."""
        rows = _judged(track)
        heat = np.zeros(frames.shape[:3], np.float32)
        each = np.full(len(frames), np.nan, np.float32)
        if len(rows) < 2:
            return FaceAnomaly(float("inf"), self.p_value(float("inf")), heat, each)
        scores = self.detector.score(self.yardstick(frames, track))
        each[rows] = scores.image.numpy()
        value = _clip_score(each[rows])
        flat = np.clip(_heat(self.detector, scores) / self.hot, 0, 1).astype(np.float32)
        heat[rows] = self.yardstick.canonical.rewrap(flat, track.landmarks[rows], frames.shape[1:3])
        return FaceAnomaly(value, self.p_value(value), heat, each)

    def p_value(self, score: float) -> float:
        """Share of real clips at least as strange as `score`, this one counted: from 1 / (m + 1) to 1."""
        stranger = int((self.calibration >= np.float32(score)).sum())
        return (1 + stranger) / (1 + len(self.calibration))

    def save(self, folder: Path | str) -> None:
        """Write the detector's two files, `gate.safetensors` and `gate.json`."""
        from safetensors.numpy import save_file

        self.detector.save(folder)
        yardstick = self.yardstick
        tensors = {"points": yardstick.canonical.points, "calibration": self.calibration}
        for m, (mean, spread) in enumerate(zip(yardstick.means, yardstick.spreads, strict=True)):
            tensors |= {f"{m}.mean": mean, f"{m}.spread": spread}
        save_file(tensors, Path(folder) / "gate.safetensors")
        head = {"size": yardstick.canonical.size, "modalities": len(yardstick.means), "hot": self.hot}
        (Path(folder) / "gate.json").write_text(json.dumps(head), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> FaceGate:
        """Read what `save` wrote. Raises ModelUnavailable."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            head = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
            t = load_file(folder / "gate.safetensors")
            canonical = Canonical.from_points(t["points"], head["size"])
            means, spreads = (
                tuple(t[f"{m}.{part}"] for m in range(head["modalities"])) for part in ("mean", "spread")
            )
            calibration, hot = t["calibration"], float(head["hot"])
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelUnavailable(f"{folder}: not a fitted anomaly gate ({error}); fit it again") from error
        return cls(Yardstick(canonical, means, spreads), Detector.load(folder), calibration, hot)


def _judged(track: FaceTrack) -> Int[ndarray, "n"]:
    """Frames whose face was found."""
    return np.flatnonzero(np.isfinite(track.landmarks).all(axis=(1, 2)))


def _features(canonical: Canonical, frames: ndarray, track: FaceTrack) -> tuple[ndarray, ndarray]:
    rows = _judged(track)
    landmarks = track.landmarks[rows]
    return pixel_features(frames[rows], landmarks, canonical), mesh_features(landmarks, canonical)


def _statistics(part: Float32[ndarray, "T N D"]) -> tuple[ndarray, ndarray]:
    """Mean and deviation of every patch's features; no deviation falls far below the whole face's."""
    whole = part.std(axis=(0, 1))
    spread = np.sqrt(part.var(axis=0) + np.square(SPREAD_FLOOR * whole) + 1e-8)
    return part.mean(axis=0), spread.astype(np.float32)


def _clip_score(frames: Float32[ndarray, "n"]) -> float:
    return float(np.quantile(frames, QUANTILE))


def _heat(detector: Detector, scores: Scores) -> Float32[ndarray, "T S S"]:
    """How far each patch is above the normals' usual, both modalities together, on the flat face."""
    scale = detector.scale
    z = ((scores.patch - scale[:, 0, None, None]) / scale[:, 1, None, None]).clamp_min(0).sum(dim=0)
    return np.asarray(upsample(z, detector.grid, SIZE).numpy(), np.float32)
