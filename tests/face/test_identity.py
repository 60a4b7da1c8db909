import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argen.face.identity import cluster_subjects


def people(counts: list[int], spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings of well separated people, and who is who."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(32, len(counts))))[0].T
    who = np.repeat(np.arange(len(counts)), counts)
    rng.shuffle(who)
    vectors = centres[who] + spread * rng.normal(size=(len(who), 32)) / np.sqrt(32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), who


@settings(max_examples=15)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_people_are_found_again(counts: list[int], seed: int):
    vectors, who = people(counts, 0.1, seed)
    labels = cluster_subjects(vectors, 0.6)
    same_truth = who[:, None] == who[None]
    np.testing.assert_array_equal(labels[:, None] == labels[None], same_truth)
    assert labels[0] == 0
    first = [int(np.flatnonzero(labels == k)[0]) for k in range(labels.max() + 1)]
    assert first == sorted(first), "numbered in order of appearance"


def test_clips_without_an_embedding_stand_alone():
    vectors, _ = people([3], 0.05, 0)
    vectors[1] = np.nan
    extended = np.concatenate([vectors, np.full((1, 32), np.nan)])
    assert cluster_subjects(extended, 0.6).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("count", [0, 1])
def test_none_or_one(count: int):
    assert cluster_subjects(np.ones((count, 4)), 0.5).tolist() == list(range(count))


def test_a_chain_of_neighbours_is_not_one_person():
    angles = np.radians(np.arange(0, 100, 10))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = cluster_subjects(vectors, 0.33)
    assert labels[0] != labels[-1]
