"""How well scores tell defective from sound: image and pixel AUROC, average precision, AUPRO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from argen.errors import DatasetError

if TYPE_CHECKING:
    from torch import Tensor


def auroc(scores: Float[ndarray, "n"], strange: Bool[ndarray, "n"]) -> float:
    """Chance that a strange one scores higher than a sound one. Raises DatasetError without both kinds."""
    import torch
    from torchmetrics.functional.classification import binary_auroc

    _both(strange)
    return float(binary_auroc(_unit(scores), torch.from_numpy(strange).long()))


def average_precision(scores: Float[ndarray, "n"], strange: Bool[ndarray, "n"]) -> float:
    """Area under precision and recall. Raises DatasetError without both kinds."""
    import torch
    from torchmetrics.functional.classification import binary_average_precision

    _both(strange)
    return float(binary_average_precision(_unit(scores), torch.from_numpy(strange).long()))


def aupro(
    maps: Sequence[Float[ndarray, "H W"]], masks: Sequence[Bool[ndarray, "H W"]], limit: float = 0.3
) -> float:
    """Area under the mean overlap of defect regions against the false-positive rate, up to `limit`, over it.

    A region is an 8-connected part of a mask. Every region counts the same, however small.
    """
    import cv2

    scores, weight, sound = [], [], []
    regions = 0
    for picture, mask in zip(maps, masks, strict=True):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        size = np.bincount(labels.ravel(), minlength=count)
        share = 1 / np.maximum(size, 1)
        share[0] = 0
        regions += count - 1
        scores.append(picture.ravel())
        weight.append(share[labels.ravel()])
        sound.append(~mask.ravel())
    if regions == 0 or not any(s.any() for s in sound):
        raise DatasetError("AUPRO needs defective regions and sound pixels; the test set lacks one of them")
    return _area(np.concatenate(scores), np.concatenate(weight) / regions, np.concatenate(sound), limit)


def _area(scores: ndarray, weight: ndarray, sound: ndarray, limit: float) -> float:
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # equal scores fall together
    overlap = np.append(0, np.cumsum(weight[order])[last])
    rate = np.append(0, (np.cumsum(sound[order]) / sound.sum())[last])
    inside = rate <= limit
    x = np.append(rate[inside], limit)
    y = np.append(overlap[inside], np.interp(limit, rate, overlap))
    return float(np.trapezoid(y, x) / limit)


def _unit(scores: ndarray) -> Tensor:
    """Ranks in 0..1: torchmetrics takes anything outside for logits, and squashes large ones into ties."""
    import torch

    ranks = np.unique(scores, return_inverse=True)[1].reshape(scores.shape)
    return torch.from_numpy(ranks.astype(np.float64) / max(int(ranks.max()), 1))


def _both(strange: ndarray) -> None:
    if strange.all() or not strange.any():
        raise DatasetError("the test set needs both good and defective samples to be measured")
