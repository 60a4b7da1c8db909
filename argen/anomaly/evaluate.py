"""A detector against a benchmark: several draws of k normals, the mean of each metric and its spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from argen.anomaly.detector import Detector, Scores
from argen.anomaly.extract import SIZE, Extractor
from argen.anomaly.heatmap import write_heatmaps
from argen.anomaly.layouts import Category, Source, load
from argen.anomaly.metrics import aupro, auroc, average_precision
from argen.anomaly.patches import concatenate
from argen.anomaly.samples import Sample, resize
from argen.anomaly.settings import CifSettings
from argen.errors import DatasetError, UsageError

METRICS = ("i_auroc", "p_auroc", "aupro", "i_ap", "p_ap")


@dataclass(frozen=True)
class Truth:
    """What is known of a test set, in its order."""

    strange: Bool[ndarray, "n"]
    masks: Bool[ndarray, "n S S"]
    masked: Bool[ndarray, "n"]  # whether its defective pixels are known, if only that there are none


@dataclass(frozen=True)
class Result:
    """One category, all draws. A metric that the truth does not allow (no masks) is NaN.

    Defective samples without a mask count for the image metrics alone.
    """

    category: str
    k: int
    draws: tuple[dict[str, float], ...]
    unmasked: int = 0  # how many those are

    def mean(self, metric: str) -> float:
        """Over draws."""
        return statistics.fmean(draw[metric] for draw in self.draws)

    def spread(self, metric: str) -> float:
        """Standard deviation over draws; 0 of a single one."""
        values = [draw[metric] for draw in self.draws]
        return statistics.stdev(values) if len(values) > 1 else 0.0


def draw_normals(train: Sequence[Source], k: int, seed: int) -> list[Source]:
    """k of the normals, without repetition. Raises UsageError if there are fewer."""
    if not 1 <= k <= len(train):
        raise UsageError(f"k = {k}: there are {len(train)} normal samples; choose 1 to {len(train)}")
    chosen = np.random.default_rng(seed).choice(len(train), k, replace=False)
    return [train[i] for i in sorted(chosen)]


def evaluate(
    category: Category,
    extract: Extractor,
    *,
    k: int = 1,
    seeds: Sequence[int] = range(10),
    settings: CifSettings | None = None,
    maps: Path | None = None,
) -> Result:
    """Measure one category. With `maps`, the first draw's heat maps are written there as pictures."""
    if not category.test:
        raise DatasetError(f"{category.name}: no test set; there is nothing to measure on")
    drawn = {seed: draw_normals(category.train, k, seed) for seed in seeds}
    samples = [resize(load(source), SIZE) for source in category.test]
    tests, truth = concatenate([extract([sample]) for sample in samples]), truth_of(samples)
    draws = []
    for seed, sources in drawn.items():
        detector = Detector.fit(extract(load(source) for source in sources), settings, SIZE)
        scores = detector.score(tests)
        draws.append(measure(scores, truth))
        if maps is not None and seed == next(iter(drawn)):
            write_heatmaps(maps / category.name, samples, scores)
    return Result(category.name, k, tuple(draws), int((~truth.masked).sum()))


def truth_of(samples: Sequence[Sample]) -> Truth:
    """The truth of a test set. Where a defective sample lacks a mask nothing is known of its pixels."""
    masks = [s.mask if s.mask is not None else np.zeros(s.rgb.shape[:2], bool) for s in samples]
    masked = np.array([sample.mask is not None or not sample.strange for sample in samples])
    return Truth(np.array([sample.strange for sample in samples]), np.stack(masks), masked)


def measure(scores: Scores, truth: Truth) -> dict[str, float]:
    """Every metric of METRICS, those of pixels over the samples whose defective pixels are known.

    Raises DatasetError if good or defective samples are missing.
    """
    image = scores.image.double().cpu().numpy()
    pixel, masks = scores.pixel.double().cpu().numpy()[truth.masked], truth.masks[truth.masked]
    found = {"i_auroc": auroc(image, truth.strange), "i_ap": average_precision(image, truth.strange)}
    if not masks.any():
        return found | dict.fromkeys(("p_auroc", "aupro", "p_ap"), float("nan"))
    flat, wrong = pixel.ravel(), masks.ravel()
    return found | {
        "p_auroc": auroc(flat, wrong),
        "aupro": aupro(list(pixel), list(masks)),
        "p_ap": average_precision(flat, wrong),
    }
