"""Metrics on cases that can be worked out by hand."""

import numpy as np
import pytest

from argen.anomaly.metrics import aupro, auroc, average_precision
from argen.errors import DatasetError


def test_auroc_and_precision_by_hand():
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    strange = np.array([False, False, True, True])
    assert auroc(scores, strange) == pytest.approx(3 / 4)
    assert average_precision(scores, strange) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_scores_beyond_one_are_not_squashed():
    """A sigmoid would make ties of large scores; ranks don't."""
    scores = np.array([100.0, 200.0, 300.0, 400.0])
    assert auroc(scores, np.array([False, False, True, True])) == pytest.approx(1)
    assert auroc(-scores, np.array([False, False, True, True])) == pytest.approx(0)


def two_regions():
    """Ten pixels: a region of one, a region of four, five sound pixels."""
    return np.array([[1, 0, 1, 1, 1, 1, 0, 0, 0, 0]], bool)


def test_perfect_aupro():
    mask = two_regions()
    assert aupro([mask.astype(float)], [mask]) == pytest.approx(1)


def test_aupro_by_hand():
    """First the small region, then a sound pixel of five (rate 0.2), then half of the large region."""
    scores = np.array([[0.9, 0.8, 0.7, 0.7, 0.1, 0.1, 0.6, 0.05, 0.04, 0.03]])
    # (rate, overlap): (0, 0) (0, 1/2) (.2, 1/2) (.2, 3/4) (.4, 3/4) ... : up to 0.3
    assert aupro([scores], [two_regions()]) == pytest.approx((0.2 * 0.5 + 0.1 * 0.75) / 0.3)


def test_aupro_of_a_constant_map_is_chance():
    """All pixels fall together: a straight line from (0, 0) to (1, 1)."""
    assert aupro([np.ones((1, 10))], [two_regions()]) == pytest.approx(0.15)


def test_small_regions_count_as_much_as_large_ones():
    mask = two_regions()
    only_small = np.where(np.arange(10) == 0, 1.0, 0.0)[None]
    only_large = np.where(np.isin(np.arange(10), [2, 3, 4, 5]), 1.0, 0.0)[None]
    assert aupro([only_small], [mask]) == pytest.approx(aupro([only_large], [mask]))


def test_regions_of_several_pictures_and_touching_corners():
    diagonal = np.array([[1, 0], [0, 1]], bool)  # 8-connected: one region
    assert aupro([np.array([[1.0, 0.0], [0.0, 0.0]])], [diagonal]) == pytest.approx((0.5 + 0.65) / 2)
    sound = np.zeros((2, 2), bool)
    maps = [diagonal.astype(float), np.zeros((2, 2))]
    assert aupro(maps, [diagonal, sound]) == pytest.approx(1)


def test_what_cannot_be_measured():
    with pytest.raises(DatasetError, match="both good and defective"):
        auroc(np.array([0.1, 0.2]), np.array([True, True]))
    with pytest.raises(DatasetError, match="AUPRO needs"):
        aupro([np.zeros((2, 2))], [np.zeros((2, 2), bool)])
