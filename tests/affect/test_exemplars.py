"""Exemplars: the nearest of the same class, never a held-out clip, never the same subject unless asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.affect.emotion import canonical
from argen.affect.exemplars import Exemplar, ExemplarBank, clip_exemplar, written_exemplars
from argen.affect.index import NeighbourIndex
from argen.errors import DatasetError
from argen.face.action_units import au_vector
from tests.affect.measured import clip

NOSE = au_vector({"AU09": 0.9, "AU10": 0.8})


def random_exemplars(count: int, seed: int = 0) -> list[Exemplar]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(["disgust", "Fearful", "Ek"], count)
    subjects = rng.integers(0, 5, count)
    units = rng.random((count, 20)).astype(np.float32)
    return [
        Exemplar(f"e{i:05}", str(labels[i]), "", units[i], subject=f"s{subjects[i]}") for i in range(count)
    ]


def brute_force(exemplars: list[Exemplar], label: str, units: np.ndarray, subject: str | None) -> list[str]:
    """The obvious way: measure every exemplar of the class that is not of the subject."""
    kind = canonical(label) or label
    allowed = [e for e in exemplars if (canonical(e.label) or e.label) == kind and e.subject != subject]
    return [e.id for e in sorted(allowed, key=lambda e: float(((e.units - units) ** 2).sum()))]


@given(
    st.integers(0, 60),
    st.integers(0, 100),
    st.sampled_from(["disgust", "fear", "Ek", "happy", "unheard of"]),
    st.sampled_from([None, "s1", "s4", "nobody"]),
    st.integers(0, 12),
)
def test_retrieval_is_the_obvious_search(count, seed, label, subject, wanted):
    exemplars = random_exemplars(count, seed)
    units = np.random.default_rng(seed + 1).random(20).astype(np.float32)
    found = ExemplarBank(exemplars).retrieve(label, units, wanted, subject)
    assert [e.id for e in found] == brute_force(exemplars, label, units, subject)[:wanted]


def test_the_order_of_the_bank_does_not_matter():
    exemplars = random_exemplars(50)
    one, other = ExemplarBank(exemplars), ExemplarBank(reversed(exemplars))
    assert one.retrieve("Ek", NOSE, 9) == other.retrieve("Ek", NOSE, 9)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_held_out_clip_cannot_get_in(split):
    held_out = clip_exemplar(clip("a", "disgust", split=split), NOSE)
    with pytest.raises(DatasetError, match=rf"clip:{split}/disgust/a is of the {split} split"):
        ExemplarBank([*written_exemplars(), held_out])


def test_the_same_subject_only_when_asked():
    clips = [clip_exemplar(clip(f"{i}", "Ek", subject=f"s{i % 2}"), NOSE) for i in range(8)]
    bank = ExemplarBank(clips)
    assert {e.subject for e in bank.retrieve("Ek", NOSE, 8, "s0")} == {"s1"}
    assert {e.subject for e in bank.retrieve("Ek", NOSE, 8)} == {"s0", "s1"}


def test_written_exemplars_are_of_nobody_and_never_excluded():
    bank = ExemplarBank(written_exemplars())
    assert len(bank.retrieve("disgust", NOSE, 4, "")) == 4
    assert bank.retrieve("Disgusted", NOSE, 4, "s0") == bank.retrieve("disgust", NOSE, 4)


def test_retrieval_finds_the_likeness():
    found = ExemplarBank(written_exemplars()).retrieve("disgust", NOSE, 3)
    assert all(e.label == "disgust" for e in found)
    assert all(e.units @ NOSE / np.linalg.norm(e.units) / np.linalg.norm(NOSE) > 0.8 for e in found)


def test_a_training_clip_is_described_by_its_units():
    exemplar = clip_exemplar(clip("a", "Ek_2", subject="s1"), NOSE)
    assert exemplar.text == "Ek 2: the nose wrinkles extremely, the upper lip rises strongly"
    assert exemplar.subject == "s1"


def test_the_large_index_agrees_with_the_exact_one():
    """The inverted file is the one that a million exemplars get; here on few, against the exact."""
    rng = np.random.default_rng(0)
    units = rng.random((6000, 20)).astype(np.float32)
    classes, subjects = rng.integers(0, 4, 6000), rng.integers(0, 50, 6000)
    exact = NeighbourIndex(units, classes, subjects)
    large = NeighbourIndex(units, classes, subjects, exact_up_to=100)
    recalls = []
    for query in range(40):
        for excluded in (None, 7):
            want = exact.search(units[query] * 0.9, query % 4, 10, excluded)
            got = large.search(units[query] * 0.9, query % 4, 10, excluded)
            assert (classes[got] == query % 4).all()
            assert excluded is None or (subjects[got] != excluded).all()
            recalls.append(len(set(want.tolist()) & set(got.tolist())) / 10)
    assert np.mean(recalls) >= 0.9


def test_a_rare_class_is_found_whole_in_a_large_index():
    rng = np.random.default_rng(1)
    units = rng.random((6000, 20)).astype(np.float32)
    classes = np.zeros(6000, np.int64)
    rare = rng.choice(6000, 12, replace=False)
    classes[rare] = 1
    large = NeighbourIndex(units, classes, np.arange(6000), exact_up_to=100)
    for query in rng.random((20, 20)).astype(np.float32):
        assert set(large.search(query, 1, 12)) == set(rare)
        assert len(large.search(query, 1, 12, int(rare[0]))) == 11
