import errno
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argen.config import DatasetSettings
from argen.dataset.read import read_dataset
from argen.dataset.subjects import group, subjects_by_identity
from argen.errors import DatasetError, UnreadableClip
from tests.dataset.makers import put_frames, put_image, put_jsonl, put_text, put_video


def ids(dataset) -> dict[str, tuple[str, str, str]]:
    return {clip.id: (clip.label, clip.split, clip.kind) for clip in dataset.clips}


def whats(dataset) -> str:
    return "\n".join(f"{problem.where}: {problem.what}" for problem in dataset.problems)


def test_class_folders_of_videos_frames_and_stills(tmp_path):
    put_video(tmp_path / "happy" / "a.mp4")
    put_frames(tmp_path / "happy" / "b")
    put_image(tmp_path / "sad" / "c.jpg")
    put_video(tmp_path / "sad" / "film" / "scene" / "d.avi")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "folder"
    assert dataset.problems == ()
    assert ids(dataset) == {
        "happy/a": ("happy", "train", "video"),
        "happy/b": ("happy", "train", "frames"),
        "sad/c": ("sad", "train", "image"),
        "sad/film/scene/d": ("sad", "train", "video"),
    }
    assert all(clip.subject == clip.id for clip in dataset.clips)
    assert dataset.subjects_from == "clip"


def test_splits_above_under_any_of_their_names(tmp_path):
    for folder in ("Training", "valid", "Dev", "TEST"):
        put_video(tmp_path / folder / "happy" / "a.mp4")
    put_video(tmp_path / "extra" / "happy" / "a.mp4")
    dataset = read_dataset(tmp_path)
    assert {clip.id: clip.split for clip in dataset.clips} == {
        "Training/happy/a": "train",
        "valid/happy/a": "val",
        "Dev/happy/a": "val",
        "TEST/happy/a": "test",
    }
    assert "extra: beside train, val and test" in whats(dataset)
    assert dataset.counts() == {"happy": 1}
    assert len(dataset.train) == 1


