"""Mesh, rasteriser, people and pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argen.face.action_units import au_vector
from argen.puppets.mesh import LIP_PAIRS, deform, face_model
from argen.puppets.person import sample_person
from argen.puppets.raster import rasterise
from argen.puppets.render import draw
from argen.puppets.scene import Performance, sample_scene
from argen.puppets.scenery import backdrop
from argen.puppets.wild import roughen


def performance(*frames: dict[str, float]) -> Performance:
    units = np.stack([au_vector(frame) for frame in frames])
    still = np.zeros((len(frames), 3), np.float32)
    return Performance(units, np.zeros(20, np.float32), still, still[:, :2].copy())


def test_eyes_close_and_lips_part_only_when_told() -> None:
    neutral = sample_person(3).neutral
    mesh = deform(
        neutral, np.stack([au_vector({}), au_vector({"AU43": 1.0}), au_vector({"AU25": 1.0, "AU26": 1.0})])
    )
    lids = mesh[:, 159, 1] - mesh[:, 145, 1]
    lips = mesh[:, 13, 1] - mesh[:, 14, 1]
    assert lids[1] < 0.1 * lids[0]
    assert lips[0] == pytest.approx(0, abs=0.01)
    assert lips[2] > 0.1


@given(st.lists(st.floats(0, 1, width=32), min_size=20, max_size=20))
def test_lids_and_lips_never_cross(units: list[float]) -> None:
    mesh = deform(face_model().neutral, np.array([units], np.float32))[0]
    assert all(
        mesh[upper, 1] - mesh[lower, 1] > -1e-3 for upper, lower in (*LIP_PAIRS, (159, 145), (386, 374))
    )


def test_asymmetry_keeps_one_half() -> None:
    neutral = face_model().neutral
    smile = au_vector({"AU12": 1.0})[None]
    left = deform(neutral, smile, np.full(20, 1.0, np.float32))[0] - deform(neutral, smile * 0)[0]
    assert np.linalg.norm(left[291]) > 5 * np.linalg.norm(left[61])  # 291 is the subject's left lip corner


def test_smile_lifts_and_frown_drops_the_lip_corners() -> None:
    neutral = face_model().neutral
    mesh = deform(neutral, np.stack([au_vector({}), au_vector({"AU12": 1.0}), au_vector({"AU15": 1.0})]))
    calm, smile, frown = (mesh[i, [61, 291], 1].mean() - mesh[i, 1, 1] for i in range(3))
    assert frown < calm < smile


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_weights_put_each_pixel_back_where_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 20, (2, 9, 3)).astype(np.float32)
    triangles = rng.permutation(9).reshape(3, 3).astype(np.int32)
    found = rasterise(points, triangles, np.zeros(3, np.float32), 20, 20)
    place = (points.reshape(-1, 3)[found.corners] * found.weights[..., None]).sum(axis=1)[:, :2]
    centre = np.stack([found.pixels % 20, (found.pixels // 20) % 20], axis=1) + 0.5
    assert np.allclose(place, centre, atol=1e-2)
    assert (found.weights > -1e-2).all()


def test_the_nearer_triangle_is_seen_whatever_the_order() -> None:
    square = np.array([[0, 0, 0], [0, 9, 0], [9, 0, 0], [0, 0, 5], [0, 9, 5], [9, 0, 5]], np.float32)
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        found = rasterise(square[None], np.array(order, np.int32), np.zeros(2, np.float32), 10, 10)
        assert len(found.pixels) > 30
        assert (found.corners >= 3).all()


def test_the_same_number_is_the_same_person() -> None:
    assert np.array_equal(sample_person(7).vector, sample_person(7).vector)
    assert not np.array_equal(sample_person(7).vector, sample_person(8).vector)


def test_a_smile_changes_the_mouth_and_not_the_background() -> None:
    scene = sample_scene(np.random.default_rng(1))
    drawing = draw(sample_person(11), performance({}, {"AU12": 1.0, "AU25": 1.0}), scene)
    change = np.abs(np.diff(drawing.frames.astype(float), axis=0)).mean(axis=(0, 3))
    assert drawing.frames.shape == (2, 64, 64, 3)
    assert change[36:52, 18:46].mean() > 4
    assert change[:5].max() == 0
    assert (drawing.landmarks[:, :, :2] > 0).all()
    assert (drawing.landmarks[:, :, :2] < 64).all()


def test_pictures_are_reproducible_and_scale() -> None:
    shown = performance({"AU04": 1.0})
    scene = sample_scene(np.random.default_rng(2))
    small = draw(sample_person(5), shown, scene, 64)
    assert np.array_equal(small.frames, draw(sample_person(5), shown, scene, 64).frames)
    large = draw(sample_person(5), shown, scene, 128)
    assert np.allclose(large.landmarks, 2 * small.landmarks, atol=1e-3)
    shrunk = large.frames.reshape(1, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    inner = (slice(None), slice(20, 50), slice(16, 48))
    assert np.abs(shrunk[inner] - small.frames[inner]).mean() < 12


def test_wild_clips_keep_their_shape_and_change() -> None:
    frames = np.repeat(backdrop(3, 64)[None], 3, axis=0)
    rough = [roughen(frames, np.random.default_rng(seed)) for seed in range(6)]
    assert all(clip.shape == frames.shape and clip.dtype == np.uint8 for clip in rough)
    assert any(not np.array_equal(clip, frames) for clip in rough)
    assert np.array_equal(rough[2], roughen(frames, np.random.default_rng(2)))
