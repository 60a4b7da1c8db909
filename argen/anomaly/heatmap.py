"""Where it is strange, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from argen.anomaly.detector import Scores
from argen.anomaly.samples import Sample
from argen.errors import UsageError


def overlay(
    rgb: UInt8[ndarray, "H W 3"], heat: Float[ndarray, "H W"], low: float, high: float
) -> UInt8[ndarray, "H W 3"]:
    """The picture with heat from blue (`low` or less) through yellow to red (`high` or more)."""
    import cv2

    share = np.clip((heat - low) / max(high - low, 1e-12), 0, 1)
    colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    weight = (0.15 + 0.5 * share)[..., None]
    return np.asarray((rgb * (1 - weight) + colours * weight).astype(np.uint8))


def map_names(pictures: Sequence[Path]) -> list[str]:
    """A name for the map of each of some pictures, from anywhere: its number in the call, and its stem."""
    digits = len(str(len(pictures)))
    return [f"{number:0{digits}d}_{picture.stem}" for number, picture in enumerate(pictures, 1)]


def map_path(folder: Path, name: str) -> Path:
    """Where a map goes. Raises UsageError unless that is below the folder."""
    path = folder / f"{name}.png"
    if folder.resolve() not in path.resolve().parents:
        raise UsageError(f"{name}: its heat map would lie outside {folder}; rename the picture or its folder")
    return path


def write_heatmaps(
    folder: Path, samples: Sequence[Sample], scores: Scores, names: Sequence[str] | None = None
) -> list[Path]:
    """One PNG a sample: picture, heat, and truth where known, side by side. One scale for all of them.

    Called by the samples' ids unless `names` are given. Raises UsageError if one would lie outside `folder`.
    """
    from PIL import Image

    paths = [map_path(folder, name) for name in names or [sample.id for sample in samples]]
    maps = np.cbrt(scores.pixel.cpu().numpy())  # products to a power: in themselves one defect outshines all
    low, high = np.percentile(maps, [50, 99.8])
    for path, sample, heat in zip(paths, samples, maps, strict=True):
        panels = [sample.rgb, overlay(sample.rgb, heat, float(low), float(high))]
        if sample.mask is not None:
            panels.append(np.repeat(sample.mask[..., None], 3, 2).astype(np.uint8) * 255)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(panels, axis=1)).save(path)
    return paths
