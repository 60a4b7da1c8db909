import os

from argen.dataset.layouts.outline import DEPTH, FOLDERS, FOLLOWED, outline
from argen.dataset.read import read_dataset
from tests.dataset import released
from tests.dataset.makers import put_frames, put_text, put_video


def test_finds_landmarks_in_any_case_and_at_any_depth(tmp_path):
    put_text(tmp_path / "Data" / "Train & Test Set" / "single" / "no_caption" / "set_1" / "Train.TXT", "x")
    top = outline(tmp_path)
    found = top.find("SINGLE", "no_caption", "set_1")
    assert found == tmp_path / "Data/Train & Test Set/single/no_caption/set_1"
    assert top.find("single", "set_1") is None
    assert list(top.folders_like(r"set_\d")) == ["Data/Train & Test Set/single/no_caption/set_1"]


def test_looks_at_a_few_hundred_folders_however_many_there_are(tmp_path, monkeypatch):
    for label in range(30):
        for clip in range(30):
            put_frames(tmp_path / f"class{label}" / f"{clip:03d}", ("0.jpg",))
    calls = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: calls.append(path) or scandir(path))
    outline(tmp_path)
    assert len(calls) <= 1 + FOLLOWED + FOLDERS * (DEPTH - 2)


def test_a_loop_or_a_locked_folder_does_not_hold_it_up(tmp_path, monkeypatch):
    put_video(tmp_path / "happy" / "a.mp4")
    (tmp_path / "happy" / "again").symlink_to(tmp_path)
    assert "happy/again/happy" in set(outline(tmp_path).folders_like("happy"))

    def locked(path):
        raise PermissionError

    monkeypatch.setattr(os, "scandir", locked)
    assert outline(tmp_path).folders == {"": []}


def test_a_release_inside_one_more_folder_is_found(tmp_path):
    released.dfew(tmp_path / "download" / "DFEW-part2", per_class=5)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "dfew"
    assert dataset.clips[0].id.startswith("download/DFEW-part2/Clip/")
