"""CIF as the gate: from a handful of real clips, is this synthetic one a face like theirs?

Nodes are patches of the flat face (`canonical.py`), one hypergraph a frame; the modalities are how its pixels
differ from the source's and from the frame before, and how its mesh moves (`face_features.py`; clips should
be of one frame rate). Every modality gives a clip two signs: its face on average, and its worst spot of an
eye's size, each spot in units of what real clips show there. A clip's score is the largest of its signs, each
in deviations of its logarithm over real clips: a quantile of so few would hang on the two or three strangest.
The p-value is conformal: the share of real calibration clips at least as strange, the clip itself counted
among them; from m clips it can't fall below 1 / (m + 1): rejecting at 5 % takes 19.
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
from torch import Tensor

from argen.anomaly.canonical import Canonical
from argen.anomaly.detector import Detector
from argen.anomaly.face_features import ONE_SIDED, PATCH, Picture, face_features, face_patches
from argen.anomaly.fusion import upsample
from argen.anomaly.patches import Patches, concatenate
from argen.anomaly.settings import CifSettings
from argen.errors import ModelUnavailable, UsageError
from argen.face.track import FaceTrack

SIZE: Final = 112  # pixels of the flat face, 14 x 14 patches
QUANTILE: Final = 0.9  # of the frames' scores: a break in a tenth of a clip is seen
SETTINGS: Final = CifSettings(
    K=6, tau=0.9, quota="size", ratio=1e-4
)  # one prototype a face part: see Yardstick
SPREAD_FLOOR: Final = 0.5  # share of a feature's overall deviation that every patch is granted
TAIL: Final = 0.995  # quantile of a normal clip's deviations that counts as 1
USUAL: Final = 0.9  # quantile of what real clips show that counts as 1
DEVIATION_FLOOR: Final = 0.3  # of the logarithm of a sign: of a few clips that happen to be alike
LEAST: Final = 1e-6  # of what a spot shows
CALM: Final = 0.5  # share of a face's median spot that every spot is granted

Clip = tuple[UInt8[ndarray, "T H W 3"], FaceTrack]


@dataclass(frozen=True)
class FaceAnomaly:
    """How strange one clip is, and where in which frame."""

    score: float  # deviations of real clips' own, larger is stranger; infinite without two frames of a face
    p_value: float  # share of real clips at least as strange; 1 / (m + 1) at least
    heatmap: Float32[ndarray, "T H W"]  # 0 usual, 1 calibration's strangest
    frames: Float32[ndarray, "T"]  # each frame's score; NaN where it wasn't judged


@dataclass(frozen=True)
class Yardstick:
    """Turns a clip into patches: features in deviations of the normals' own, patch by patch.

    A deviation is measured in what each normal clip shows against the *other* normals, so that a face that
    wasn't among them isn't strange for that alone.
    """

    canonical: Canonical
    means: tuple[Float32[ndarray, "N _"], ...]  # one a modality
    spreads: tuple[Float32[ndarray, "N _"], ...]

    @classmethod
    def of(cls, normals: Sequence[Clip]) -> Yardstick:
        """From clips with two frames of a face at least."""
        canonical = Canonical.of([track.landmarks for _, track in normals], SIZE)
        raw = zip(*(_features(canonical, *clip) for clip in normals), strict=True)
        pairs = [_statistics(part, face_patches(canonical)) for part in raw]
        means, spreads = zip(*pairs, strict=True)
        return cls(canonical, means, spreads)

    def __call__(
        self, frames: UInt8[ndarray, "T H W 3"], track: FaceTrack, source: Picture | None = None
    ) -> Patches:
        """One sample a frame that has a face."""
        scaled = []
        raw = _features(self.canonical, frames, track, source)
        for part, mean, spread, one_sided in zip(raw, self.means, self.spreads, ONE_SIDED, strict=True):
            z = (part - mean) / spread / part.shape[2] ** 0.5
            scaled.append(torch.from_numpy((z.clip(min=0) if one_sided else z).astype(np.float32)))
        on_face = torch.from_numpy(face_patches(self.canonical)).repeat(len(scaled[0]), 1)
        return Patches(tuple(scaled), on_face, (SIZE // PATCH, SIZE // PATCH))


@dataclass(frozen=True)
class Units:
    """What real clips usually show: at every spot; and as signs, in logarithms, with their deviations."""

    spot: Float32[ndarray, "M P"]
    usual: Float32[ndarray, "S"]
    deviation: Float32[ndarray, "S"]

    @classmethod
    def of(cls, shown: Float32[ndarray, "m M P"]) -> Units:
        """From real clips; a symmetric function of them."""
        spot = np.quantile(shown, USUAL, axis=0)
        calm = CALM * np.median(spot[:, 1:], axis=1, keepdims=True)
        spot[:, 1:] = np.maximum(spot[:, 1:], calm)
        spot = np.maximum(spot, LEAST).astype(np.float32)
        signs = cls(spot, np.zeros(1, np.float32), np.ones(1, np.float32))._signs(shown)
        deviation = np.sqrt(signs.var(axis=0) + DEVIATION_FLOOR**2)
        return cls(spot, signs.mean(axis=0).astype(np.float32), deviation.astype(np.float32))

    def __call__(self, shown: Float32[ndarray, "n M P"]) -> Float32[ndarray, "n"]:
        """The largest sign of each, in deviations."""
        return np.asarray(self._signs(shown).max(axis=1), np.float32)

    def spots(self, shown: Float32[ndarray, "n M P"]) -> Float32[ndarray, "n Q"]:
        """Each spot's largest over the modalities, in the same deviations as if it were the worst."""
        worst = len(self.spot)  # signs of the whole face come first
        scaled = self._scaled(shown)[:, :, 1:]
        spots = (scaled - self.usual[worst:, None]) / self.deviation[worst:, None]
        return np.asarray(spots.max(axis=1), np.float32)

    def _scaled(self, shown: Float32[ndarray, "n M P"]) -> Float32[ndarray, "n M P"]:
        return np.asarray(np.log(np.maximum(shown / self.spot, LEAST)))

    def _signs(self, shown: Float32[ndarray, "n M P"]) -> Float32[ndarray, "n S"]:
        scaled = self._scaled(shown)
        signs = np.concatenate([scaled[:, :, 0], scaled[:, :, 1:].max(axis=2)], axis=1)
        return np.asarray((signs - self.usual) / self.deviation)


