from collections import Counter

import numpy as np
import pytest

from argen.config import DatasetSettings
from argen.dataset.layouts import LAYOUTS, by_name, recognise
from argen.dataset.layouts.outline import outline
from argen.dataset.read import read_dataset
from argen.errors import DatasetError
from argen.face.action_units import AU_INDEX
from tests.dataset import released
from tests.dataset.makers import put_frames, put_text, put_video
from tests.dataset.released import RELEASED

CLASS_FOLDERS = {"folder", "afew", "caer"}


def whats(dataset) -> str:
    return "\n".join(f"{problem.where}: {problem.what}" for problem in dataset.problems)


def splits(dataset) -> dict[str, int]:
    return dict(Counter(clip.split for clip in dataset.clips))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every release, made once; whoever changes one makes its own."""
    places = {}

    def get(what):
        if what not in places:
            places[what] = RELEASED[what][1](tmp_path_factory.mktemp("released") / "data")
        return places[what]

    return get


@pytest.mark.parametrize("what", RELEASED)
def test_recognised_and_taken_for_nothing_else(made, what):
    name, root = RELEASED[what][0], made(what)
    assert recognise(root).name == name
    claims = {layout.name for layout in LAYOUTS if layout.recognise(outline(root))}
    assert claims - {"folder"} == {name} - {"folder"} or claims == {"argen", "metadata", "folder"}
    dataset = read_dataset(root)
    assert dataset.layout == name
    assert dataset.train


@pytest.mark.parametrize("what", RELEASED)
def test_every_clip_says_what_may_be_done_with_it(made, what):
    name = RELEASED[what][0]
    dataset = read_dataset(made(what))
    layout = by_name(name)
    if name not in {"folder", "metadata", "argen"}:
        assert layout.citation
        assert layout.licence != "unknown"
    assert {clip.licence for clip in dataset.clips} == {layout.licence}
    assert {clip.redistributable for clip in dataset.clips} == {layout.redistributable}
    assert dataset.citation == layout.citation


@pytest.mark.parametrize(
    ("what", "fold"),
    [
        (what, fold)
        for what, (name, _) in RELEASED.items()
        for fold in (1, 2, 5)
        if fold <= by_name(name).folds
    ],
)
def test_no_clip_and_no_known_subject_is_in_two_splits(made, what, fold):
    name = RELEASED[what][0]
    dataset = read_dataset(made(what), DatasetSettings(fold=fold))
    assert len({clip.id for clip in dataset.clips}) == len(dataset)
    if by_name(name).folds > 1:
        assert set(splits(dataset)) == {"train", "val", "test"}
    seen = {}
    for clip in dataset.clips:
        assert seen.setdefault(clip.subject, clip.split) == clip.split


def test_neither_lookalikes_nor_their_parents_are_taken_for_a_release(tmp_path):
    for name in ("Clip", "data", "single", "M003", "subjects3", "Actor_01"):
        put_video(tmp_path / name / "a.mp4")
    for split in ("train", "val", "test"):
        put_video(tmp_path / "other" / split / "Angry" / "000046280.avi")
    assert recognise(tmp_path).name == "folder"
    assert recognise(tmp_path / "other").name == "folder"


def test_a_named_layout_overrules_the_files(tmp_path):
    root = released.caer(tmp_path / "data")
    assert read_dataset(root, DatasetSettings(layout="folder")).layout == "folder"
    with pytest.raises(DatasetError, match="this is not DFEW as released"):
        read_dataset(root, DatasetSettings(layout="dfew"))


def test_dfew_labels_folds_and_padding(tmp_path):
    dataset = read_dataset(released.dfew(tmp_path / "d"), DatasetSettings(fold=2))
    assert dataset.counts("train") == dict.fromkeys(sorted(released.DFEW_LABELS), 6)
    assert dataset.counts("val") == dataset.counts("test") == dict.fromkeys(sorted(released.DFEW_LABELS), 2)
    first = next(clip for clip in dataset.clips if clip.id.endswith("/00001"))
    assert (first.label, first.extra["name"], first.kind) == ("happy", "00001", "frames")
    assert "1 clips are in no list: 16000" in whats(dataset)


def test_dfew_validation_is_the_next_folds_test_block(tmp_path):
    root = released.dfew(tmp_path / "d")
    for fold in range(1, 6):
        val = {c.id for c in read_dataset(root, DatasetSettings(fold=fold)).clips if c.split == "val"}
        following = read_dataset(root, DatasetSettings(fold=fold % 5 + 1))
        assert val == {c.id for c in following.clips if c.split == "test"}


def test_dfew_forms_give_the_same_clips(tmp_path):
    def table(form):
        dataset = read_dataset(released.dfew(tmp_path / form, form))
        return {int(clip.extra["name"]): (clip.label, clip.split) for clip in dataset.clips}

    assert table("clip_224x224") == table("original") == table("clip_224x224_16f")


def test_ferv39k_blocks(tmp_path):
    dataset = read_dataset(released.ferv39k(tmp_path / "f"))
    assert splits(dataset) == {"train": 98, "val": 14, "test": 28}
    by_split = {clip.extra["name"]: clip.split for clip in dataset.clips}
    assert [by_split[f"Action/Sad/{i:04d}"] for i in range(4)] == ["test", "test", "val", "train"]
    assert next(iter(dataset.clips)).extra["scene"] == "Action"


def test_mafw_captions_in_a_chinese_encoding(tmp_path):
    dataset = read_dataset(released.mafw(tmp_path / "m", "clips", captions=True))
    clip = dataset.clips[0]
    assert clip.extra["caption"] == "A man frowns."
    assert clip.extra["caption_zh"] == "一个男人皱着眉头"
    assert dataset.counts() == dict.fromkeys(sorted(released.MAFW_LABELS), 3)


def test_mafw_compound_labels_stay_as_spelled(tmp_path):
    dataset = read_dataset(released.mafw_compound(tmp_path / "m"))
    assert set(dataset.counts()) == {"anger_disgust", "fear_surprise", "sadness_helplessness"}


def test_ckplus_apex_units_are_facs_over_five(tmp_path):
    dataset = read_dataset(released.ckplus(tmp_path / "c"))
    assert len(dataset) == 12
    assert "12 sequences without an emotion" in whats(dataset)
    clip = dataset.clips[0]
    assert (clip.subject, clip.label, clip.kind) == ("S005", "anger", "frames")
    expected = np.zeros(20, np.float32)
    expected[[AU_INDEX["AU01"], AU_INDEX["AU04"], AU_INDEX["AU26"]]] = 1.0, 0.6, 0.6
    assert clip.action_units is not None
    assert np.allclose(clip.action_units, expected)
    assert dataset.subjects_from == "layout"


def test_oulu_reads_visible_strong_light_only(tmp_path):
    dataset = read_dataset(released.oulu_casia(tmp_path / "o"))
    assert len(dataset) == 60
    assert all("/VL/Strong/" in clip.id for clip in dataset.clips)


def test_mead_reads_the_front_and_keeps_the_intensity(tmp_path):
    dataset = read_dataset(released.mead(tmp_path / "m"))
    assert len(dataset) == 40
    assert {clip.extra["intensity"] for clip in dataset.clips} == {"1", "3"}
    assert "40 clips passed over" in whats(dataset)


def test_ravdess_takes_each_performance_once_and_folds_hold_both_sexes(tmp_path):
    dataset = read_dataset(released.ravdess(tmp_path / "r"), DatasetSettings(fold=3))
    assert len(dataset) == 24 * 8
    test = {int(clip.subject) for clip in dataset.clips if clip.split == "test"}
    assert len(test) == 4
    assert sum(number % 2 for number in test) == 2
    assert "192 silent twins" in whats(dataset)


def edit(root, name, change):
    file = root / name
    file.write_bytes(change(file.read_bytes()))


DFEW_TRAIN = "EmoLabel_DataSplit/train(single-labeled)/set_1.csv"
DFEW_TEST = "EmoLabel_DataSplit/test(single-labeled)/set_1.csv"
FERV_TRAIN = "4_setups/All_scenes/train_All.csv"
FERV_TEST = "4_setups/All_scenes/test_All.csv"
MAFW_TRAIN = "Train & Test Set/single/no_caption/set_1/train.txt"


def remove(root, *names):
    for name in names:
        path = root / name
        if path.is_dir():
            for below in sorted(path.rglob("*"), reverse=True):
                below.rmdir() if below.is_dir() else below.unlink()
            path.rmdir()
        else:
            path.unlink()


def other_machine(text: bytes) -> bytes:
    return b"".join(
        b"/mnt/disk/FERV39k/2_ClipsforFaceCrop/" + line for line in text.splitlines(keepends=True)
    )


def windows_machine(text: bytes) -> bytes:
    lines = text.decode().splitlines()
    return "".join(
        "D:\\FERV\\2_ClipsforFaceCrop\\" + line.replace("/", "\\") + "\r\n" for line in lines
    ).encode()


SPOILT = {
    "DFEW, next fold missing": (
        released.dfew,
        lambda root: remove(root, "EmoLabel_DataSplit/test(single-labeled)/set_2.csv"),
        "fold 2 is missing: validation is a tenth of train",
    ),
    "DFEW, a part of the clips missing": (
        released.dfew,
        lambda root: remove(root, *(f"Clip/clip_224x224/{i:05d}" for i in range(1, 11))),
        "10 of 70 listed clips are absent: 1, 8, 2 and 7 more; is a part of the download missing?",
    ),
    "DFEW, Windows line ends and a mark": (
        released.dfew,
        lambda root: edit(root, DFEW_TRAIN, lambda t: b"\xef\xbb\xbf" + t.replace(b"\n", b"\r\n")),
        "1 clips are in no list",
    ),
    "DFEW, zero-padded names in the lists": (
        released.dfew,
        lambda root: edit(root, DFEW_TRAIN, lambda t: t.replace(b"\n8,", b"\n00008,")),
        "1 clips are in no list",
    ),
    "DFEW, a row twice": (
        released.dfew,
        lambda root: edit(root, DFEW_TRAIN, lambda t: t + t.splitlines()[1] + b"\n"),
        "1 rows repeat another",
    ),
    "FERV39k, absolute paths of another machine": (
        released.ferv39k,
        lambda root: edit(root, FERV_TRAIN, other_machine),
        "112 absolute paths of another machine",
    ),
    "FERV39k, paths of a Windows machine": (
        released.ferv39k,
        lambda root: edit(root, FERV_TRAIN, windows_machine),
        "112 absolute paths of another machine",
    ),
    "FERV39k, a scene not unpacked": (
        released.ferv39k,
        lambda root: remove(root, "2_ClipsforFaceCrop/DailyLife"),
        "70 of 140 listed clips are absent",
    ),
    "FERV39k, lists in another case": (
        released.ferv39k,
        lambda root: edit(root, FERV_TRAIN, lambda t: t.replace(b"Action/Sad", b"action/sad")),
        "8 names differ in case",
    ),
    "FERV39k, folders in another case": (
        released.ferv39k,
        lambda root: (root / "2_ClipsforFaceCrop").rename(root / "2_clipsForFaceCrop"),
        None,
    ),
    "MAFW, a clip absent from the lists": (
        released.mafw,
        lambda root: put_frames(root / "data" / "faces" / "09999"),
        "1 clips are in no list: 09999",
    ),
    "MAFW, clips without the data folder": (
        released.mafw,
        lambda root: ((root / "data" / "faces").rename(root / "faces"), (root / "data").rmdir()),
        None,
    ),
    "DFEW, frames of another preparation": (
        released.dfew,
        lambda root: (root / "Clip" / "clip_224x224").rename(root / "Clip" / "clip_jpg_256"),
        "1 clips are in no list",
    ),
    "CK+, labels unpacked into folders of their own": (
        released.ckplus,
        lambda root: [
            (root / f"{name}_labels").mkdir() or (root / name).rename(root / f"{name}_labels" / name)
            for name in ("Emotion", "FACS")
        ],
        "12 sequences without an emotion",
    ),
    "MAFW, labels in another case": (
        released.mafw,
        lambda root: edit(root, MAFW_TRAIN, lambda t: t.replace(b"contempt", b"Contempt")),
        None,
    ),
    "CK+, no FACS": (released.ckplus, lambda root: remove(root, "FACS"), "no ground-truth Action Units"),
    "MUG, too few people for folds": (
        lambda root: released.mug(root, people=2),
        lambda root: None,
        "too few subjects for 10 folds",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_half_there_is_read_and_counted(tmp_path, case):
    make, spoil, told = SPOILT[case]
    root = make(tmp_path / "data")
    spoil(root)
    dataset = read_dataset(root)
    assert dataset.layout != "folder"
    if told is None:
        assert not dataset.problems
    else:
        assert told in whats(dataset)
    if "part" not in case and "scene" not in case:
        whole = read_dataset(make(tmp_path / "whole"))
        assert [clip.path.name for clip in dataset.clips] == [clip.path.name for clip in whole.clips]


REFUSED = {
    "DFEW, fold missing": (
        released.dfew,
        lambda root: remove(root, DFEW_TRAIN),
        {},
        r"fold 1 is missing; folds here: 2, 3, 4, 5",
    ),
    "CAER, fold 2": (released.caer, lambda root: None, {"fold": 2}, r"CAER has one split, no fold 2; leave"),
    "an output, fold 3": (
        released.argen_output,
        lambda root: put_text(root / "run.json", '{"recipe": {"dataset": {"fold": 2}}}'),
        {"fold": 3},
        r"was made in fold 2, not 3; leave the fold out",
    ),
    "DFEW, fold 6": (released.dfew, lambda root: None, {"fold": 6}, r"DFEW has folds 1 to 5, not 6"),
    "DFEW, clips missing": (released.dfew, lambda root: remove(root, "Clip"), {}, r"no Clip folder beside"),
    "DFEW, no form unpacked": (
        released.dfew,
        lambda root: remove(root, "Clip/clip_224x224"),
        {},
        r"no clips in it; unpack one form, such as clip_224x224",
    ),
    "DFEW, another header": (
        released.dfew,
        lambda root: edit(root, DFEW_TRAIN, lambda t: t.replace(b"video_name", b"name")),
        {},
        r"set_1.csv:1: the header is 'name,label', not 'video_name,label'",
    ),
    "DFEW, label 8": (
        released.dfew,
        lambda root: edit(root, DFEW_TRAIN, lambda t: t + b"99,8\n"),
        {},
        r"set_1.csv:58: label '8' is not 1 to 7",
    ),
    "DFEW, a row without a name": (
        released.dfew,
        lambda root: edit(root, DFEW_TRAIN, lambda t: t + b",3\n"),
        {},
        r"set_1.csv:58: this row names no clip; complete it or take it out",
    ),
    "DFEW, one clip with two labels": (
        released.dfew,
        lambda root: edit(root, DFEW_TRAIN, lambda t: t + b"15,3\n"),
        {},
        r"set_1.csv:58: '15' is 'neutral' here and 'happy' at .*set_1.csv:2; keep one",
    ),
    "DFEW, one clip in train and test": (
        released.dfew,
        lambda root: edit(root, DFEW_TEST, lambda t: t + b"15,1\n"),
        {},
        r"'15' is in test here and in train at .*; a clip may be in one split only",
    ),
    "FERV39k, test list missing": (
        released.ferv39k,
        lambda root: remove(root, FERV_TEST),
        {},
        r"test_All.csv: missing; without it nothing tells train from test",
    ),
    "FERV39k, all lists missing": (
        released.ferv39k,
        lambda root: remove(root, "4_setups"),
        {},
        r"4_setups/All_scenes is missing",
    ),
    "FERV39k, clips missing": (
        released.ferv39k,
        lambda root: remove(root, "2_ClipsforFaceCrop"),
        {},
        r"2_ClipsforFaceCrop is missing; unpack",
    ),
    "FERV39k, a line without a label": (
        released.ferv39k,
        lambda root: edit(root, FERV_TRAIN, lambda t: t + b"Action/Sad/0003\n"),
        {},
        r"train_All.csv:113: 'Action/Sad/0003' is not 'Scene/Emotion/0000 Emotion'",
    ),
    "MAFW, an unknown emotion": (
        released.mafw,
        lambda root: edit(root, MAFW_TRAIN, lambda t: t + b"00001.mp4 boredom\n"),
        {},
        r"train.txt:45: 'boredom' is none of MAFW's eleven emotions",
    ),
    "MAFW, a clip without a label": (
        released.mafw,
        lambda root: edit(root, MAFW_TRAIN, lambda t: t + b"00001.mp4\n"),
        {},
        r"train.txt:45: '00001.mp4' is not a clip and its label",
    ),
    "MAFW, all clips absent": (
        released.mafw,
        lambda root: [remove(root, f"data/faces/{i:05d}") for i in range(55)],
        {},
        r"no clips could be read: lists: 55 of 55 listed clips are absent",
    ),
    "CK+, no emotions": (released.ckplus, lambda root: remove(root, "Emotion"), {}, r"no Emotion folder"),
    "CK+, an emotion that is none": (
        released.ckplus,
        lambda root: put_text(root / "Emotion/S005/001/S005_001_00000004_emotion.txt", "9.0\n"),
        {},
        r"S005_001_00000004_emotion.txt: '9.0' is not an emotion 0 to 7",
    ),
    "CK+, FACS that is none": (
        released.ckplus,
        lambda root: put_text(root / "FACS/S005/001/S005_001_00000004_facs.txt", "AU1 high\n"),
        {},
        r"not 'unit intensity' a line",
    ),
    "Oulu-CASIA, infrared only": (
        released.oulu_casia,
        lambda root: remove(root, "B_OriginalImg/OriginalImg/VL"),
        {},
        r"no VL/Strong folder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused(tmp_path, case):
    make, spoil, wishes, message = REFUSED[case]
    root = make(tmp_path / "data")
    spoil(root)
    with pytest.raises(DatasetError, match=message) as caught:
        read_dataset(root, DatasetSettings(**wishes))
    assert "\n" not in str(caught.value)
