import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.errors import ModelUnavailable
from argen.face import anatomy, mesh, models
from argen.face.action_units import ACTION_UNITS, au_vector


def gap(vertices: np.ndarray, upper: int, lower: int) -> float:
    return float(vertices[lower, 1] - vertices[upper, 1])


def test_the_calm_face_is_upright_and_of_unit_size():
    calm = mesh.calm_mesh()
    assert calm.shape == (478, 3)
    right, left = calm[list(mesh.OUTER_EYE_CORNERS)]
    np.testing.assert_allclose((right + left) / 2, 0, atol=1e-6)
    assert np.linalg.norm(left - right) == pytest.approx(1.0)
    assert left[0] > right[0], "the subject's left is on the right of the picture"
    assert calm[10, 1] < calm[1, 1] < calm[13, 1] < calm[152, 1], "forehead, nose, mouth, chin: y points down"
    assert calm[1, 2] < calm[234, 2], "the nose is nearer than the ear: z towards the viewer is negative"


def test_one_vector_or_many_give_the_same_mesh():
    many = np.random.default_rng(0).uniform(0, 1, (3, 20)).astype(np.float32)
    together = mesh.au_mesh(many)
    assert together.shape == (3, 478, 3)
    np.testing.assert_allclose(mesh.au_mesh(many[1]), together[1], atol=1e-6)
    np.testing.assert_allclose(mesh.au_mesh(np.zeros(20)), mesh.calm_mesh(), atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_the_mesh_is_linear_in_the_units(seed: int):
    a, b = np.random.default_rng(seed).uniform(0, 1, (2, 20))
    half = mesh.au_mesh((a + b) / 2)
    np.testing.assert_allclose(half, (mesh.au_mesh(a) + mesh.au_mesh(b)) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("unit", "upper", "lower", "sign"),
    [
        ("AU01", 107, 133, 1),  # the inner brow rises from the eye
        ("AU02", 70, 33, 1),
        ("AU04", 107, 133, -1),
        ("AU05", 159, 145, 1),  # eyes widen
        ("AU07", 159, 145, -1),
        ("AU43", 159, 145, -1),
        ("AU10", 13, 14, 1),
        ("AU12", 61, 152, 1),  # mouth corners rise from the chin
        ("AU15", 61, 152, -1),
        ("AU25", 13, 14, 1),  # lips part
        ("AU26", 1, 152, 1),  # the chin drops from the nose
        ("AU17", 1, 152, -1),
        ("AU24", 13, 14, -1),
        ("AU28", 13, 14, -1),
    ],
)
def test_units_move_what_their_names_say(unit: str, upper: int, lower: int, sign: int):
    moved = gap(mesh.au_mesh(au_vector({unit: 1.0})), upper, lower) - gap(mesh.calm_mesh(), upper, lower)
    assert moved * sign > 0.02


@pytest.mark.parametrize("unit", ["AU12", "AU20"])
def test_units_that_widen_the_mouth(unit: str):
    def width(vertices: np.ndarray) -> float:
        return float(vertices[291, 0] - vertices[61, 0])

    assert width(mesh.au_mesh(au_vector({unit: 1.0}))) > width(mesh.calm_mesh()) + 0.05


def test_upper_face_units_leave_the_mouth_and_lower_ones_the_eyes():
    moves = np.linalg.norm(mesh.au_displacements(), axis=2)
    for name, row in zip(ACTION_UNITS, moves, strict=True):
        number = int(name[2:])
        if number in {1, 2, 4, 5, 7, 43}:
            assert row[list(mesh.OUTER_LIPS)].max() < 1e-3, name
        if number >= 12 and number != 43:
            assert row[list(mesh.RIGHT_EYE + mesh.LEFT_EYE)].max() < 1e-3, name


def test_irises_stay_and_both_sides_move_alike():
    moves = mesh.au_displacements()
    assert not moves[:, list(mesh.LEFT_IRIS + mesh.RIGHT_IRIS)].any()
    np.testing.assert_allclose(moves[:, mesh.mirror_index()] * [-1, 1, 1], moves, atol=0.01)


def test_mirroring_twice_is_nothing():
    mirror = mesh.mirror_index()
    np.testing.assert_array_equal(mirror[mirror], np.arange(478))
    assert mirror[33] == 263
    assert mirror[61] == 291


def boundary(triangles: np.ndarray) -> set[int]:
    """Vertices of edges that belong to one triangle only."""
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edge, count = np.unique(edges, axis=0, return_counts=True)
    return set(edge[count == 1].ravel().tolist())


def test_the_whole_triangulation_ends_at_the_face_oval():
    assert mesh.triangles().max() == 467
    assert boundary(mesh.triangles()) == set(mesh.FACE_OVAL)


def test_the_skin_is_open_at_eyes_and_mouth():
    openings = {*mesh.LEFT_EYE, *mesh.RIGHT_EYE, *mesh.INNER_LIPS}
    assert boundary(mesh.skin_triangles()) == openings | set(mesh.FACE_OVAL)


@pytest.mark.parametrize("name", ["RIGHT_EYE", "LEFT_EYE", "OUTER_LIPS", "INNER_LIPS", "FACE_OVAL"])
def test_rings_run_round_once(name: str):
    ring = getattr(mesh, name)
    assert len(set(ring)) == len(ring)
    flat = mesh.calm_mesh()[list(ring), :2] - mesh.calm_mesh()[list(ring), :2].mean(axis=0)
    angles = np.unwrap(np.arctan2(flat[:, 1], flat[:, 0]))
    assert abs(angles[-1] - angles[0]) < 2 * np.pi
    steps = np.diff(angles)
    assert (steps > 0).all() or (steps < 0).all()


def test_brows_lie_above_their_eyes():
    calm = mesh.calm_mesh()
    for brow, eye in ((mesh.LEFT_BROW, mesh.LEFT_EYE), (mesh.RIGHT_BROW, mesh.RIGHT_EYE)):
        assert calm[list(brow), 1].max() < calm[list(eye), 1].min()
        assert np.sign(calm[list(brow), 0]).sum() == np.sign(calm[list(eye), 0]).sum() * 10 / 16


def test_regions_are_shares():
    weights = anatomy.region_weights(mesh.calm_mesh())
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (weights.max(axis=1) > 0.25).all()


def test_another_model_in_its_place_is_refused(tmp_path, monkeypatch):
    wrong = tmp_path / "au.npz"
    np.savez(wrong, au_columns=np.array(["AU01"]), coef=np.zeros((2, 1434)), intercept=np.zeros(1434))
    monkeypatch.setattr(models, "locate", lambda name: wrong)
    mesh._model.cache_clear()
    with pytest.raises(ModelUnavailable, match="not py-feat's AU-to-mesh model v4"):
        mesh.calm_mesh()
    monkeypatch.undo()
    mesh._model.cache_clear()
