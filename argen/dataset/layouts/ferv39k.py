"""FERV39k: 38,935 face-cropped clips of 22 scenes, one official split.

    FERV39k/2_ClipsforFaceCrop/<Scene>/<Emotion>/<0000>/*.jpg
    FERV39k/4_setups/All_scenes/{train_All.csv,test_All.csv}   "Scene/Emotion/0000 Emotion", no header

In every scene and emotion the first fifth of the ids is test; the tenth that follows is validation here.
"""

from __future__ import annotations

from pathlib import Path

from argen.dataset.clip import Split
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.listed import Row, descend, folders, match, stock, tail
from argen.dataset.layouts.outline import Outline, outline
from argen.dataset.layouts.splits import hold_out_block
from argen.dataset.lists import ENCODINGS, read_text
from argen.errors import DatasetError

CLIPS = "2_ClipsforFaceCrop"
LISTS = ("4_setups", "All_scenes")
LABELS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def recognise(top: Outline) -> bool:
    """The lists of all scenes, or the folder of face crops."""
    return top.find(*LISTS) is not None or top.find(CLIPS) is not None


def read(root: Path, fold: int = 1) -> Found:
    """The official split. Raises DatasetError if a list or all clips are missing."""
    top = outline(root)
    lists = top.find(*LISTS)
    if lists is None:
        raise DatasetError(f"{root}: {'/'.join(LISTS)} is missing; without it nothing tells train from test")
    rows: dict[Split, list[Row]] = {
        "train": _rows(lists, "train_All.csv"),
        "test": _rows(lists, "test_All.csv"),
    }
    clips = top.find(CLIPS)
    if clips is None:
        raise DatasetError(f"{root}: {CLIPS} is missing; unpack the face-cropped clips there")
    clips = descend(clips, CLIPS) or clips
    media = stock(clips, levels=3) if folders(clips) else []
    found = match(root, rows, media, lambda name: tail(name, 3))
    found.clips = hold_out_block(found.clips, lambda clip: clip.extra["name"].rpartition("/")[0])
    return found


def _rows(lists: Path, name: str) -> list[Row]:
    file = descend(lists, name)
    if file is None:
        raise DatasetError(f"{lists / name}: missing; without it nothing tells train from test")
    known = {label.lower(): label for label in LABELS}
    rows = []
    for number, line in enumerate(read_text(file, ENCODINGS).splitlines(), 1):
        path, _, label = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if not path or label.lower() not in known:
            raise DatasetError(f"{file}:{number}: '{line.strip()[:60]}' is not 'Scene/Emotion/0000 Emotion'")
        scene = tail(path, 3).split("/")[0]
        rows.append(Row(f"{file}:{number}", path, known[label.lower()], {"scene": scene}))
    return rows


LAYOUT = Layout(
    "ferv39k",
    recognise,
    read,
    title="FERV39k",
    licence="FERV39k agreement: non-commercial research, no redistribution of any portion of derived data",
    redistributable=False,
    citation="Y. Wang et al., FERV39k: A Large-Scale Multi-Scene Dataset for Facial Expression Recognition "
    "in Videos, CVPR 2022",
)
