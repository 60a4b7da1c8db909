"""Scores against hand-counted cases, other libraries and identities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.errors import UsageError
from argen.recogniser import scores
from argen.recogniser.predict import Predictions

CLASSES = ("happy", "sad", "fear")
answers = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


def made(truth, said, subjects=None) -> Predictions:
    table = np.full((len(truth), 3), 0.1, np.float32)
    table[np.arange(len(truth)), said] = 0.8
    ids = tuple(f"clip{i}" for i in range(len(truth)))
    names = tuple(subjects) if subjects is not None else ids
    return Predictions(ids, names, tuple(CLASSES[i] for i in truth), table, CLASSES)


@pytest.mark.filterwarnings("ignore:A single label")
@given(answers)
def test_scores_agree_with_scikit_learn(pairs):
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix

    truth, said = np.array(pairs).T
    present = np.isin(said, truth)  # balanced accuracy wants no class that is said but never true
    assert scores.war(truth, said, 3) == pytest.approx(np.mean(truth == said))
    table = scores.confusion(truth, said, 3)
    assert (table == confusion_matrix(truth, said, labels=[0, 1, 2])).all()
    if present.all():
        assert scores.uar(truth, said, 3) == pytest.approx(balanced_accuracy_score(truth, said))


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_agrees_with_scipy(right, total):
    from scipy.stats import binomtest

    right = min(right, total)
    value, low, high = scores.wilson(right, total)
    theirs = binomtest(right, total).proportion_ci(method="wilson")
    assert value == right / total
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_recalls_name_their_class_and_an_absent_class_has_none():
    found = scores.recalls(np.array([0, 0, 1]), np.array([0, 1, 1]), CLASSES)
    assert [(r.label, r.n) for r in found] == [("happy", 2), ("sad", 1), ("fear", 0)]
    assert found[0].value == 0.5
    assert np.isnan(found[2].value)
    assert scores.uar(np.array([0, 0, 1]), np.array([0, 1, 1]), 3) == 0.75  # over the two that are there


def test_calibration_is_zero_when_confidence_is_accuracy():
    sure = np.tile(np.array([[0.75, 0.25, 0.0]], np.float32), (4, 1))
    assert scores.expected_calibration_error(sure, np.array([0, 0, 0, 1])) == pytest.approx(0)
    assert scores.expected_calibration_error(sure, np.array([1, 1, 1, 1])) == pytest.approx(0.75)
    certain = np.eye(3, dtype=np.float32)
    assert scores.expected_calibration_error(certain, np.array([0, 1, 2])) == 0


@given(answers, st.integers(0, 99))
def test_a_run_does_not_differ_from_itself_and_swapping_negates(pairs, seed):
    truth, said = np.array(pairs).T
    a, b = made(truth, said), made(truth, (said + 1) % 3)
    assert scores.paired_bootstrap(a, a, draws=20) == (0, 0, 0)
    forth = scores.paired_bootstrap(a, b, draws=50, seed=seed)
    back = scores.paired_bootstrap(b, a, draws=50, seed=seed)
    assert forth == pytest.approx((-back[0], -back[2], -back[1]))
    assert forth[0] == pytest.approx(scores.uar(a.truth, a.said, 3) - scores.uar(b.truth, b.said, 3))


def test_order_of_rows_and_of_classes_does_not_matter():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=40)
    a, b = made(truth, rng.integers(3, size=40)), made(truth, truth)
    shuffled = b.take(rng.permutation(40).tolist()).reordered(("fear", "happy", "sad"))
    assert scores.paired_bootstrap(a, shuffled, draws=30) == scores.paired_bootstrap(a, b, draws=30)
    assert scores.mcnemar(a, shuffled) == scores.mcnemar(a, b)


def test_clustered_clips_give_a_wider_interval():
    rng = np.random.default_rng(1)
    person = np.repeat(np.arange(20), 10)
    truth = rng.integers(3, size=200)
    wrong = rng.random(20)[person] < 0.4  # a person is always right or always wrong
    a, b = made(truth, truth, map(str, person)), made(truth, np.where(wrong, (truth + 1) % 3, truth))
    b = replace(b, subjects=a.subjects)
    _, low, high = scores.paired_bootstrap(a, b, metric=scores.war, draws=500)
    alone = scores.paired_bootstrap(a, b, metric=scores.war, draws=500, cluster=a.ids)
    assert high - low > 1.8 * (alone[2] - alone[1])


def test_over_seeds_the_difference_is_the_mean_and_luck_widens_it():
    rng = np.random.default_rng(2)
    truth = rng.integers(3, size=300)
    wrong = [np.where(rng.random(300) < share, (truth + 1) % 3, truth) for share in (0.1, 0.5)]
    a, b = [made(truth, truth)] * 2, [made(truth, said) for said in wrong]
    mean, low, high = scores.paired_bootstrap(a, b, draws=300)
    each = [scores.paired_bootstrap(a[0], run, draws=300) for run in b]
    assert mean == pytest.approx(np.mean([value for value, *_ in each]))
    assert high - low > 2 * max(one[2] - one[1] for one in each)


def test_mcnemar_counts_and_is_exact():
    truth = np.zeros(10, int)
    a, b = made(truth, truth), made(truth, np.array([1] * 6 + [0] * 4))
    assert scores.mcnemar(a, b) == (6, 0, pytest.approx(2 * 0.5**6))
    assert scores.mcnemar(a, a) == (0, 0, 1.0)


def test_runs_of_other_clips_classes_or_truth_are_refused():
    a = made(np.array([0, 1]), np.array([0, 1]))
    with pytest.raises(UsageError, match="'clip1' is in one"):
        scores.aligned(a, replace(a, ids=("clip0", "clip9")))
    with pytest.raises(UsageError, match="'clip1' is in one"):
        scores.aligned(a.take([0]), a)
    with pytest.raises(UsageError, match="anger is in one"):
        scores.aligned(a, replace(a, classes=("happy", "sad", "anger")))
    with pytest.raises(UsageError, match="'clip0' is happy and sad"):
        scores.aligned(a, replace(a, labels=("sad", "sad")))
    with pytest.raises(UsageError, match="not 1 and 2"):
        scores.paired_bootstrap(a, [a, a])
    with pytest.raises(UsageError, match="1 names for 2 clips"):
        scores.paired_bootstrap(a, a, cluster=["x"])
    with pytest.raises(UsageError, match="'clip0' is labelled 'bored'"):
        _ = replace(a, labels=("bored", "sad")).truth


def test_predictions_survive_their_csv(tmp_path):
    rng = np.random.default_rng(3)
    table = rng.dirichlet(np.ones(3), 5).astype(np.float32)
    ids = tuple(f'train/a, "b"/{i}' for i in range(5))
    before = Predictions(ids, ids, ("sad", "happy", "sad", "fear", "fear"), table, CLASSES)
    before.save(tmp_path / "deep" / "p.csv")
    after = Predictions.read(tmp_path / "deep" / "p.csv")
    assert (after.ids, after.subjects, after.labels, after.classes) == (ids, ids, before.labels, CLASSES)
    assert (after.probabilities == table).all()


def test_rounded_probabilities_of_another_program_are_read(tmp_path):
    (tmp_path / "p.csv").write_text("id,label,p_sad,p_happy,p_fear\nx,sad,0.333,0.333,0.333\n")
    assert Predictions.read(tmp_path / "p.csv").said.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\nx,sad\n", "no column 'p_<class>'"),
        ("name,p_sad\nx,1\n", "no column 'id'"),
        ("id,label,p_sad\nx,sad,often\n", ":2: a probability is no number"),
        ("id,label,p_sad\nx,sad,nan\n", ":2: a probability is not finite"),
        ("id,label,p_sad,p_happy\nx,sad,0.5,0.5\ny,sad,2,-1\n", ":3: a probability is outside 0..1"),
        ("id,label,p_sad,p_happy\nx,sad,0.5,0.4\n", ":2: the probabilities sum to 0.9, not to 1"),
        ("id,label,p_sad\nx,sad,1\ny,sad,1\nx,sad,1\n", ":4: 'x' is in line 2 already"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        Predictions.read(tmp_path / "p.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        Predictions.read(tmp_path / "absent.csv")
