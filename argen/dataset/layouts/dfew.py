"""DFEW: 16,372 clips of films, 11,697 with a single label, in five folds.

    DFEW/Clip/{clip_224x224 | original | jpg_256 | clip_224x224_16f}/00001/*.jpg   (or .mp4, in parts)
    DFEW/EmoLabel_DataSplit/train(single-labeled)/set_1.csv   video_name,label with labels 1 to 7

Train and test are the release's; validation is the next fold's test block.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from argen.dataset.clip import Problem, Split
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.listed import Media, Row, descend, folders, match, need_fold, stock, tail
from argen.dataset.layouts.outline import Outline, outline
from argen.dataset.layouts.splits import hold_out, hold_out_block
from argen.dataset.lists import ENCODINGS, read_text
from argen.errors import DatasetError

LABELS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")  # 1 to 7 in the lists
FORMS = ("clip_224x224", "original", "jpg_256", "clip_jpg_256", "clip_224x224_16f")  # whole clips first
LISTS = "EmoLabel_DataSplit"
TRAIN, TEST = "train(single-labeled)/set_{}.csv", "test(single-labeled)/set_{}.csv"


def recognise(top: Outline) -> bool:
    """The folder of lists with its single-labelled part."""
    return top.find(LISTS, "train(single-labeled)") is not None


def read(root: Path, fold: int = 1) -> Found:
    """One fold. Raises DatasetError if its lists or all clips are missing."""
    top = outline(root)
    lists = top.find(LISTS)
    if lists is None:
        raise DatasetError(f"{root}: no {LISTS} folder, so this is not DFEW as released")
    rows: dict[Split, list[Row]] = {
        "train": _rows(need_fold(lists, TRAIN, fold)),
        "test": _rows(need_fold(lists, TEST, fold)),
    }
    found = match(root, rows, _media(lists.parent, top), number)
    following = descend(lists, *TEST.format(fold % 5 + 1).split("/"))
    if following is not None:
        block = {number(row.name) for row in _rows(following)}
        names = {clip.extra["name"] for clip in found.clips if number(clip.extra["name"]) in block}
        found.clips = hold_out(found.clips, names)
    else:
        found.clips = hold_out_block(found.clips, lambda clip: clip.label)
        what = f"fold {fold % 5 + 1} is missing: validation is a tenth of train"
        found.problems.append(Problem(LISTS, what))
    return found


def number(name: str) -> str:
    """A clip's name without leading zeros: the lists write 1 where the folders write 00001."""
    stem = tail(name, 1)
    return str(int(stem)) if stem.isdecimal() else stem


def _rows(file: Path) -> list[Row]:
    reader = csv.reader(io.StringIO(read_text(file, ENCODINGS)))
    header = [name.strip().lower() for name in next(reader, [])]
    if header != ["video_name", "label"]:
        raise DatasetError(f"{file}:1: the header is '{','.join(header)}', not 'video_name,label'")
    rows = []
    for values in reader:
        if any(values):
            name, label = (*values, "", "")[:2]
            row = Row(f"{file}:{reader.line_num}", name.strip(), label.strip())
            rows.append(replace(row, label=_label(row)))
    return rows


def _label(row: Row) -> str:
    if row.label.isdecimal() and 1 <= int(row.label) <= len(LABELS):
        return LABELS[int(row.label) - 1]
    raise DatasetError(f"{row.where}: label '{row.label}' is not 1 to 7")


def _media(home: Path, top: Outline) -> list[Media]:
    clips = descend(home, "Clip") or top.find("Clip") or home
    forms = [form for name in FORMS if (form := top.find(name))] or folders(clips)
    if clips == home and not any(top.find(name) for name in FORMS):
        raise DatasetError(f"{home}: no Clip folder beside {LISTS}; unpack the clips there")
    if not forms:
        raise DatasetError(f"{clips}: no clips in it; unpack one form, such as {FORMS[0]}")
    parts = [part for part in folders(forms[0]) if part.name.lower().startswith("part")]
    return [media for folder in parts or forms[:1] for media in stock(folder)]


LAYOUT = Layout(
    "dfew",
    recognise,
    read,
    title="DFEW",
    folds=5,
    licence="DFEW agreement: non-commercial research, on application, no redistribution",
    redistributable=False,
    citation="X. Jiang et al., DFEW: A Large-Scale Database for Recognizing Dynamic Facial Expressions in "
    "the Wild, ACM Multimedia 2020",
)
