"""Where it is strange, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from argen.anomaly.detector import Scores
from argen.anomaly.samples import Sample


def overlay(
    rgb: UInt8[ndarray, "H W 3"], heat: Float[ndarray, "H W"], low: float, high: float
) -> UInt8[ndarray, "H W 3"]:
    """The picture with heat from blue (`low` or less) through yellow to red (`high` or more)."""
    import cv2

    share = np.clip((heat - low) / max(high - low, 1e-12), 0, 1)
    colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    weight = (0.15 + 0.5 * share)[..., None]
    return np.asarray((rgb * (1 - weight) + colours * weight).astype(np.uint8))


def write_heatmaps(folder: Path, samples: Sequence[Sample], scores: Scores) -> list[Path]:
    """One PNG a sample: picture, heat, and truth where known, side by side. One scale for all of them."""
    from PIL import Image

    maps = np.cbrt(scores.pixel.cpu().numpy())  # products to a power: in themselves one defect outshines all
    low, high = np.percentile(maps, [50, 99.8])
    written = []
    for sample, heat in zip(samples, maps, strict=True):
        panels = [sample.rgb, overlay(sample.rgb, heat, float(low), float(high))]
        if sample.mask is not None:
            panels.append(np.repeat(sample.mask[..., None], 3, 2).astype(np.uint8) * 255)
        path = folder / f"{sample.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(panels, axis=1)).save(path)
        written.append(path)
    return written
