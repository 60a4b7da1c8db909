"""S2D and S4D: a CSV with a header, names below a root that the script is given; integers for ids.

    DFEW/EmoLabel_DataSplit/train(single-labeled)/train_set_1.csv     video_name,label
    FERV39K/Annotation/train.csv                                      path,id
    MAFW/anno/single/no_caption/set_1/train.csv                       video_name,labels     frames are .png

The folders are those of the codebases' own `data/`, so that their scripts run unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from argen.dataset.clip import Clip
from argen.dataset.exporting.entry import Format, ListName, Lists, Target
from argen.dataset.exporting.lines import write_lines
from argen.dataset.exporting.names import exported_names, numeric_names, own_name, safe

HEADERS = {"dfew": "video_name,label", "ferv39k": "path,id", "mafw": "video_name,labels"}
ROOTS = {
    ("s2d", "dfew"): "DFEW/Clip/clip_224x224_16f",
    ("s4d", "dfew"): "DFEW/clip_jpg_256",
    ("s2d", "ferv39k"): "FERV39K/2_ClipsforFaceCrop",
    ("s4d", "ferv39k"): "FERV39K/2_ClipsforFaceCrop",
    ("s2d", "mafw"): "MAFW/frames_crop_align_224",
    ("s4d", "mafw"): "MAFW/frames_crop_align_224",
}


def root_of(codebase: str, target: Target) -> str:
    """The folder that the script is given as its data path, below the export."""
    return ROOTS.get((codebase, target.layout), f"{target.dataset}/frames")


def place(codebase: str, target: Target, clip: Clip, name: str) -> str:
    """Frames of a clip."""
    return f"{root_of(codebase, target)}/{name}"


def names(clips: Sequence[Clip]) -> dict[str, str]:
    """Numbers; but FERV39k's `Scene/Emotion/0000` stay, and ours go to a scene of their own."""
    if not all(own_name(clip).count("/") == 2 for clip in clips if not clip.synthetic):
        return numeric_names(clips)
    real = exported_names([clip for clip in clips if not clip.synthetic])
    numbers = numeric_names(clips)
    ours = {c.id: f"Synthetic/{safe(c.label)}/{numbers[c.id]}" for c in clips if c.synthetic}
    return real | ours


def write(codebase: str, target: Target, lists: Lists) -> None:
    """One file a list."""
    root = f"{root_of(codebase, target)}/"
    for name, entries in lists.items():
        rows = (f"{entry.path.removeprefix(root)},{entry.number}" for entry in entries)
        header = HEADERS.get(target.layout, HEADERS["dfew"])
        write_lines(target.out / list_file(target, name), (header, *rows))


def list_file(target: Target, name: ListName) -> str:
    """Where a list lies; the mixed training list has the name that the scripts look for."""
    split, _, part = name.partition("_")
    part = f"_{part}" if part else ""
    if target.layout == "ferv39k":
        return f"FERV39K/Annotation/{split}{part}.csv"
    if target.layout == "mafw":
        return f"MAFW/anno/single/no_caption/set_{target.fold}/{split}{part}.csv"
    home = "DFEW" if target.layout == "dfew" else target.dataset
    return f"{home}/EmoLabel_DataSplit/{split}(single-labeled)/{split}_set_{target.fold}{part}.csv"


def suffix(target: Target) -> str:
    """S2D reads MAFW's frames as .png and all others as .jpg."""
    return ".png" if target.layout == "mafw" else ".jpg"


def _format(codebase: str) -> Format:
    at, listed = partial(place, codebase), partial(write, codebase)
    return Format(codebase, "frames", at, listed, names, suffix, prefixed=False, absolute=False)


S2D, S4D = _format("s2d"), _format("s4d")
