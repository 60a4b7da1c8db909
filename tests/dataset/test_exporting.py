import hashlib
import json
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from argen.dataset.clip import Clip, Dataset
from argen.dataset.exporting.crops import cut, face_box
from argen.dataset.exporting.export import FORMATS, export
from argen.dataset.exporting.gather import gather
from argen.dataset.exporting.media import put_frames as put_exported_frames
from argen.dataset.exporting.names import exported_names, numeric_names
from argen.dataset.exporting.orders import numbering
from argen.dataset.read import read_dataset
from argen.dataset.video import ffmpeg, read_frames
from argen.errors import DatasetError, EnvironmentFault, UsageError
from tests.dataset import codebase_readers as readers
from tests.dataset import released
from tests.dataset.makers import clip_of, gradient, put_frames, put_jsonl, put_text, put_video

SYNTHETIC = 3


def with_synthetic(dataset: Dataset, folder: Path, label: str) -> Dataset:
    """The dataset and three synthetic clips of one class, made from training clips."""
    extra = []
    for i, source in enumerate(clip for clip in dataset.train if clip.label == label):
        if i == SYNTHETIC:
            break
        path = put_video(folder / f"syn_{i:04x}.mp4", 4, seed=i)
        marks = {"synthetic": "true", "source": source.id}
        extra.append(
            Clip(f"train/{label}/syn_{i:04x}", label, "train", path, "video", source.subject, extra=marks)
        )
    assert len(extra) == SYNTHETIC
    return replace(dataset, clips=(*dataset.clips, *extra))