@dataclass(frozen=True)
class FaceGate:
    """A fitted gate. `calibration` is what the real clips show that p-values are counted against."""

    yardstick: Yardstick
    detector: Detector
    calibration: Float32[ndarray, "m M P"]  # a modality's mean over the face, then its spots

    @classmethod
    def fit(
        cls, normals: Sequence[Clip], calibration: Sequence[Clip], settings: CifSettings = SETTINGS
    ) -> FaceGate:
        """Learn from a few real clips, and count p-values against others. Both of training clips only.

        The source of a real clip is its own first frame.
        """
        usable, others = ([c for c in clips if len(_judged(c[1])) >= 2] for clips in (normals, calibration))
        if not usable or not others:
            raise UsageError(
                f"anomaly gate: of {len(normals)} normal and {len(calibration)} calibration clips "
                f"{len(usable)} and {len(others)} show a face in two frames; one of each at least, 19 to "
                "reject at 5 %"
            )
        yardstick = Yardstick.of(usable)
        detector = Detector.fit(concatenate([yardstick(*clip) for clip in usable]), settings, SIZE // PATCH)
        draft = cls(yardstick, detector, np.zeros((1, 1, 1), np.float32))
        return cls(yardstick, detector, np.stack([_of_clip(draft._shown(*clip)) for clip in others]))

    def score(
        self, frames: UInt8[ndarray, "T H W 3"], track: FaceTrack, source: Picture | None = None
    ) -> FaceAnomaly:
        """Judge one clip; `track` was measured on `frames`.

        `source` is the picture that it was made from, at its size, with landmarks; else its first frame.
        """
        rows = _judged(track)
        heat = np.zeros(frames.shape[:3], np.float32)
        each = np.full(len(frames), np.nan, np.float32)
        if len(rows) < 2:
            return FaceAnomaly(float("inf"), 1 / (1 + len(self.calibration)), heat, each)
        shown, units = self._shown(frames, track, source), Units.of(self.calibration)
        each[rows] = units(shown)
        found = _of_clip(shown)
        spots = units.spots(shown) / max(float(units(self.calibration).max()), LEAST)
        flat = np.clip(self._flat(spots), 0, 1).astype(np.float32)
        heat[rows] = self.yardstick.canonical.rewrap(flat, track.landmarks[rows], frames.shape[1:3])
        return FaceAnomaly(float(units(found[None])[0]), self.p_value(found), heat, each)

    def p_value(self, shown: Float32[ndarray, "M P"]) -> float:
        """Share of real clips at least as strange as this one, itself counted: from 1 / (m + 1) to 1.

        It is one of them also where units are taken, so that it and they are exchangeable exactly.
        """
        together = np.concatenate([shown[None], self.calibration])
        scores = Units.of(together)(together)
        return float((scores >= scores[0]).mean())

    def _shown(
        self, frames: ndarray, track: FaceTrack, source: Picture | None = None
    ) -> Float32[ndarray, "T M P"]:
        """Of each frame and modality: root of s_h s_g, a distance again, over the face and at its spots."""
        on_face, grid = face_patches(self.yardstick.canonical), self.detector.grid
        patch = self.detector.score(self.yardstick(frames, track, source)).patch.sqrt()
        patch = patch * torch.from_numpy(on_face)
        spots = _spots(patch.transpose(0, 1), on_face, grid)[..., on_face]
        whole = patch[..., torch.from_numpy(on_face)].mean(dim=2).T[..., None]
        return np.asarray(np.concatenate([whole.numpy(), spots], axis=2), np.float32)

    def _flat(self, spots: Float32[ndarray, "T P"]) -> Float32[ndarray, "T S S"]:
        """Spots as pixels of the flat face."""
        on_face = face_patches(self.yardstick.canonical)
        whole = np.zeros((len(spots), len(on_face)), np.float32)
        whole[:, on_face] = spots
        return np.asarray(upsample(torch.from_numpy(whole), self.detector.grid, SIZE).numpy(), np.float32)

    def save(self, folder: Path | str) -> None:
        """Write the detector's two files, `gate.safetensors` and `gate.json`."""
        from safetensors.numpy import save_file

        self.detector.save(folder)
        yardstick = self.yardstick
        tensors = {"points": yardstick.canonical.points, "calibration": self.calibration}
        for m, (mean, spread) in enumerate(zip(yardstick.means, yardstick.spreads, strict=True)):
            tensors |= {f"{m}.mean": mean, f"{m}.spread": spread}
        save_file(tensors, Path(folder) / "gate.safetensors")
        head = {"size": yardstick.canonical.size, "modalities": len(yardstick.means)}
        (Path(folder) / "gate.json").write_text(json.dumps(head), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> FaceGate:
        """Read what `save` wrote. Raises ModelUnavailable."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            head = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
            if head["modalities"] != len(ONE_SIDED):
                raise ValueError("made by another version")
            t = load_file(folder / "gate.safetensors")
            canonical = Canonical.from_points(t["points"], head["size"])
            means, spreads = (
                tuple(t[f"{m}.{part}"] for m in range(head["modalities"])) for part in ("mean", "spread")
            )
            calibration = t["calibration"]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelUnavailable(f"{folder}: not a fitted anomaly gate ({error}); fit it again") from error
        return cls(Yardstick(canonical, means, spreads), Detector.load(folder), calibration)


def _judged(track: FaceTrack) -> Int[ndarray, "n"]:
    """Frames whose face was found."""
    return np.flatnonzero(np.isfinite(track.landmarks).all(axis=(1, 2)))


def _features(
    canonical: Canonical, frames: ndarray, track: FaceTrack, source: Picture | None = None
) -> tuple[ndarray, ...]:
    rows = _judged(track)
    landmarks = track.landmarks[rows]
    return face_features(frames[rows], landmarks, source or (frames[rows[0]], landmarks[0]), canonical)


def _statistics(clips: Sequence[Float32[ndarray, "_ N D"]], on_face: ndarray) -> tuple[ndarray, ndarray]:
    """Mean of every patch's features, and what counts as one deviation of each."""
    whole = np.concatenate(clips)
    apart = clips if len(clips) > 1 else np.array_split(whole, 2)
    tails = []
    for i, clip in enumerate(apart):
        mean, deviation = _moments(np.concatenate([*apart[:i], *apart[i + 1 :]]))
        tails.append(np.quantile(np.abs((clip - mean) / deviation)[:, on_face], TAIL, axis=(0, 1)))
    mean, deviation = _moments(whole)
    return mean, (deviation * np.mean(tails, axis=0)).astype(np.float32)


def _moments(part: Float32[ndarray, "T N D"]) -> tuple[ndarray, ndarray]:
    """Mean and deviation of every patch; no deviation falls far below the whole face's."""
    whole = part.std(axis=(0, 1))
    return part.mean(axis=0), np.sqrt(part.var(axis=0) + np.square(SPREAD_FLOOR * whole) + 1e-8)


def _of_clip(frames: Float32[ndarray, "T M P"]) -> Float32[ndarray, "M P"]:
    return np.asarray(np.quantile(frames, QUANTILE, axis=0), np.float32)


def _spots(strange: Float32[Tensor, "T M N"], on_face: ndarray, grid: tuple[int, int]) -> ndarray:
    """Root mean square over 3 x 3 patches, as far as they lie on the face; at least half of them count."""
    square = strange.square().reshape(-1, 1, *grid)
    share = torch.from_numpy(on_face).float().reshape(1, 1, *grid)
    mean, weight = (torch.nn.functional.avg_pool2d(x, 3, 1, 1) for x in (square, share))
    return np.asarray((mean / weight.clamp_min(0.5)).sqrt().reshape(strange.shape).numpy())
