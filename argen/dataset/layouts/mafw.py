"""MAFW: 10,045 clips with eleven single emotions (five folds), compound emotions, and captions.

    MAFW/data/{faces/00019/*.png | clips/00019.mp4 | frames/00019/*.png}
    MAFW/.../single/[no_caption|with_caption/]set_1/{train,test}.txt     "03747.mp4 anger"
    MAFW/.../compound/[...]/set_1/{train,test}.txt                       "03747.mp4 anger_disgust"

Lists with captions are tab-separated: name, label, Chinese caption, English caption, often in a Chinese
encoding. Train and test are the release's; validation is the next fold's test block.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from argen.dataset.clip import Problem, Split
from argen.dataset.layouts.layout import Found, Layout
from argen.dataset.layouts.listed import Row, descend, match, need_fold, stock, tail
from argen.dataset.layouts.outline import Outline, outline
from argen.dataset.layouts.splits import hold_out, hold_out_block
from argen.dataset.lists import ENCODINGS, read_text
from argen.errors import DatasetError

LABELS = (
    "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise",
    "contempt", "anxiety", "helplessness", "disappointment",
)  # fmt: skip
FORMS = ("faces", "clips", "frames")


def recognise(top: Outline, kind: str = "single") -> bool:
    """A folder of single (or compound) lists beside data/."""
    return _lists(top, kind) is not None and _form(top) is not None


def read(root: Path, fold: int = 1, kind: str = "single") -> Found:
    """One fold. Raises DatasetError if its lists or all clips are missing."""
    top = outline(root)
    lists, media = _lists(top, kind), _form(top)
    if lists is None:
        raise DatasetError(f"{root}: no {kind}/set_{fold}/train.txt, so this is not MAFW as released")
    if media is None:
        raise DatasetError(f"{root}: no data/faces, data/clips or data/frames; unpack the clips there")
    rows: dict[Split, list[Row]] = {
        "train": _rows(need_fold(lists, "set_{}/train.txt", fold), kind),
        "test": _rows(need_fold(lists, "set_{}/test.txt", fold), kind),
    }
    found = match(root, rows, stock(media), lambda name: tail(name, 1))
    following = descend(lists, f"set_{fold % 5 + 1}", "test.txt")
    if following is not None:
        found.clips = hold_out(found.clips, {tail(row.name, 1) for row in _rows(following, kind)})
    else:
        found.clips = hold_out_block(found.clips, lambda clip: clip.label)
        what = f"fold {fold % 5 + 1} is missing: validation is a tenth of train"
        found.problems.append(Problem(kind, what))
    return found


def _lists(top: Outline, kind: str) -> Path | None:
    places = [(kind,), (kind, "with_caption"), (kind, "no_caption")]
    found = (top.find(*place, f"set_{fold}") for place in places for fold in range(1, 6))
    return next((place.parent for place in found if place), None)


def _form(top: Outline) -> Path | None:
    return next((form for name in FORMS if (form := top.find("data", name) or _beside(top, name))), None)


def _beside(top: Outline, name: str) -> Path | None:
    place = top.at("", name)
    return top.root / place if place else None


def _rows(file: Path, kind: str) -> list[Row]:
    rows = []
    for number, line in enumerate(read_text(file, ENCODINGS).splitlines(), 1):
        if not line.strip():
            continue
        cells = line.strip().split("\t") if "\t" in line else line.strip().split(maxsplit=1)
        where = f"{file}:{number}"
        if len(cells) < 2:
            raise DatasetError(f"{where}: '{line.strip()[:60]}' is not a clip and its label")
        label = cells[1].strip()
        if kind == "single" and label not in LABELS:
            label = _spelled(label, where)
        captions = zip(("caption_zh", "caption"), (cell.strip() for cell in cells[2:4]), strict=False)
        rows.append(Row(where, cells[0], label, dict(captions)))
    return rows


def _spelled(label: str, where: str) -> str:
    known = {name: name for name in LABELS}
    if label.lower() not in known:
        raise DatasetError(f"{where}: '{label}' is none of MAFW's eleven emotions: {', '.join(LABELS)}")
    return known[label.lower()]


LICENCE = "MAFW agreement: non-commercial research, no redistribution of any portion of derived data"
CITATION = (
    "Y. Liu et al., MAFW: A Large-scale, Multi-modal, Compound Affective Database for Dynamic Facial "
    "Expression Recognition in the Wild, ACM Multimedia 2022"
)
LAYOUT = Layout(
    "mafw", recognise, read, "MAFW", folds=5, licence=LICENCE, redistributable=False, citation=CITATION
)
COMPOUND = Layout(
    "mafw-compound",
    partial(recognise, kind="compound"),
    partial(read, kind="compound"),
    "MAFW, compound emotions",
    folds=5,
    licence=LICENCE,
    redistributable=False,
    citation=CITATION,
)
