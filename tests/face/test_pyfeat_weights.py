from pathlib import Path

import pytest

from argen.errors import ModelUnavailable
from argen.face import pyfeat_weights

MULTITASK = "face_multitask_v28.safetensors"


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch, tmp_path):
    monkeypatch.delenv("FEAT_MULTITASK_WEIGHTS", raising=False)
    monkeypatch.delenv("FEAT_ARCFACE_R50_PATH", raising=False)
    monkeypatch.setattr(pyfeat_weights, "_in_hub_cache", lambda hub: None)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_folder_of_the_recipe_is_enough(tmp_path):
    touch(tmp_path / MULTITASK)
    assert pyfeat_weights.at_hand(tmp_path)
    found = pyfeat_weights.find(tmp_path)
    assert found == pyfeat_weights.PyfeatWeights(tmp_path / MULTITASK, None, None)


def test_folders_named_like_the_hubs_are_read_too(tmp_path):
    expected = pyfeat_weights.PyfeatWeights(
        touch(tmp_path / "face_multitask_v2" / MULTITASK),
        touch(tmp_path / "arcface_r50" / "arcface_r50.safetensors"),
        touch(tmp_path / "retinaface_r34" / "model.safetensors"),
    )
    assert pyfeat_weights.find(tmp_path) == expected


def test_the_detector_has_its_own_name_in_a_plain_folder(tmp_path):
    touch(tmp_path / MULTITASK)
    detector = touch(tmp_path / "retinaface_r34.safetensors")
    assert pyfeat_weights.find(tmp_path).detector == detector


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_without_the_network_says_what_is_missing(tmp_path, there):
    folder = tmp_path if there else tmp_path / "gone"
    assert not pyfeat_weights.at_hand(folder)
    with pytest.raises(ModelUnavailable, match=rf"face\.weights: no {MULTITASK} in .*no commercial use"):
        pyfeat_weights.find(folder)


def test_py_feats_own_variables_are_heeded(tmp_path, monkeypatch):
    monkeypatch.setenv("FEAT_MULTITASK_WEIGHTS", str(touch(tmp_path / "a.safetensors")))
    monkeypatch.setenv("FEAT_ARCFACE_R50_PATH", str(touch(tmp_path / "b.safetensors")))
    assert pyfeat_weights.at_hand()
    found = pyfeat_weights.find(download=False)
    assert (found.multitask.name, found.identity.name) == ("a.safetensors", "b.safetensors")


def test_without_any_weights_the_remedy_is_said(monkeypatch):
    assert not pyfeat_weights.at_hand()
    with pytest.raises(ModelUnavailable, match=r"not at hand; download .*or set face\.reader to mediapipe"):
        pyfeat_weights.find(download=False)


def test_an_unreachable_hub_is_an_environment_error(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*args, **kwargs):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(ModelUnavailable, match=r"py-feat/face_multitask_v2 could not be reached") as caught:
        pyfeat_weights.find()
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_the_hub_is_asked_for_what_is_missing_and_the_licence_is_said(tmp_path, monkeypatch, caplog):
    import huggingface_hub

    def download(repo: str, file: str) -> str:
        if "retinaface" in repo:
            raise OSError("gone")
        return str(touch(tmp_path / repo / file))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = pyfeat_weights.find()
    assert found.multitask.is_file()
    assert found.identity is not None
    assert found.detector is None
    assert "no commercial use" in caplog.text
