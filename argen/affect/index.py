"""Nearest neighbours among exemplars: one FAISS index over Action Units and class.

An exemplar is embedded as its 20 units followed by a one-hot of its class, scaled so that any exemplar of
the same class is nearer than any of another; no text model, so no weights. Small banks are searched exactly,
large ones through an inverted file.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

Faiss: TypeAlias = Any  # its generated bindings carry wrong types
EXACT_UP_TO: Final = 20_000
LISTS: Final = 1024
PROBES: Final = 16
TRAINING_ROWS: Final = 100_000
CLASS_WEIGHT: Final = 3.2
"""Times the square root of 2 it exceeds the longest distance in the unit cube of 20 dimensions, 4.48."""


class NeighbourIndex:
    """Exemplars' units with a class and a subject each; built once, searched per job."""

    def __init__(
        self,
        units: Float32[ndarray, "N 20"],
        classes: Int64[ndarray, "N"],
        subjects: Int64[ndarray, "N"],
        exact_up_to: int = EXACT_UP_TO,
    ) -> None:
        self._units, self._classes, self._subjects = units, classes, subjects
        self._width = int(classes.max()) + 1 if len(classes) else 1
        order = np.argsort(subjects, kind="stable")
        self._by_subject, self._sorted_subjects = order, subjects[order]
        self._index = self._build(units, len(units) > exact_up_to)

    def __len__(self) -> int:
        return len(self._classes)

    def search(
        self, units: Float32[ndarray, "20"], kind: int, count: int, exclude_subject: int | None = None
    ) -> Int64[ndarray, "K"]:
        """Rows of the `count` nearest exemplars of class `kind`, nearest first, none of `exclude_subject`."""
        if not 0 <= kind < self._width or count < 1 or len(self) == 0:
            return np.zeros(0, np.int64)
        query = self._embed(units[None], np.array([kind], np.int64))
        _, rows = self._index.search(query, min(count, len(self)), params=self._parameters(exclude_subject))
        found = rows[0][rows[0] >= 0]
        found = found[self._classes[found] == kind]
        if len(found) < count:  # a rare class may lie in lists that were not probed
            found = self._search_class(units, kind, count, exclude_subject)
        return np.asarray(found, np.int64)

    def _search_class(
        self, units: Float32[ndarray, "20"], kind: int, count: int, exclude_subject: int | None
    ) -> Int64[ndarray, "K"]:
        rows = np.flatnonzero((self._classes == kind) & (self._subjects != exclude_subject))
        distances = np.square(self._units[rows] - units).sum(axis=1)
        return np.asarray(rows[np.argsort(distances, kind="stable")[:count]], np.int64)

    def _build(self, units: Float32[ndarray, "N 20"], large: bool) -> Faiss:
        faiss = _faiss()
        vectors = self._embed(units, self._classes)
        if not large:
            index = faiss.IndexFlatL2(vectors.shape[1])
        else:
            lists = min(LISTS, len(vectors) // 39)  # FAISS asks for 39 training rows a list
            index = faiss.IndexIVFFlat(
                faiss.IndexFlatL2(vectors.shape[1]), vectors.shape[1], lists, faiss.METRIC_L2
            )
            index.cp.niter = 10
            step = max(1, len(vectors) // TRAINING_ROWS)
            index.train(vectors[::step])
            index.nprobe = PROBES
        if len(vectors):
            index.add(vectors)
        return index

    def _embed(self, units: Float32[ndarray, "M 20"], classes: Int64[ndarray, "M"]) -> ndarray:
        one_hot = np.zeros((len(units), self._width), np.float32)
        one_hot[np.arange(len(units)), classes] = CLASS_WEIGHT
        return np.ascontiguousarray(np.hstack([units, one_hot]), np.float32)

    def _parameters(self, exclude_subject: int | None) -> Faiss:
        if exclude_subject is None:
            return None
        faiss = _faiss()
        start, end = np.searchsorted(self._sorted_subjects, [exclude_subject, exclude_subject + 1])
        selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(self._by_subject[start:end]))
        if hasattr(self._index, "nprobe"):
            return faiss.SearchParametersIVF(sel=selector, nprobe=PROBES)
        return faiss.SearchParameters(sel=selector)


def _faiss() -> Faiss:
    import faiss

    return faiss