RELEASES = {
    "dfew": (lambda root: released.dfew(root, per_class=5), "disgust"),
    "ferv39k": (released.ferv39k, "Disgust"),
    "mafw": (lambda root: released.mafw(root, "frames"), "contempt"),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Each of the three releases with synthetic clips, made once."""
    made = {}

    def get(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            make, label = RELEASES[name]
            made[name] = with_synthetic(read_dataset(make(root / "data")), root / "made", label)
        return made[name]

    return get


def by_split(dataset: Dataset) -> Counter:
    return Counter(clip.split for clip in dataset.clips)


# The same clip, the same class, a different integer: from the codebases' own lists.
SEVEN = {"happy": 0, "sad": 1, "neutral": 2, "angry": 3, "surprise": 4, "disgust": 5, "fear": 6}
BY_NAME = {"angry": 0, "disgust": 1, "fear": 2, "happy": 3, "neutral": 4, "sad": 5, "surprise": 6}
MAFW_RELEASE = {
    "anger": 0, "disgust": 1, "fear": 2, "happiness": 3, "neutral": 4, "sadness": 5, "surprise": 6,
    "contempt": 7, "anxiety": 8, "helplessness": 9, "disappointment": 10,
}  # fmt: skip
TRAP = {
    ("dfer-clip", "dfew"): SEVEN,
    ("mae-dfer", "dfew"): SEVEN,
    ("claip-emo", "dfew"): SEVEN,
    ("s2d", "dfew"): SEVEN,
    ("s4d", "dfew"): SEVEN,
    ("videomae", "dfew"): BY_NAME,
    ("dfer-clip", "ferv39k"): {label.title(): number for label, number in SEVEN.items()},
    ("mae-dfer", "ferv39k"): {label.title(): number for label, number in SEVEN.items()},
    ("s2d", "ferv39k"): {label.title(): number for label, number in BY_NAME.items()},
    ("s4d", "ferv39k"): {label.title(): number for label, number in BY_NAME.items()},
    ("mae-dfer", "mafw"): MAFW_RELEASE,
    ("claip-emo", "mafw"): MAFW_RELEASE,
    ("dfer-clip", "mafw"): {
        "happiness": 0, "sadness": 1, "neutral": 2, "anger": 3, "surprise": 4, "disgust": 5, "fear": 6,
        "contempt": 7, "anxiety": 8, "helplessness": 9, "disappointment": 10,
    },
    ("s2d", "mafw"): {
        "anger": 0, "anxiety": 1, "contempt": 2, "disappointment": 3, "disgust": 4, "fear": 5, "happiness": 6,
        "helplessness": 7, "neutral": 8, "sadness": 9, "surprise": 10,
    },
}  # fmt: skip


@pytest.mark.parametrize(("codebase", "layout"), TRAP)
def test_each_codebase_counts_labels_its_own_way(codebase, layout):
    order = TRAP[codebase, layout]
    assert numbering(codebase, layout, order) == order


def test_a_subset_of_the_labels_keeps_its_integers():
    assert numbering("dfer-clip", "folder", ["disgust", "happiness"]) == {"disgust": 5, "happiness": 0}
    assert numbering("s2d", "ferv39k", ["Sad"]) == {"Sad": 5}


def test_other_labels_are_numbered_by_name():
    assert numbering("dfer-clip", "folder", ["joy", "disgust"]) == {"disgust": 0, "joy": 1}
    assert numbering("csv", "dfew", ["sad", "happy"]) == {"happy": 0, "sad": 1}


def test_two_words_for_one_emotion_are_refused():
    with pytest.raises(DatasetError, match="anger, angry are one emotion for mae-dfer"):
        numbering("mae-dfer", "folder", ["anger", "angry"])


def read_lists(codebase, layout, out: Path, fold: int = 1):
    """Rows of all five lists by the codebase's own way of reading."""
    names = ("train", "train_real", "train_synthetic", "val", "test")
    if codebase == "dfer-clip":
        stem = {"dfew": "DFEW_set_1_", "mafw": "MAFW_set_1_", "ferv39k": "FERV39K_"}[layout]
        return {n: readers.dfer_clip(out / "annotation" / f"{stem}{n}.txt") for n in names}
    if codebase == "mae-dfer":
        below = {"dfew": "dfew/org", "ferv39k": "ferv39k/all_scenes", "mafw": "mafw/single"}[layout]
        return {n: readers.mae_dfer(out / "saved/data" / below / "split01" / f"{n}.csv") for n in names}
    if codebase == "claip-emo":
        title = {"dfew": "DFEW", "mafw": "MAFW", "ferv39k": "FERV39K"}[layout]
        return {n: readers.claip_emo(out / title / "audio_visual/split01" / f"{n}.csv") for n in names}
    if codebase == "videomae":
        return {n: readers.videomae(out / f"{n}.csv") for n in names}
    parts = {n: (n.partition("_")[0], "_" + n.partition("_")[2] if "_" in n else "") for n in names}
    if layout == "dfew":
        root = out / ("DFEW/Clip/clip_224x224_16f" if codebase == "s2d" else "DFEW/clip_jpg_256")
        home = out / "DFEW/EmoLabel_DataSplit"
        return {
            n: readers.s2d(home / f"{s}(single-labeled)" / f"{s}_set_1{p}.csv", root)
            for n, (s, p) in parts.items()
        }
    if layout == "ferv39k":
        root = out / "FERV39K/2_ClipsforFaceCrop"
        return {
            n: readers.s2d(out / "FERV39K/Annotation" / f"{s}{p}.csv", root) for n, (s, p) in parts.items()
        }
    root, home = out / "MAFW/frames_crop_align_224", out / "MAFW/anno/single/no_caption/set_1"
    return {n: readers.s2d(home / f"{s}{p}.csv", root, "png") for n, (s, p) in parts.items()}


@pytest.mark.parametrize(
    ("codebase", "layout"),
    [
        *product(("dfer-clip", "mae-dfer", "s2d", "s4d"), RELEASES),
        ("claip-emo", "mafw"),
        ("videomae", "dfew"),
    ],
)
def test_round_trip_through_the_codebases_own_reader(tmp_path, mixed, codebase, layout):
    dataset = mixed(layout)
    done = export(dataset, tmp_path / "out", codebase, silence=codebase == "claip-emo")
    lists = read_lists(codebase, layout, tmp_path / "out")
    assert done.problems == ()
    splits = by_split(dataset)
    assert {name: len(rows) for name, rows in lists.items()} == {
        "train": splits["train"],
        "train_real": splits["train"] - SYNTHETIC,
        "train_synthetic": SYNTHETIC,
        "val": splits["val"],
        "test": splits["test"],
    }
    for name, rows in lists.items():
        wanted = Counter(
            done.labels[clip.label]
            for clip in dataset.clips
            if clip.split == name.partition("_")[0] and name.endswith("synthetic") <= clip.synthetic
            and not (name.endswith("real") and clip.synthetic)
        )  # fmt: skip
        assert Counter(label for _, label in rows) == wanted
        assert all(pictures and all(Path(p).is_file() for p in pictures) for pictures, _ in rows)
    places = [pictures for name in ("train", "val", "test") for pictures, _ in lists[name]]
    assert len(set(places)) == len(dataset)
    assert set(lists["train"]) == set(lists["train_real"]) | set(lists["train_synthetic"])


def test_exact_lines_of_each_list(tmp_path, mixed):
    dataset = mixed("dfew")
    export(dataset, tmp_path / "a", "dfer-clip", prefix="/data")
    lines = (tmp_path / "a/annotation/DFEW_set_1_train.txt").read_text().splitlines()
    assert lines[0] == "/data/frames/00015 3 0"
    assert "/data/frames/syn_0000 4 5" in lines
    export(dataset, tmp_path / "b", "s2d")
    train = tmp_path / "b/DFEW/EmoLabel_DataSplit/train(single-labeled)"
    assert (train / "train_set_1.csv").read_text().splitlines()[:2] == ["video_name,label", "00015,0"]
    assert (
        train / "train_set_1_synthetic.csv"
    ).read_text() == "video_name,label\n90000,5\n90001,5\n90002,5\n"
    export(mixed("ferv39k"), tmp_path / "c", "s2d")
    lines = (tmp_path / "c/FERV39K/Annotation/train.csv").read_text().splitlines()
    assert lines[:2] == ["path,id", "Action/Angry/0003,0"]
    assert "Synthetic/Disgust/90000,1" in lines
    export(mixed("mafw"), tmp_path / "d", "s4d")
    lines = (tmp_path / "d/MAFW/anno/single/no_caption/set_1/train.csv").read_text().splitlines()
    assert lines[0] == "video_name,labels"
    export(dataset, tmp_path / "e", "claip-emo", prefix="data", silence=True)
    lines = (tmp_path / "e/DFEW/audio_visual/split01/train.csv").read_text().splitlines()
    assert lines[0] == "data/DFEW/clip_jpg_256/00015 data/DFEW/audio_16k/00015.wav 0"


def test_frames_are_the_same_files_in_natural_order(tmp_path, mixed):
    dataset = mixed("dfew")
    export(dataset, tmp_path / "out", "mae-dfer")
    clip = dataset.clips[0]
    exported = sorted((tmp_path / "out/frames" / clip.extra["name"]).iterdir())
    assert [p.name for p in exported] == ["000.jpg", "001.jpg", "002.jpg"]
    own = [clip.path / name for name in ("1.jpg", "2.jpg", "10.jpg")]
    assert [p.stat().st_ino for p in exported] == [p.stat().st_ino for p in own]


def test_a_symbolic_link_is_followed_to_its_file(tmp_path):
    blob = put_video(tmp_path / "blobs" / "3fa9")
    put_frames(tmp_path / "blobs" / "frames")
    (tmp_path / "src" / "happy" / "f").mkdir(parents=True)
    (tmp_path / "src" / "happy" / "a.mp4").symlink_to("../../blobs/3fa9")
    (tmp_path / "src" / "happy" / "f" / "0.jpg").symlink_to("../../../blobs/frames/000.jpg")
    export(read_dataset(tmp_path / "src"), tmp_path / "deep" / "out", "csv")
    video = tmp_path / "deep/out/clips/a.mp4"
    assert not video.is_symlink()
    assert video.read_bytes() == blob.read_bytes()
    frame = tmp_path / "deep/out/clips/f/000.jpg"
    assert not frame.is_symlink()
    assert frame.read_bytes() == (tmp_path / "blobs/frames/000.jpg").read_bytes()


def test_a_copy_that_was_cut_short_is_made_again(tmp_path, monkeypatch):
    dataset = plain(tmp_path)
    whole = shutil.copy2

    def no_links(source, target):
        raise OSError(18, "Invalid cross-device link")

    def killed(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("os.link", no_links)
    monkeypatch.setattr("shutil.copy2", killed)
    with pytest.raises(KeyboardInterrupt):
        export(dataset, tmp_path / "out", "videomae")
    monkeypatch.setattr("shutil.copy2", whole)
    export(dataset, tmp_path / "out", "videomae")
    assert (tmp_path / "out/videos/a.mp4").read_bytes() == dataset.clips[0].path.read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])  # linked, and saved anew
