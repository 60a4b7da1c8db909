"""Each released dataset in miniature: its folder names, list headers, separators, spellings, encodings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.dataset.makers import put_frames, put_jsonl, put_text, put_video

DFEW_LABELS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
MAFW_LABELS = (
    "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise",
    "contempt", "anxiety", "helplessness", "disappointment",
)  # fmt: skip


def dfew(root: Path, form: str = "clip_224x224", per_class: int = 10) -> Path:
    """Five folds; in each class the ids of fold k's test are a contiguous block."""
    ids = {label: [7 * i + c + 1 for i in range(per_class)] for c, label in enumerate(DFEW_LABELS)}
    for numbers in ids.values():
        for number in numbers:
            if form == "original":
                put_video(root / "Clip" / "original" / f"part_{number % 3 + 1}" / f"{number}.mp4")
            else:
                put_frames(root / "Clip" / form / f"{number:05d}", ("1.jpg", "2.jpg", "10.jpg"))
    put_frames(root / "Clip" / form / "16000", ("1.jpg",))  # in no list: no single label
    for fold in range(1, 6):
        test, train = ["video_name,label"], ["video_name,label"]
        for c, numbers in enumerate(ids.values()):
            for i, number in enumerate(numbers):
                in_test = i * 5 // per_class == fold - 1
                (test if in_test else train).append(f"{number},{c + 1}")
        lists = root / "EmoLabel_DataSplit"
        put_text(lists / "train(single-labeled)" / f"set_{fold}.csv", "\n".join(train) + "\n")
        put_text(lists / "test(single-labeled)" / f"set_{fold}.csv", "\n".join(test) + "\n")
    return root


FERV_LABELS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def ferv39k(root: Path, per_class: int = 10, scenes: tuple[str, ...] = ("Action", "DailyLife")) -> Path:
    train: list[str] = []
    test: list[str] = []
    for scene in scenes:
        for label in FERV_LABELS:
            for i in range(per_class):
                name = f"{scene}/{label}/{i:04d}"
                put_frames(root / "2_ClipsforFaceCrop" / name, ("0001.jpg", "0002.jpg"))
                (test if i < per_class / 5 else train).append(f"{name} {label}")
    for name in ("0_Readme", "1_Origin", "3_ClipsforScenImages"):
        (root / name).mkdir(parents=True)
    lists = root / "4_setups" / "All_scenes"
    put_text(lists / "train_All.csv", "\n".join(train) + "\n")
    put_text(lists / "test_All.csv", "\n".join(test) + "\n")
    return root


def mafw(root: Path, form: str = "faces", per_class: int = 5, captions: bool = False) -> Path:
    for number in range(11 * per_class):
        if form == "clips":
            put_video(root / "data" / "clips" / f"{number:05d}.mp4")
        else:
            put_frames(root / "data" / form / f"{number:05d}", ("0001.png", "0002.png"))
    lists = root / "Train & Test Set" / "single" / ("with_caption" if captions else "no_caption")
    for fold in range(1, 6):
        rows: dict[str, list[str]] = {"train": [], "test": []}
        for c, label in enumerate(MAFW_LABELS):
            for i in range(per_class):
                name = f"{c * per_class + i:05d}.mp4"
                plain = f"{name} {label}"
                told = f"{name}\t{label}\t一个男人皱着眉头\tA man frowns."
                split = "test" if i * 5 // per_class == fold - 1 else "train"
                rows[split].append(told if captions else plain)
        for split, lines in rows.items():
            encoding = "gb18030" if captions else "utf-8"
            put_text(lists / f"set_{fold}" / f"{split}.txt", "\n".join(lines) + "\n", encoding, "\r\n")
    return root


def mafw_compound(root: Path) -> Path:
    labels = ("anger_disgust", "fear_surprise", "sadness_helplessness")
    for number in range(15):
        put_video(root / "data" / "clips" / f"{number:05d}.mp4")
    for fold in range(1, 6):
        for split in ("train", "test"):
            chosen = [n for n in range(15) if (n % 5 == fold - 1) == (split == "test")]
            lines = "".join(f"{n:05d}.mp4 {labels[n // 5]}\n" for n in chosen)
            put_text(root / "Train & Test Set" / "compound" / f"set_{fold}" / f"{split}.txt", lines)
    return root


def afew(root: Path, form: str = "frames") -> Path:
    for split, names in (("train", ("000046280", "010924040")), ("val", ("003044760",))):
        for label in FERV_LABELS:
            for name in names:
                if form == "frames":
                    put_frames(root / split / label / name)
                else:
                    put_video(root / split / label / f"{name}.avi")
    return root


