import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from argen.face import geometry, mesh
from argen.face.action_units import ACTION_UNITS, AU_INDEX, au_vector

PIXELS = 120.0  # outer eye corners' distance of a face that fills a good part of a clip


def placed(action_units: np.ndarray, turn: np.ndarray | None = None, shift: float = 200.0) -> np.ndarray:
    points = mesh.au_mesh(action_units) * PIXELS
    return (points @ (np.eye(3) if turn is None else turn).T + shift).astype(np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    a, b, c = np.radians([yaw, pitch, roll])
    y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ x @ y


def recover(points: np.ndarray, error: float | None = None) -> np.ndarray:
    return geometry.action_units_from(points, placed(np.zeros(20)), error=error)


units = st.lists(st.floats(0, 1), min_size=20, max_size=20).map(lambda v: np.array(v, np.float32))


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_the_box_solver_equals_scipy(rows: int, seed: int):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 21))
    design, target = rng.normal(size=(40, size)), rng.normal(size=(rows, 40)) * 2
    low, high = -rng.uniform(0, 1, size), rng.uniform(0.01, 1, size)
    problem = geometry.BoxProblem(design.T @ design, target @ design, low, high)
    mine = geometry.solve_box(problem)
    for row, got in zip(target, mine, strict=True):
        theirs = lsq_linear(design, row, (low, high), method="bvls", tol=1e-12).x
        np.testing.assert_allclose(got, theirs, atol=1e-4)


def test_the_box_solver_survives_nearly_dependent_columns():
    rng = np.random.default_rng(0)
    design = rng.normal(size=(60, 20))
    design[:, 1] = design[:, 0] + 1e-3 * rng.normal(size=60)
    target = rng.normal(size=(50, 60)) * 5
    low, high = np.zeros(20), np.ones(20)
    mine = geometry.solve_box(geometry.BoxProblem(design.T @ design, target @ design, low, high))
    for row, got in zip(target, mine, strict=True):
        theirs = lsq_linear(design, row, (0, 1), method="bvls", tol=1e-12).x
        assert np.square(design @ got - row).sum() <= np.square(design @ theirs - row).sum() + 1e-6


@given(units)
@settings(max_examples=30)
def test_units_come_back_from_the_mesh_they_made(target: np.ndarray):
    got = recover(placed(target)[None], error=1e-5)[0]
    np.testing.assert_allclose(got, target, atol=0.02)


@given(units, st.floats(-20, 20), st.floats(-15, 15), st.floats(-30, 30), st.floats(0.5, 3))
@settings(max_examples=20)
def test_moving_and_growing_the_head_changes_nothing(target, yaw, pitch, roll, size):
    still = recover(placed(target)[None])[0]
    moved = recover((placed(target, rotation(yaw, pitch, roll), shift=50.0) * np.float32(size))[None])[0]
    np.testing.assert_allclose(moved, still, atol=2e-3)


def test_a_calm_face_has_no_units():
    assert recover(placed(np.zeros(20))[None]).max() < 1e-4


def test_the_start_is_where_change_begins():
    smile = au_vector({"AU12": 0.6, "AU06": 0.4})
    points = np.stack([placed(smile), placed(np.zeros(20, np.float32))])
    got = geometry.action_units_from(points, placed(smile), smile)
    np.testing.assert_allclose(got[0], smile, atol=1e-3)
    assert got[1, AU_INDEX["AU12"]] < 0.2


def test_frames_without_a_face_stay_unknown_and_disturb_nobody():
    points = np.stack([placed(au_vector({"AU26": 0.8}))] * 3)
    points[1] = np.nan
    got = recover(points)
    assert np.isnan(got[1]).all()
    np.testing.assert_array_equal(got[0], got[2])
    np.testing.assert_array_equal(got[0], recover(points[:1])[0])


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_every_unit_is_seen_above_the_noise_of_landmarks(name: str):
    rng = np.random.default_rng(7)
    active = rng.uniform(0, 1, (60, 20)).astype(np.float32) * (rng.uniform(size=(60, 20)) < 0.3)
    active[:, AU_INDEX[name]] = np.linspace(0, 1, 60)
    noisy = placed(active) + rng.normal(0, 0.5, (60, 478, 3)).astype(np.float32)
    got = recover(noisy)[:, AU_INDEX[name]]
    assert np.corrcoef(got, active[:, AU_INDEX[name]])[0, 1] > 0.55


def test_reliability_falls_with_noise_and_stays_a_share():
    sharp, rough = geometry.reliability(0.002), geometry.reliability(0.02)
    assert ((rough > 0) & (rough < sharp) & (sharp < 1)).all()


def test_the_calm_frame_is_the_typical_one_of_the_quiet():
    frames = np.stack([placed(au_vector({"AU12": a})) for a in (0.9, 0.02, 0.0, 0.01, 0.8)])
    activity = np.array([0.9, 0.1, 0.02, 0.0, 0.8])
    assert geometry.calm_frame(frames, activity) == 3
    frames[3] = np.nan
    activity[3] = np.inf
    assert geometry.calm_frame(frames, activity) in {1, 2}


def test_without_activity_the_calm_frame_is_nearest_to_the_middle():
    frames = np.stack([placed(au_vector({"AU12": a})) for a in (0.0, 0.1, 0.1, 0.1, 1.0)])
    assert geometry.calm_frame(frames) in {1, 2, 3}


def test_no_face_has_no_calm_frame():
    assert geometry.calm_frame(np.full((3, 478, 3), np.nan, np.float32)) == -1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_a_similarity_is_found_again(seed: int):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(2, 12, 3))
    turn = np.stack([rotation(*rng.uniform(-90, 90, 3)) for _ in range(2)])
    scale, shift = rng.uniform(0.2, 5, 2), rng.normal(size=(2, 3))
    target = geometry.apply(points, scale, turn, shift)
    got = geometry.similarity(points, target)
    for mine, truth in zip(got, (scale, turn, shift), strict=True):
        np.testing.assert_allclose(mine, truth, atol=1e-8)
