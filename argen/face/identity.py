"""Who is who among clips whose subjects nobody wrote down."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def cluster_subjects(embeddings: Float[ndarray, "N D"], same_person: float) -> Int[ndarray, "N"]:
    """A subject number for every unit embedding (for example `FaceTrack.person`).

    Clips are joined while the mean distance between two groups is below `same_person` (the reader's own).
    A clip without an embedding (NaN) is a subject of its own. Numbers run from 0 in order of appearance.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    labels = np.arange(len(embeddings)) + len(embeddings) + 1  # one each, above any cluster's number
    known = np.isfinite(embeddings).all(axis=1)
    if known.sum() >= 2:
        tree = linkage(np.asarray(embeddings[known], np.float64), method="average")
        labels[known] = fcluster(tree, t=same_person, criterion="distance")
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int64)
