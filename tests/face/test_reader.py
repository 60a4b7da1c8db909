import logging
from types import MappingProxyType

import pytest

from argen.config import FaceSettings
from argen.errors import ModelUnavailable
from argen.face import pyfeat_weights
from argen.face.reader import load_reader
from argen.face.track import FaceReader


def test_auto_without_py_feats_weights_is_mediapipe_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(pyfeat_weights, "at_hand", lambda folder: False)
    with caplog.at_level(logging.INFO, "argen.face.reader"):
        reader = load_reader(FaceSettings())
    assert isinstance(reader, FaceReader)
    assert reader.name == "mediapipe"
    assert "measured by mediapipe: py-feat's weights are not at hand" in caplog.text
    reader.close()


def test_auto_takes_py_feat_where_its_weights_are(monkeypatch, tmp_path, caplog):
    loaded = []

    class Fake:
        name = "pyfeat"
        weights = MappingProxyType({})
        same_person = 1.0

        def __init__(self, weights, device, landmarker):
            loaded.append((weights, device))

        def __call__(self, frames):
            raise NotImplementedError

        def close(self):
            pass

    (tmp_path / "face_multitask_v28.safetensors").write_bytes(b"weights")
    monkeypatch.setattr("argen.face.pyfeat_reader.PyfeatReader", Fake)
    with caplog.at_level(logging.INFO, "argen.face.reader"):
        reader = load_reader(FaceSettings(weights=tmp_path), device="cpu")
    assert reader.name == "pyfeat"
    assert loaded[0][0].multitask == tmp_path / "face_multitask_v28.safetensors"
    assert "measured by pyfeat: its weights are at hand" in caplog.text


def test_py_feat_that_is_asked_for_and_lacks_weights_is_an_error(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"face\.weights"):
        load_reader(FaceSettings(reader="pyfeat", weights=tmp_path))


def test_a_wrong_landmarker_is_named(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"no face_landmarker\.task there"):
        load_reader(FaceSettings(reader="mediapipe", landmarker=tmp_path))