def test_a_thousand_frames_and_more_sort_in_their_order(tmp_path, suffix):
    (tmp_path / "long").mkdir()
    for number in range(1001):
        Image.new("RGB", (2, 2), (number // 4,) * 3).save(tmp_path / "long" / f"{number}.png")
    assert put_exported_frames(clip_of(tmp_path / "long", "frames"), tmp_path / "out", suffix) == 1001
    exported = sorted((tmp_path / "out").iterdir())
    greys = [np.asarray(Image.open(path))[0, 0, 0].item() for path in exported]
    assert greys == [number // 4 for number in range(1001)]


def test_table_videofolder_and_webdataset_hold_the_same_clips(tmp_path):
    for split in ("train", "val", "test"):
        for label in ("happy", "sad / blue"):
            put_video(tmp_path / "src" / split / f"{label.replace(' / ', '-')}_{split}.mp4", seed=len(split))
            row = {
                "file_name": f"{label.replace(' / ', '-')}_{split}.mp4",
                "label": label,
                "subject": f"p {split}",
            }
            with (tmp_path / "src" / split / "metadata.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    dataset = with_synthetic_one(read_dataset(tmp_path / "src"), tmp_path)
    for codebase in ("csv", "videofolder", "webdataset"):
        export(dataset, tmp_path / codebase, codebase)
    rows = readers.csv_rows(tmp_path / "csv" / "clips.csv")
    assert len(rows) == len(dataset)
    assert all((tmp_path / "csv" / row["file_name"]).is_file() for row in rows)
    assert [row["split"] for row in rows if row["synthetic"] == "true"] == ["train"]
    assert {row["label"] for row in rows} == {"happy", "sad / blue"}
    again = read_dataset(tmp_path / "videofolder")
    assert again.problems == ()
    assert sorted((c.label, c.split, c.subject, c.synthetic) for c in again.clips) == sorted(
        (c.label, c.split, c.subject, c.synthetic) for c in dataset.clips
    )
    samples = readers.webdataset(tmp_path / "webdataset", "train")
    assert len(samples) == 3
    assert all(set(sample) == {"mp4", "cls", "json"} for sample in samples.values())
    assert not any(
        json.loads(s["json"])["synthetic"]
        for s in readers.webdataset(tmp_path / "webdataset", "test").values()
    )
    assert not (tmp_path / "webdataset" / "videos").exists()


def with_synthetic_one(dataset: Dataset, folder: Path) -> Dataset:
    source = dataset.train[0]
    path = put_video(folder / "made" / "syn_1.mp4", 4, seed=9)
    marks = {"synthetic": "true", "source": source.id}
    clip = Clip("made/syn_1", source.label, "train", path, "video", source.subject, extra=marks)
    return replace(dataset, clips=(*dataset.clips, clip))


@pytest.mark.slow  # importing datasets takes most of it
def test_loads_with_one_line_of_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    put_video(tmp_path / "src" / "test" / "happy" / "held.mp4", seed=3)
    put_video(tmp_path / "src" / "train" / "happy" / "a.mp4")
    export(with_synthetic_one(read_dataset(tmp_path / "src"), tmp_path), tmp_path / "out", "videofolder")
    place = str(tmp_path / "out")
    loaded = datasets.load_dataset("videofolder", data_dir=place, cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 2, "test": 1}
    marks = {name: rows.remove_columns("video")["synthetic"] for name, rows in loaded.items()}
    assert {name: list(mark) for name, mark in marks.items()} == {"train": [False, True], "test": [False]}


@pytest.mark.parametrize("codebase", ["webdataset", "dfer-clip", "videofolder"])
def test_running_again_goes_on_and_gives_the_same_bytes(tmp_path, codebase):
    dataset = with_synthetic_one(plain(tmp_path), tmp_path)

    def state():
        files = sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    export(dataset, tmp_path / "out", codebase)
    first = state()
    export(dataset, tmp_path / "out", codebase)
    assert state() == first


@pytest.mark.parametrize("codebase", ["s2d", "dfer-clip", "videomae", "csv"])
def test_a_grown_output_gives_no_name_to_another_clip(tmp_path, codebase):
    """Both naming schemes number clips over the whole list, so new ids in between move the names."""
    for number, (clip, label) in enumerate([("p/x", "happy"), ("b", "sad")]):
        put_video(tmp_path / "src" / label / f"{clip}.mp4", 2 + number, seed=number)
    export(with_made(tmp_path, {"syn_5": "sad"}), tmp_path / "out", codebase)
    put_video(tmp_path / "src" / "happy" / "a" / "x.mp4", 4, seed=2)
    dataset = with_made(tmp_path, {"syn_5": "sad", "syn_3": "happy"})
    done = export(dataset, tmp_path / "out", codebase)
    assert (done.counts["train"], done.counts["train_synthetic"]) == (5, 2)
    export(dataset, tmp_path / "new", codebase)

    def media(out):
        paths = (p for p in out.rglob("*") if p.suffix in {".jpg", ".mp4"})
        return {p.relative_to(out).as_posix(): p.read_bytes() for p in paths}

    assert media(tmp_path / "out") == media(tmp_path / "new")


def with_made(tmp_path: Path, made: dict[str, str]) -> Dataset:
    dataset = read_dataset(tmp_path / "src")
    clips = []
    for name, label in made.items():
        path = tmp_path / "made" / f"{name}.mp4"
        if not path.exists():
            put_video(path, 5, seed=10 + len(name) + ord(name[-1]))
        marks = {"synthetic": "true", "source": dataset.train[0].id}
        clips.append(Clip(f"train/{label}/{name}", label, "train", path, "video", "p", extra=marks))
    return replace(dataset, clips=(*dataset.clips, *clips))


def test_an_edited_clip_is_exported_anew_with_its_sound(tmp_path):
    put_frames(tmp_path / "src" / "happy" / "a")
    export(read_dataset(tmp_path / "src"), tmp_path / "out", "claip-emo", silence=True)
    sound = tmp_path / "out/src/audio_16k/a.wav"
    before = sound.stat().st_size
    put_frames(tmp_path / "src" / "happy" / "a", [f"{i}.jpg" for i in range(6)])
    export(read_dataset(tmp_path / "src"), tmp_path / "out", "claip-emo", silence=True)
    assert len(list((tmp_path / "out/src/clip_jpg_256/a").iterdir())) == 9
    assert sound.stat().st_size > before


def test_an_export_without_a_note_of_whose_its_media_are_is_made_anew(tmp_path):
    dataset = plain(tmp_path)
    export(dataset, tmp_path / "out", "videomae")
    (tmp_path / "out" / "owners.json").unlink()
    (tmp_path / "out/videos/a.mp4").unlink()
    put_text(tmp_path / "out/videos/a.mp4", "another clip's")
    export(dataset, tmp_path / "out", "videomae")
    assert (tmp_path / "out/videos/a.mp4").read_bytes() == dataset.clips[0].path.read_bytes()


def test_validation_can_be_given_back_to_training(tmp_path, mixed):
    done = export(mixed("dfew"), tmp_path / "out", "dfer-clip", train_on_val=True)
    assert done.counts == {"train": 31, "train_real": 28, "train_synthetic": 3, "val": 0, "test": 7}


def test_validation_given_back_is_training_in_every_column_and_folder(tmp_path):
    for split in ("train", "val", "test"):
        put_video(tmp_path / "src" / split / "happy" / f"{split}.mp4")
    dataset = read_dataset(tmp_path / "src")
    export(dataset, tmp_path / "folder", "videofolder", train_on_val=True)
    again = read_dataset(tmp_path / "folder")
    assert again.problems == ()
    assert [(clip.id, clip.split) for clip in again.clips] == [
        ("test/happy/test", "test"),
        ("train/happy/train", "train"),
        ("train/happy/val", "train"),
    ]
    export(dataset, tmp_path / "table", "csv", train_on_val=True)
    rows = readers.csv_rows(tmp_path / "table" / "lists" / "train.csv")
    assert [row["split"] for row in rows] == ["train", "train"]


def test_the_record_says_what_may_be_done(tmp_path, mixed):
    export(mixed("mafw"), tmp_path / "out", "csv")
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert record["finished"] is True
    assert sum(record["not_redistributable"].values()) == 55
    assert "MAFW agreement" in next(iter(record["not_redistributable"]))
    assert "MAFW: A Large-scale" in record["citation"]


def put_loud(path: Path) -> Path:
    """A second of a tone beside a test picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = ("sine=duration=1", "testsrc=size=32x32:rate=10:duration=1")
    tone = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    subprocess.run([ffmpeg(), "-loglevel", "error", *tone, "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


def test_sound_is_kept_and_the_silent_are_left_out_unless_asked(tmp_path):
    put_loud(tmp_path / "src" / "happy" / "loud.mp4")
    put_frames(tmp_path / "src" / "sad" / "quiet")
    dataset = read_dataset(tmp_path / "src")
    done = export(dataset, tmp_path / "without", "claip-emo")
    assert [p.what for p in done.problems] == [
        "1 clips have no sound and are in no list; silence can be asked for"
    ]
    assert done.counts["train"] == 1
    (row,) = readers.claip_emo(tmp_path / "without" / "src" / "audio_visual" / "split01" / "train.csv")
    assert row[1] == 0
    export(dataset, tmp_path / "with", "claip-emo", silence=True)
    assert len(readers.claip_emo(tmp_path / "with" / "src" / "audio_visual" / "split01" / "train.csv")) == 2


def test_a_clip_whose_sound_cannot_be_read_is_left_out_alone(tmp_path, monkeypatch):
    put_loud(tmp_path / "src" / "happy" / "loud.mp4")
    put_loud(tmp_path / "src" / "sad" / "torn.mp4")
    whole = subprocess.run

    def fails_on_torn(command, **wishes):
        if "-vn" in command and "torn" in " ".join(command):
            return subprocess.CompletedProcess(command, 1, b"", b"Error while decoding stream")
        return whole(command, **wishes)

    monkeypatch.setattr("subprocess.run", fails_on_torn)
    done = export(read_dataset(tmp_path / "src"), tmp_path / "out", "claip-emo")
    assert done.counts["train"] == 1
    (problem,) = done.problems
    assert problem.where == "sad/torn"
    assert problem.what.startswith("left out: ")
    (row,) = readers.claip_emo(tmp_path / "out" / "src" / "audio_visual" / "split01" / "train.csv")
    assert row[1] == 0


def test_silence_that_was_cut_short_is_written_again(tmp_path, monkeypatch):
    put_frames(tmp_path / "src" / "sad" / "quiet")
    dataset = read_dataset(tmp_path / "src")

    def killed(file, data):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr("wave.Wave_write.writeframes", killed)
        with pytest.raises(KeyboardInterrupt):
            export(dataset, tmp_path / "out", "claip-emo", silence=True)
    export(dataset, tmp_path / "out", "claip-emo", silence=True)
    assert (tmp_path / "out/src/audio_16k/quiet.wav").stat().st_size > 44


def test_damaged_clips_are_left_out_and_named(tmp_path):
    put_video(tmp_path / "src" / "happy" / "a.mp4")
    put_text(tmp_path / "src" / "happy" / "b.mp4", "not a video")
    done = export(read_dataset(tmp_path / "src"), tmp_path / "out", "dfer-clip")
    assert done.counts["train"] == 1
    assert "left out" in done.problems[0].what


def argen_output(root: Path, origin: Path, **row) -> Path:
    out = root / "out"
    (out / "manifest").mkdir(parents=True)
    clips = len(read_dataset(origin))
    described = {"root": str(origin), "layout": "dfew", "clips": clips, "citation": "Jiang"}
    put_text(out / "run.json", json.dumps({"source": described, "recipe": {"dataset": {"fold": 2}}}))
    put_video(out / "train" / "disgust" / "syn_ab12.mp4", 4)
    put_frames(out / "train" / "happy" / "00001")
    made = {"file_name": "disgust/syn_ab12.mp4", "label": "disgust", "synthetic": True, "licence": "x"}
    put_jsonl(out / "train" / "metadata.jsonl", [made | row])
    return out


def test_argens_output_is_exported_with_its_source_in_its_own_fold(tmp_path):
    source = released.dfew(tmp_path / "DFEW")
    out = argen_output(tmp_path, source, source="Clip/clip_224x224/00006", subject="p")
    dataset = gather(out)
    assert (dataset.layout, len(dataset)) == ("dfew", 71)
    done = export(dataset, tmp_path / "lists", "s2d", fold=2)
    assert done.counts["train_synthetic"] == 1
    assert (tmp_path / "lists/DFEW/EmoLabel_DataSplit/train(single-labeled)/train_set_2.csv").is_file()


def test_a_source_that_is_an_output_itself_gives_each_of_its_clips_once(tmp_path):
    first = argen_output(tmp_path / "1", released.dfew(tmp_path / "DFEW"), source="x", subject="p", id="ab12")
    rest = first.rename(tmp_path / "first")
    second = argen_output(tmp_path / "2", rest, source="train/disgust/syn_ab12", subject="p", id="")
    put_video(second / "train" / "disgust" / "twin_syn_ab12.mp4", 4)
    put_video(second / "train" / "disgust" / "syn_cd34.mp4", 5)
    names = {"syn_ab12.mp4": "", "twin_syn_ab12.mp4": "", "syn_cd34.mp4": "cd34"}
    same = {"label": "disgust", "synthetic": True, "source": "train/disgust/syn_ab12", "subject": "p"}
    rows = [same | {"file_name": f"disgust/{name}", "id": id} for name, id in names.items()]
    put_jsonl(second / "train" / "metadata.jsonl", rows)
    text = json.loads((second / "run.json").read_text())
    put_text(second / "run.json", json.dumps(text | {"recipe": {}}))
    assert sorted(clip.id for clip in gather(second).clips) == [
        "train/disgust/syn_ab12",
        "train/disgust/syn_cd34",
        "train/happy/00001",
    ]


def test_a_source_that_is_gone_is_replaced_by_the_output(tmp_path):
    source = released.dfew(tmp_path / "DFEW")
    out = argen_output(tmp_path, source)
    source.rename(tmp_path / "moved")
    dataset = gather(out)
    assert dataset.layout == "dfew"
    assert sorted(clip.label for clip in dataset.clips) == ["disgust", "happy"]
    assert "the source is gone" in dataset.problems[-1].what


def test_a_synthetic_clip_made_from_a_held_out_clip_is_refused(tmp_path):
    source = released.dfew(tmp_path / "DFEW")
    held_out = next(c for c in read_dataset(source).clips if c.split == "test")
    row = {"source": held_out.id, "subject": "p"}
    out = argen_output(tmp_path, source, **row)
    text = json.loads((out / "run.json").read_text())
    text["recipe"]["dataset"]["fold"] = 1
    put_text(out / "run.json", json.dumps(text))
    with pytest.raises(DatasetError, match="which is in test here; export in the fold that it was made for"):
        gather(out)


def plain(tmp_path: Path) -> Dataset:
    put_video(tmp_path / "src" / "happy" / "a.mp4")
    return read_dataset(tmp_path / "src")


def leaky(tmp_path: Path) -> Dataset:
    dataset = with_synthetic_one(plain(tmp_path), tmp_path)
    return replace(dataset, clips=(dataset.clips[0], replace(dataset.clips[1], split="test")))


def occupied(tmp_path: Path) -> Dataset:
    put_text(tmp_path / "out" / "thesis.tex", "do not delete")
    return plain(tmp_path)


def exported_before(tmp_path: Path) -> Dataset:
    dataset = plain(tmp_path)
    export(dataset, tmp_path / "out", "csv")
    return dataset


def exported_and_damaged(tmp_path: Path) -> Dataset:
    dataset = exported_before(tmp_path)
    put_text(tmp_path / "out/export.json", '{"format": "dfer-c')
    return dataset


def beside_a_file(tmp_path: Path) -> Dataset:
    put_text(tmp_path / "out", "a file")
    return plain(tmp_path)


BAD = {
    "a file": (beside_a_file, "out", {}, UsageError, r"is a file; name a folder for the export"),
    "unknown format": (
        plain,
        "out",
        {"codebase": "dferclip"},
        UsageError,
        r"no 'dferclip'; did you mean 'dfer-clip'",
    ),
    "synthetic in test": (
        leaky,
        "out",
        {},
        DatasetError,
        r"a synthetic clip in test; only train may hold them",
    ),
    "into the source": (
        plain,
        "src/lists",
        {},
        UsageError,
        r"lies inside .*an export goes beside its source",
    ),
    "a place with a blank": (plain, "my out", {}, UsageError, r"separates its columns by blanks"),
    "a folder of something else": (occupied, "out", {}, UsageError, r"is not empty and no export of ARGen"),
    "another format before": (exported_before, "out", {}, UsageError, r"was exported with another format"),
    "a damaged record": (exported_and_damaged, "out", {}, UsageError, r"export\.json: is damaged; delete"),
    "a place that cannot be": (plain, "src/happy/a.mp4/x", {}, UsageError, r"lies inside"),
    **{
        f"a prefix for {name}": (plain, "out", {"codebase": name, "prefix": "/data"}, UsageError, "no prefix")
        for name in ("s2d", "s4d", "videofolder", "webdataset")
    },
    "silence for frames alone": (plain, "out", {"silence": True}, UsageError, "--silence: dfer-clip has no"),
    "not writable": (plain, "/proc/nothing/out", {}, EnvironmentFault, r"cannot be written"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, case):
    make, place, wishes, kind, message = BAD[case]
    dataset = make(tmp_path)
    with pytest.raises(kind, match=message) as caught:
        export(dataset, tmp_path / place, **({"codebase": "dfer-clip"} | wishes))
    assert "\n" not in str(caught.value)


def test_every_format_says_no_synthetic_clip_is_held_out(tmp_path):
    dataset = leaky(tmp_path)
    for form in FORMATS:
        with pytest.raises(DatasetError, match="only train may hold them"):
            export(dataset, tmp_path / form.name, form.name)
        assert not (tmp_path / form.name).exists()


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, st.booleans()), max_size=12, unique_by=lambda t: t[:2]))
def test_names_never_collide_and_never_break_a_list(parts):
    clips = [
        Clip(f"{a}/{b}", "x", "train", Path("p"), "video", "s", extra={"synthetic": "true"} if s else {})
        for a, b, s in parts
    ]
    for naming in (exported_names, numeric_names):
        names = naming(clips)
        assert set(names) == {clip.id for clip in clips}
        assert len({name.casefold() for name in names.values()}) == len(clips)
        assert not any(set(name) & set(" ,\t\n\"'\\") or ".." in name.split("/") for name in names.values())
    for clip in clips:
        synthetic_name = exported_names(clips)[clip.id].startswith("syn_")
        assert synthetic_name >= clip.synthetic


def test_numbers_start_above_every_dataset_and_above_its_own():
    def clip(name, synthetic):
        extra = {"name": name, **({"synthetic": "true"} if synthetic else {})}
        return Clip(name, "x", "train", Path("p"), "video", name, extra=extra)

    names = numeric_names([clip("00003", False), clip("12", False), clip("syn_a", True), clip("syn_b", True)])
    assert names == {"00003": "00003", "12": "00012", "syn_a": "90000", "syn_b": "90001"}
    assert numeric_names([clip("95000", False), clip("syn_a", True)])["syn_a"] == "95001"


def test_face_crop_is_square_steady_and_repeats_edges():
    frames = gradient(3, 40, 60)
    landmarks = np.full((3, 5, 3), np.nan, np.float32)
    landmarks[:2, :, 0] = np.linspace(5, 25, 5)
    landmarks[:2, :, 1] = np.linspace(10, 30, 5)
    x, y, side = face_box(landmarks, 40, 60)
    assert (x, y, side) == pytest.approx((15, 20, 26))
    assert cut(frames, (x, y, side), 24).shape == (3, 24, 24, 3)
    assert np.array_equal(cut(frames, (30.0, 20.0, 40.0), 40), frames[:, :, 10:50])
    wide = cut(frames, (0.0, 20.0, 40.0), 40)
    assert (wide[:, :, 0] == frames[:, :, 0]).all()
    assert face_box(np.full((3, 5, 3), np.nan, np.float32), 40, 60) == (30.0, 20.0, 40.0)


@pytest.mark.parametrize("codebase", ["dfer-clip", "videomae"])
def test_cropped_exports_have_the_size_asked_for(tmp_path, codebase):
    dataset = plain(tmp_path)
    done = export(
        dataset, tmp_path / "out", codebase, crop=lambda frames: cut(frames, (8.0, 8.0, 16.0), 24), size=24
    )
    assert done.counts["train"] == 1
    place = next((tmp_path / "out").rglob("000.jpg" if codebase == "dfer-clip" else "*.mp4"))
    assert read_frames(clip_of(place, "image" if place.suffix == ".jpg" else "video")).shape[1:] == (
        24,
        24,
        3,
    )
