import os

import numpy as np
import pytest

from argen.errors import ModelUnavailable
from argen.face.action_units import ACTION_UNITS, EXPRESSIONS
from argen.face.pyfeat_reader import PyfeatReader, face_boxes, track_from_rows
from argen.face.pyfeat_weights import PyfeatWeights
from tests.face import random_pyfeat
from tests.face.samples import astronaut_face, grace_hopper, scaled, video


def table(frames: list[int], left: list[float], size: list[float], seen: list[bool]) -> dict:
    """Rows as py-feat would give them; a row's Action Units say its number."""
    rows = {"frame": np.array(frames)}
    known = np.where(seen, 1.0, np.nan)
    number = np.arange(len(frames)) / 100
    rows |= {name: known * (number + i / 1000) for i, name in enumerate(ACTION_UNITS)}
    rows |= {name.capitalize(): known * (i == 2) for i, name in enumerate(EXPRESSIONS)}
    rows |= {f"Identity_{i + 1}": known * (i + 1.0) for i in range(512)}
    for axis in "xyz":
        rows |= {f"mesh_{axis}_{i}": known * i * 0.01 for i in range(478)}
    rows |= {"FaceRectX": known * left, "FaceRectY": known * 5.0}
    return rows | {"FaceRectWidth": known * size, "FaceRectHeight": known * size}


def test_rows_become_a_track():
    rows = table([0, 1, 1, 2, 3], [10.0, 300.0, 12.0, 0.0, 14.0], [50.0, 60.0, 50.0, 0.0, 50.0], [True] * 5)
    for name, values in rows.items():
        if name != "frame":
            values[3] = np.nan
    track = track_from_rows(rows, 4, {"file": "hash"})
    assert track.face_count.tolist() == [1, 2, 0, 1]
    np.testing.assert_allclose(track.action_units[:, 0], [0.0, 0.02, np.nan, 0.04], atol=1e-6)
    np.testing.assert_allclose(track.action_units[0], np.arange(20) / 1000, atol=1e-6)
    assert EXPRESSIONS[int(track.expressions[0].argmax())] == "sad"
    np.testing.assert_allclose(np.linalg.norm(track.identity[[0, 1, 3]], axis=1), 1, atol=1e-5)
    assert track.landmarks[0, 100].tolist() == pytest.approx([1.0, 1.0, 50.0])
    assert track.valid.tolist() == [True, False, False, True]


def test_a_clip_without_any_face_is_unknown():
    track = track_from_rows(table([0, 1], [0.0, 0.0], [0.0, 0.0], [False, False]), 2, {})
    assert track.face_count.tolist() == [0, 0]
    assert np.isnan(track.action_units).all()
    assert np.isnan(track.person).all()


def test_boxes_reach_over_the_forehead():
    landmarks = np.zeros((2, 478, 3), np.float32)
    landmarks[0, :, 0] = np.linspace(10, 30, 478)
    landmarks[0, :, 1] = np.linspace(100, 200, 478)
    boxes = face_boxes(landmarks)
    assert boxes[0].tolist() == pytest.approx([10, 88, 30, 200])
    assert face_boxes(landmarks[:0]).shape == (0, 4)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> PyfeatWeights:
    path = tmp_path_factory.mktemp("pyfeat") / "face_multitask_v28.safetensors"
    random_pyfeat.save_multitask(path, small=True)
    return PyfeatWeights(path, None, None)


def test_py_feats_own_networks_make_a_track(small):
    two = np.concatenate([astronaut_face(), scaled(grace_hopper()[:512], 256, 256)], axis=1)
    empty = np.zeros_like(two)
    one = np.concatenate([astronaut_face(), np.zeros_like(astronaut_face())], axis=1)
    frames = np.stack([one, empty, two])
    reader = PyfeatReader(small)
    track, again = reader(frames), reader(frames)
    reader.close()
    assert track.face_count.tolist() == [1, 0, 2]
    assert np.isfinite(track.action_units).all(axis=1).tolist() == [True, False, True]
    assert ((track.action_units[[0, 2]] >= 0) & (track.action_units[[0, 2]] <= 1)).all()
    np.testing.assert_allclose(track.expressions[[0, 2]].sum(axis=1), 1, atol=1e-4)
    assert np.isnan(track.identity).all(), "no identity network was given"
    assert set(track.weights) == {"face_multitask_v28.safetensors"}
    np.testing.assert_array_equal(track.action_units, again.action_units)
    np.testing.assert_allclose(track.action_units[0], track.action_units[2], atol=0.05)


def test_loading_it_leaves_the_process_as_it_was(small):
    import torch

    before = (os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), torch.is_grad_enabled())
    PyfeatReader(small).close()
    assert (os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), torch.is_grad_enabled()) == before


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "face_multitask_v28.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"face_multitask_v28\.safetensors: cannot be loaded"):
        PyfeatReader(PyfeatWeights(path, None, None))


def test_a_pickle_is_refused_unread(tmp_path):
    path = tmp_path / "face_multitask.pt"
    path.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelUnavailable, match="safetensors only"):
        PyfeatReader(PyfeatWeights(path, None, None))


def test_weights_of_something_else_are_refused(tmp_path, small):
    with pytest.raises(ModelUnavailable, match="not the weights of"):
        PyfeatReader(PyfeatWeights(small.multitask, small.multitask, None))


@pytest.mark.slow
def test_all_of_detectorv2_at_its_real_size(tmp_path):
    multitask = tmp_path / "face_multitask_v28.safetensors"
    identity = tmp_path / "arcface_r50.safetensors"
    random_pyfeat.save_multitask(multitask, small=False)
    random_pyfeat.save_arcface(identity)
    frames = video("single_face.mp4", 2)
    reader = PyfeatReader(PyfeatWeights(multitask, identity, None))
    track = reader(frames)
    reader.close()
    assert track.valid.all()
    np.testing.assert_allclose(np.linalg.norm(track.identity, axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_with_its_own_detector_mediapipe_is_not_asked(tmp_path, small):
    detector = tmp_path / "retinaface_r34.safetensors"
    random_pyfeat.save_retinaface(detector)
    reader = PyfeatReader(PyfeatWeights(small.multitask, None, detector))
    assert set(reader.weights) == {small.multitask.name, detector.name}
    reader._detector.face_detection_threshold = 0.999  # random weights see faces everywhere
    track = reader(np.zeros((2, 64, 64, 3), np.uint8))
    reader.close()
    assert track.action_units.shape == (2, 20)
    assert (track.face_count >= 0).all()