def ckplus(root: Path, people: int = 12) -> Path:
    for number in range(people):
        person = f"S{5 + number:03d}"
        for take in ("001", "002"):
            stem = f"{person}_{take}_"
            images = root / "cohn-kanade-images" / person / take
            put_frames(images, [f"{stem}{i:08d}.png" for i in range(1, 5)])
            facs = "   1.0000000e+00   5.0000000e+00\n   4.0000000e+00   0.0000000e+00\n"
            facs += "   2.7000000e+01   3.0000000e+00\n   1.6000000e+01   2.0000000e+00\n"
            put_text(root / "FACS" / person / take / f"{stem}00000004_facs.txt", facs)
            (root / "Emotion" / person / take).mkdir(parents=True)
            if take == "001":  # the other has no emotion, as 266 of the 593 have none
                text = f"   {number % 7 + 1}.0000000e+00\n"
                put_text(root / "Emotion" / person / take / f"{stem}00000004_emotion.txt", text)
            put_text(root / "Landmarks" / person / take / f"{stem}00000004_landmarks.txt", "1 2\n")
    return root


def mug(root: Path, people: int = 11) -> Path:
    for number in range(1, people + 1):
        for label in ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"):
            put_frames(
                root / "subjects3" / f"{number:03d}" / label / "take000", ("img_0000.jpg", "img_0001.jpg")
            )
    return root


def oulu_casia(root: Path, people: int = 10) -> Path:
    for light in ("VL", "NI"):
        for number in range(1, people + 1):
            for label in ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise"):
                folder = root / "B_OriginalImg" / "OriginalImg" / light / "Strong" / f"P{number:03d}" / label
                put_frames(folder, ("000.jpeg", "001.jpeg"))
    return root


def mead(root: Path) -> Path:
    for actor in ("M003", "M005", "W009", "W011", "W014"):
        for view in ("front", "left_30"):
            for label in ("angry", "contempt", "disgusted", "fear", "happy", "sad", "surprised"):
                put_video(root / actor / "video" / view / label / "level_3" / "001.mp4")
            put_video(root / actor / "video" / view / "neutral" / "level_1" / "001.mp4")
    return root


def caer(root: Path) -> Path:
    for split in ("train", "validation", "test"):
        for label in ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"):
            put_video(root / split / label / "0001.avi")
    return root


def ravdess(root: Path) -> Path:
    for actor in range(1, 25):
        for emotion in range(1, 9):
            for modality in ("01", "02"):
                name = f"{modality}-01-0{emotion}-01-01-01-{actor:02d}.mp4"
                put_video(root / f"Video_Speech_Actor_{actor:02d}" / f"Actor_{actor:02d}" / name)
    return root


def cremad(root: Path) -> Path:
    for actor in (1001, 1002, 1003, 1004, 1005):
        for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
            put_video(root / "VideoFlash" / f"{actor}_DFA_{emotion}_XX.flv")
    return root


def plain_folder(root: Path) -> Path:
    for split in ("train", "val", "test"):
        for label in ("happy", "sad"):
            put_video(root / split / label / "a.mp4")
    return root


def with_metadata(root: Path) -> Path:
    put_video(root / "a.mp4")
    put_jsonl(root / "metadata.jsonl", [{"file_name": "a.mp4", "label": "happy"}])
    return root


def argen_output(root: Path) -> Path:
    put_text(root / "run.json", "{}")
    (root / "manifest").mkdir()
    put_video(root / "train" / "happy" / "syn_1.mp4")
    row = {"file_name": "happy/syn_1.mp4", "label": "happy", "synthetic": True, "redistributable": True}
    put_jsonl(root / "train" / "metadata.jsonl", [row])
    return root


RELEASED: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "DFEW": ("dfew", dfew),
    "DFEW, original": ("dfew", lambda root: dfew(root, "original")),
    "DFEW, 16 frames": ("dfew", lambda root: dfew(root, "clip_224x224_16f")),
    "FERV39k": ("ferv39k", ferv39k),
    "MAFW": ("mafw", mafw),
    "MAFW, clips with captions": ("mafw", lambda root: mafw(root, "clips", captions=True)),
    "MAFW, compound": ("mafw-compound", mafw_compound),
    "AFEW": ("afew", afew),
    "AFEW, videos": ("afew", lambda root: afew(root, "videos")),
    "CK+": ("ck+", ckplus),
    "MUG": ("mug", mug),
    "Oulu-CASIA": ("oulu-casia", oulu_casia),
    "MEAD": ("mead", mead),
    "CAER": ("caer", caer),
    "RAVDESS": ("ravdess", ravdess),
    "CREMA-D": ("crema-d", cremad),
    "class folders": ("folder", plain_folder),
    "metadata": ("metadata", with_metadata),
    "ARGen's output": ("argen", argen_output),
}
"""What it is -> the layout's name, and how to make it."""
