"""Retrieval from a million exemplars: time of a query on one core, and recall against exact search."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from argen.affect.emotion import draw_units, load_emotions
from argen.affect.index import NeighbourIndex
from benchmarks.figures import Figure, bootstrap, main

EXEMPLARS = 1_000_000
SUBJECTS = 10_000
WANTED = 10


def measure(quick: bool) -> Iterator[Figure]:
    """Both forms search the same bank; the quick one asks fewer queries."""
    import faiss

    faiss.omp_set_num_threads(1)
    queries = 200 if quick else 2000
    rng = np.random.default_rng(0)
    units, classes = faces(EXEMPLARS, rng)
    subjects = rng.integers(0, SUBJECTS, EXEMPLARS)
    index = NeighbourIndex(units, classes, subjects)
    asked, kinds = faces(queries, rng)
    own = rng.integers(0, SUBJECTS, queries)

    seconds, found = [], []
    for query, kind, subject in zip(asked, kinds, own, strict=True):
        started = time.perf_counter()
        found.append(index.search(query, int(kind), WANTED, int(subject)))
        seconds.append(time.perf_counter() - started)
    value, low, high = bootstrap([1000 * s for s in seconds])
    yield Figure("retrieve.milliseconds", value, low, high, queries, "<= 5")

    recalls = []
    for query, kind, subject, rows in zip(asked, kinds, own, found, strict=True):
        allowed = np.flatnonzero((classes == kind) & (subjects != subject))
        distances = ((units[allowed] - query) ** 2).sum(axis=1)
        nearest = allowed[np.argpartition(distances, WANTED)[:WANTED]]
        recalls.append(len(np.intersect1d(nearest, rows)) / WANTED)
    value, low, high = bootstrap(recalls)
    yield Figure("retrieve.recall10", value, low, high, queries, ">= 0.95")


def faces(count: int, rng: np.random.Generator) -> tuple[Float32[ndarray, "N 20"], Int64[ndarray, "N"]]:
    """Apexes as clips have them: drawn per emotion, with the noise of a reader on every unit."""
    emotions = list(load_emotions().values())
    pool = np.stack([draw_units(emotions[i % len(emotions)], rng, (0.2, 1.0)) for i in range(4400)])
    rows = rng.integers(0, len(pool), count)
    noise = np.abs(rng.normal(0, 0.06, (count, pool.shape[1]))).astype(np.float32)
    return np.clip(pool[rows] + noise, 0, 1).astype(np.float32), rows % len(emotions)


if __name__ == "__main__":
    main(measure, __doc__ or "")