def test_reading_changes_nothing_and_is_the_same_twice(tmp_path):
    put_frames(tmp_path / "happy" / "b")
    put_video(tmp_path / "sad" / "a.mp4")
    before = sorted((str(p), p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    assert read_dataset(tmp_path) == read_dataset(tmp_path)
    assert sorted((str(p), p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


def test_names_that_differ_in_suffix_alone_keep_it(tmp_path):
    put_video(tmp_path / "happy" / "a.mp4")
    put_video(tmp_path / "happy" / "a.avi")
    assert set(ids(read_dataset(tmp_path))) == {"happy/a.mp4", "happy/a.avi"}


def test_labels_with_blanks_and_unicode(tmp_path):
    put_video(tmp_path / unicodedata.normalize("NFD", "Überraschung") / "a.mp4")
    put_video(tmp_path / "very happy" / "b.mp4")
    put_video(tmp_path / "喜び" / "c.mp4")
    assert set(read_dataset(tmp_path).counts()) == {"Überraschung", "very happy", "喜び"}


def test_what_is_passed_over_is_named(tmp_path):
    put_video(tmp_path / "happy" / "a.mp4")
    put_text(tmp_path / "happy" / "._a.mp4", "x")
    put_text(tmp_path / "happy" / "notes.txt", "x")
    put_text(tmp_path / "readme.txt", "x")
    (tmp_path / "happy" / "zero.mp4").touch()
    (tmp_path / "sad").mkdir()
    (tmp_path / "happy" / "loop").symlink_to(tmp_path / "happy")
    (tmp_path / "happy" / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    put_video(tmp_path / "stray.mp4")
    dataset = read_dataset(tmp_path)
    assert set(ids(dataset)) == {"happy/a"}
    for line in (
        "happy: hidden, passed over: ._a.mp4",
        "happy: not video or image: notes.txt",
        ".: not video or image: readme.txt",
        ".: outside any class: stray.mp4",
        "happy/zero.mp4: empty file",
        "sad: no clips in it",
        "happy/loop: symbolic link to a folder above it",
        "happy/dead.mp4: dead symbolic link",
    ):
        assert line in whats(dataset)


def test_loops_between_siblings_end(tmp_path):
    put_video(tmp_path / "happy" / "a.mp4")
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "other").symlink_to(tmp_path / "happy")
    (tmp_path / "happy" / "other").symlink_to(tmp_path / "sad")
    dataset = read_dataset(tmp_path)
    assert "symbolic link to a folder above it" in whats(dataset)
    assert "happy/a" in ids(dataset)


def test_unreadable_folder_is_named(tmp_path, monkeypatch):
    put_video(tmp_path / "happy" / "a.mp4")
    put_video(tmp_path / "sad" / "b.mp4")
    scandir = os.scandir

    def locked(path):
        if Path(path).name == "sad":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert "sad: cannot be listed: Permission denied" in whats(read_dataset(tmp_path))


def test_a_name_in_another_encoding_is_named_not_crashed_on(tmp_path):
    put_video(tmp_path / "happy" / "a.mp4")
    put_video(tmp_path / "happy" / os.fsdecode(b"caf\xe9.mp4"))
    dataset = read_dataset(tmp_path)
    assert set(ids(dataset)) == {"happy/a"}
    assert "a name that is not UTF-8" in whats(dataset)


def test_an_output_whose_people_only_seem_to_be_in_two_splits_can_be_read(tmp_path):
    (tmp_path / "manifest").mkdir()
    put_text(tmp_path / "run.json", "{}")
    for split in ("train", "test"):
        put_video(tmp_path / split / "sad" / f"{split}.mp4")
        row = {"file_name": f"sad/{split}.mp4", "label": "sad", "subject": "person-0001"}
        put_jsonl(tmp_path / split / "metadata.jsonl", [row])
    assert len(read_dataset(tmp_path)) == 2


def test_metadata_jsonl(tmp_path):
    put_video(tmp_path / "clips" / "a.mp4")
    put_frames(tmp_path / "clips" / "b")
    rows = [
        {"file_name": "clips/a.mp4", "label": "very/happy", "subject": "s1", "split": "train", "age": 31},
        {"file_name": "clips\\b", "label": "sad", "subject": "s2", "split": "validation", "licence": "CC0"},
    ]
    put_jsonl(tmp_path / "metadata.jsonl", rows)
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, dataset.subjects_from, dataset.problems) == ("metadata", "column", ())
    a, b = dataset.clips
    assert (a.id, a.label, a.split, a.subject, a.kind) == ("clips/a", "very/happy", "train", "s1", "video")
    assert (b.id, b.label, b.split, b.licence, b.kind) == ("clips/b", "sad", "val", "CC0", "frames")
    assert a.extra == {"age": "31"}


def test_any_folder_above_a_clip_may_name_its_split(tmp_path):
    names = ("data/train/a.mp4", "data/test/sad/b.mp4", "validation/c.mp4", "clips/d.mp4", "clips/test.mp4")
    for name in names:
        put_video(tmp_path / name)
    put_jsonl(tmp_path / "metadata.jsonl", [{"file_name": name, "label": "sad"} for name in names])
    splits = {clip.id: clip.split for clip in read_dataset(tmp_path).clips}
    assert splits == {
        "data/train/a": "train",
        "data/test/sad/b": "test",
        "validation/c": "val",
        "clips/d": "train",
        "clips/test": "train",
    }


def test_folders_that_name_two_splits_are_refused(tmp_path):
    put_video(tmp_path / "test" / "train" / "a.mp4")
    put_jsonl(tmp_path / "metadata.jsonl", [{"file_name": "test/train/a.mp4", "label": "sad"}])
    with pytest.raises(DatasetError, match=r"jsonl:1: 'test/train/a.mp4' lies below 'test' and 'train'"):
        read_dataset(tmp_path)
    row = {"file_name": "test/train/a.mp4", "label": "sad", "split": "train"}
    put_jsonl(tmp_path / "metadata.jsonl", [row])
    assert read_dataset(tmp_path).clips[0].split == "train"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_metadata_csv(tmp_path, newline, encoding):
    put_video(tmp_path / "a.mp4")
    text = 'file_name,label,caption\na.mp4,"fear, mixed","a, b"\n'
    put_text(tmp_path / "metadata.csv", text, encoding, newline)
    (clip,) = read_dataset(tmp_path).clips
    assert (clip.label, clip.extra) == ("fear, mixed", {"caption": "a, b"})


def test_metadata_per_split_with_synthetic_clips(tmp_path):
    for name in ("train/sad/a.mp4", "train/sad/syn_1.mp4", "val/sad/b.mp4"):
        put_video(tmp_path / name)
    train = [
        {"file_name": "sad/a.mp4", "label": "sad", "synthetic": False, "subject": "p"},
        {"file_name": "sad/syn_1.mp4", "label": "sad", "synthetic": True, "subject": "p"},
    ]
    put_jsonl(tmp_path / "train" / "metadata.jsonl", train)
    put_jsonl(
        tmp_path / "val" / "metadata.jsonl", [{"file_name": "sad/b.mp4", "label": "sad", "subject": "q"}]
    )
    dataset = read_dataset(tmp_path)
    assert [(c.id, c.split, c.synthetic) for c in dataset.clips] == [
        ("train/sad/a", "train", False),
        ("train/sad/syn_1", "train", True),
        ("val/sad/b", "val", False),
    ]
    assert [clip.id for clip in dataset.sources] == ["train/sad/a"]


def test_files_and_rows_that_do_not_match_are_counted(tmp_path):
    put_video(tmp_path / "a.mp4")
    put_video(tmp_path / "b.mp4")
    rows = [{"file_name": name, "label": "sad"} for name in ("a.mp4", "gone.mp4", "a.mp4")]
    put_jsonl(tmp_path / "metadata.jsonl", rows)
    problems = whats(read_dataset(tmp_path))
    assert "1 listed but absent: gone.mp4" in problems
    assert "1 videos in no row of metadata.jsonl: b.mp4" in problems
    assert "a: listed twice" in problems


def test_argens_output_is_a_dataset(tmp_path):
    (tmp_path / "manifest").mkdir()
    put_text(tmp_path / "run.json", "{}")
    put_video(tmp_path / "train" / "sad" / "real.mp4")
    put_video(tmp_path / "train" / "sad" / "syn_1.mp4")
    put_frames(tmp_path / "train" / "a%2Fb" / "folder")
    put_frames(tmp_path / "test" / "sad" / "held")
    put_video(tmp_path / "dropped" / "sad" / "syn_2.mp4")
    rows = [
        {"file_name": "sad/real.mp4", "label": "sad", "synthetic": False, "licence": "CC0"},
        {"file_name": "sad/syn_1.mp4", "label": "sad", "synthetic": True, "licence": "CC0"},
    ]
    put_jsonl(tmp_path / "train" / "metadata.jsonl", rows)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "argen"
    assert [(c.id, c.label, c.synthetic, c.split) for c in dataset.clips] == [
        ("test/sad/held", "sad", False, "test"),
        ("train/a%2Fb/folder", "a/b", False, "train"),
        ("train/sad/real", "sad", False, "train"),
        ("train/sad/syn_1", "sad", True, "train"),
    ]


def test_what_may_be_done_with_frames_and_stills_comes_back_from_an_output(tmp_path):
    put_text(tmp_path / "run.json", "{}")
    put_frames(tmp_path / "train" / "sad" / "folder")
    put_image(tmp_path / "train" / "sad" / "still.png")
    put_image(tmp_path / "train" / "sad" / "stray.png")
    about = {"label": "sad", "synthetic": False, "split": "train", "id": ""}
    closed = {"subject": "s1", "source": "a/folder", "licence": "MAFW agreement", "redistributable": False}
    free = {"subject": "s2", "source": "a/still", "licence": "CC0", "redistributable": True}
    rows = [
        {"file_name": "train/sad/folder", **about, **closed},
        {"file_name": "train/sad/still.png", **about, **free},
    ]
    put_jsonl(tmp_path / "manifest" / "real.jsonl", rows)
    dataset = read_dataset(tmp_path)
    assert dataset.subjects_from == "column"
    assert [(c.subject, c.licence, c.redistributable) for c in dataset.clips] == [
        ("s1", "MAFW agreement", False),
        ("s2", "CC0", True),
        ("train/sad/stray", "unknown", False),
    ]
    assert [c.extra.get("source") for c in dataset.clips] == ["a/folder", "a/still", None]


def test_a_row_of_an_output_that_does_not_say_so_is_not_redistributable(tmp_path):
    (tmp_path / "manifest").mkdir()
    put_text(tmp_path / "run.json", "{}")
    for name in ("a", "b"):
        put_video(tmp_path / "train" / "sad" / f"{name}.mp4")
    rows = [{"file_name": f"sad/{name}.mp4", "label": "sad"} for name in ("a", "b")]
    put_jsonl(tmp_path / "train" / "metadata.jsonl", [rows[0], rows[1] | {"redistributable": True}])
    assert [clip.redistributable for clip in read_dataset(tmp_path).clips] == [False, True]


def settings_of(**wishes) -> DatasetSettings:
    return DatasetSettings(**wishes)


def test_subjects_by_pattern(tmp_path):
    for name in ("s1_a", "s1_b", "s2_a", "odd"):
        put_video(tmp_path / "sad" / f"{name}.mp4")
    dataset = read_dataset(tmp_path, settings_of(subjects=r"/(?P<subject>s\d+)_"))
    assert [clip.subject for clip in dataset.clips] == ["sad/odd", "s1", "s1", "s2"]
    assert dataset.subjects_from == "pattern"
    assert "1 ids do not match" in whats(dataset)


def test_clip_overrules_the_column(tmp_path):
    put_video(tmp_path / "a.mp4")
    put_jsonl(tmp_path / "metadata.jsonl", [{"file_name": "a.mp4", "label": "sad", "subject": "s"}])
    (clip,) = read_dataset(tmp_path, settings_of(subjects="clip")).clips
    assert clip.subject == "a"


def test_subjects_by_identity(tmp_path):
    for split, name in (("train", "a"), ("train", "b"), ("val", "c"), ("val", "d"), ("train", "e")):
        put_video(tmp_path / split / "sad" / f"{name}.mp4")
    east, north = np.array([1, 0.05], np.float32), np.array([0, 1], np.float32)
    faces = {"a": east, "b": north, "c": east, "d": None}

    def embed(clip):
        name = clip.id[-1]
        if name == "e":
            raise UnreadableClip(f"{clip.path}: damaged")
        return faces[name]

    dataset = subjects_by_identity(read_dataset(tmp_path), embed, 0.6)
    assert [clip.subject for clip in dataset.clips] == [
        "person-0001",
        "person-0002",
        "train/sad/e",
        "person-0001",
        "val/sad/d",
    ]
    assert dataset.subjects_from == "identity"
    assert "person-0001: seems to be in two splits: train (train/sad/a) and val (val/sad/c)" in whats(dataset)
    assert "damaged" in whats(dataset)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40), st.randoms(use_true_random=False))
def test_group_finds_far_apart_people(people, random):
    centres = np.eye(6, 16, dtype=np.float32)
    noise = np.array([[random.uniform(-0.05, 0.05) for _ in range(16)] for _ in people], np.float32)
    numbers = group([centres[p] + noise[i] for i, p in enumerate(people)], 0.8)
    first: dict[int, int] = {}
    assert numbers == [first.setdefault(person, len(first)) for person in people]


def one(root):
    put_video(root / "sad" / "a.mp4")


def flat(root):
    put_video(root / "a.mp4")
    put_video(root / "b.mp4")


def only_val(root):
    put_video(root / "val" / "sad" / "a.mp4")


def twins(root):
    put_video(root / "Disgust" / "a.mp4")
    put_video(root / "disgust" / "b.mp4")


def twins_over_splits(root):
    put_video(root / "train" / "Disgust" / "a.mp4")
    put_video(root / "val" / "disgust" / "b.mp4")


def table(*rows, text=None, encoding="utf-8", name="metadata.jsonl"):
    def make(root):
        for file in ("a.mp4", "b.mp4"):
            put_video(root / file)
        if text is not None:
            put_text(root / name, text, encoding)
        else:
            put_jsonl(root / name, rows)

    return make


def splits_inside(root):
    for split in ("train", "test"):
        put_video(root / "happy" / split / "a.mp4")


def one_level_down(root):
    for split in ("train", "test"):
        put_video(root / "data" / split / "happy" / "a.mp4")


def shared(root):
    for split in ("train", "test"):
        put_video(root / split / "sad" / f"{split}.mp4")
        row = {"file_name": f"sad/{split}.mp4", "label": "sad", "subject": "anna"}
        put_jsonl(root / split / "metadata.jsonl", [row])


BAD = {
    "missing folder": (lambda root: root.rmdir(), {}, r"no such folder"),
    "a file": (lambda root: (root.rmdir(), put_text(root, "x")), {}, r"a file; give the folder"),
    "empty folder": (lambda root: None, {}, r"give a folder with one folder of clips per"),
    "empty classes": (lambda root: (root / "sad").mkdir(), {}, r"no clips could be read: sad: no clips"),
    "clips without a class": (flat, {}, r"clips lie in the folder itself; put them in one folder per class"),
    "no train": (only_val, {}, r"only val clips; nothing is made without a train folder"),
    "splits inside a class": (splits_inside, {}, r"holds test and train.*put the splits above the classes"),
    "splits one level down": (one_level_down, {}, r"data: holds test and train: give that folder"),
    "case twins": (twins, {}, r"'Disgust' \(1 clips\) and 'disgust' \(1 clips\) differ only in case"),
    "case twins in two splits": (twins_over_splits, {}, r"differ only in case; rename one"),
    "unknown layout": (one, {"layout": "foldr"}, r"dataset.layout: no 'foldr'; did you mean 'folder'"),
    "path escapes": (table({"file_name": "../x.mp4", "label": "sad"}), {}, r"jsonl:1: '../x.mp4' leads out"),
    "hidden escape": (table({"file_name": "s/../../x.mp4", "label": "sad"}), {}, r"'\.\.' is refused"),
    "windows escape": (table({"file_name": "..\\x.mp4", "label": "sad"}), {}, r"leads out of the dataset"),
    "absolute path": (table({"file_name": "/data/x.mp4", "label": "sad"}), {}, r"is an absolute path"),
    "drive letter": (table({"file_name": "D:\\x.mp4", "label": "sad"}), {}, r"is an absolute path"),
    "no label": (table({"file_name": "a.mp4", "lable": "sad"}), {}, r":1: no 'label'; did you mean 'lable'"),
    "no file name": (
        table({"filename": "a.mp4", "label": "sad"}),
        {},
        r"no 'file_name'; did you mean 'filename'",
    ),
    "empty label": (table({"file_name": "a.mp4", "label": "  "}), {}, r":1: no 'label'"),
    "not JSON": (table(text='{"file_name": "a.mp4", "label": "sad"}\n{oops\n'), {}, r"jsonl:2: not JSON"),
    "a list for a row": (table(text='["a.mp4"]\n'), {}, r"jsonl:1: a row is an object"),
    "not UTF-8": (
        table(text='{"file_name": "a.mp4", "label": "ä"}', encoding="latin-1"),
        {},
        r"save it as UTF-8",
    ),
    "all files absent": (table({"file_name": "x.mp4", "label": "sad"}), {}, r"1 listed but absent: x.mp4"),
    "unknown split": (
        table({"file_name": "a.mp4", "label": "sad", "split": "trian"}),
        {},
        r"jsonl:1: 'trian' is not a split; did you mean 'train'",
    ),
    "two labels for one file": (
        table({"file_name": "a.mp4", "label": "sad"}, {"file_name": "./a.mp4", "label": "joy"}),
        {},
        r"'a' is 'joy' here and 'sad' at .*jsonl:1",
    ),
    "subject in two splits": (
        shared,
        {},
        r"'anna' is in test \(test/sad/test\) and train \(train/sad/train\)",
    ),
    "pattern without group": (one, {"subjects": r"(\d+)"}, r"no group named subject"),
    "pattern is none": (one, {"subjects": r"(?P<subject>"}, r"is not a regular expression"),
    "pattern matches nothing": (
        one,
        {"subjects": r"(?P<subject>\d+)"},
        r"matches no clip id, such as 'sad/a'",
    ),
    "column that is not there": (one, {"subjects": "column"}, r"no metadata column 'subject'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, case):
    make, wishes, message = BAD[case]
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    with pytest.raises(DatasetError, match=message) as caught:
        read_dataset(root, settings_of(**wishes))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_output_of_clips_whose_people_are_unknown_says_so_too(tmp_path):
    """Its column holds names of sources, by which a synthetic clip stays with its own; they are no people."""
    put_text(tmp_path / "run.json", '{"source": {"subjects_from": "clip"}}')
    (tmp_path / "manifest").mkdir()
    put_video(tmp_path / "train" / "sad" / "syn_1.mp4")
    row = {"file_name": "sad/syn_1.mp4", "label": "sad", "synthetic": True, "subject": "train/sad/real"}
    put_jsonl(tmp_path / "train" / "metadata.jsonl", [row])
    dataset = read_dataset(tmp_path)
    assert dataset.subjects_from == "clip"
    assert dataset.clips[0].subject == "train/sad/real"
