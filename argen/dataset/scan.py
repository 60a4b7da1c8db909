"""What a folder is: counts, balance, lengths, sizes, what cannot be read, and what leaks between splits.

Nothing is decoded unless asked for; what was learnt of a clip is kept, so a second look is quick.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.config import DatasetSettings
from argen.dataset.clip import Clip, Dataset, Problem
from argen.dataset.notes import Note, Notes, take_note
from argen.dataset.read import read_dataset
from argen.dataset.stills import natural
from argen.dataset.subjects import shared_subjects
from argen.dataset.twins import Twin, find_twins
from argen.dataset.video import read_frames, spread
from argen.errors import UnreadableClip

SAMPLE = 500  # videos whose headers are opened; frame folders are all looked at
FACES = 30  # clips looked at for faces
SHORT = 16  # frames: what recognisers of this field take from a clip
NEIGHBOURS = 10  # ids: closer clips are likely of one film
MOST_NAMED = 20


@dataclass(frozen=True)
class Range:
    """Least, median and greatest."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class Faces:
    """What a face reader saw in a sample of clips."""

    clips: int
    with_one_face: int
    with_none: int
    with_several: int


@dataclass(frozen=True)
class Leak:
    """Share of held-out clips that have something of themselves in train, 0..1."""

    near_duplicates: float | None  # None where nothing was decoded
    same_subject: float | None  # None where subjects are not known
    neighbours: float | None  # None where ids are no numbers


@dataclass(frozen=True)
class Scan:
    """The findings; `as_dict` is the JSON."""

    root: Path
    layout: str
    citation: str
    licences: dict[str, int]
    not_redistributable: int
    clips: dict[str, dict[str, int]]  # split -> label -> clips
    synthetic: int
    imbalance: float  # largest class of train over its smallest
    kinds: dict[str, int]
    subjects: int
    subjects_from: str
    looked_at: int  # clips whose length and size are known
    lengths: Range | None  # frames
    short: int  # clips shorter than SHORT frames
    sizes: dict[str, int]  # "width x height" -> clips, commonest first
    rates: dict[str, int]  # frames per second -> videos
    unreadable: tuple[Problem, ...]
    faces: Faces | None
    twins: tuple[Twin, ...]
    leak: Leak
    problems: tuple[Problem, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {**asdict(self), "root": str(self.root)}


def scan(
    path: Path,
    settings: DatasetSettings | None = None,
    *,
    deep: bool = False,
    cache: Path | None = None,
    count_faces: Callable[[UInt8[ndarray, "T H W 3"]], Sequence[int]] | None = None,
    embed: Callable[[Clip], Float32[ndarray, "D"] | None] | None = None,
    same_person: float = 0.6,
) -> Scan:
    """Look at a dataset. `deep` also decodes: every clip's middle frame, for near-duplicates and damage.

    `cache` is a folder outside the dataset. `count_faces` gives the number of faces per frame; `embed` and
    `same_person` confirm near-duplicates by identity. Raises DatasetError where the folder is no dataset.
    """
    start = time.perf_counter()
    dataset = read_dataset(path, settings or DatasetSettings())
    notes = Notes.load(cache, dataset.root)
    chosen = {clip.id for clip in _sampled(dataset.clips, deep)}
    taken = {
        clip.id: take_note(clip, notes, deep=deep)
        for clip in dataset.clips
        if clip.kind != "video" or clip.id in chosen
    }
    notes.save(set(taken))
    twins = find_twins(dataset.clips, taken, embed, same_person) if deep else None
    faces = _count_faces(dataset.clips, taken, count_faces) if count_faces else None
    return _summarise(dataset, taken, twins=twins, faces=faces, seconds=time.perf_counter() - start)


def _sampled(clips: Sequence[Clip], deep: bool) -> Sequence[Clip]:
    videos = [clip for clip in clips if clip.kind == "video"]
    return videos if deep else [videos[i] for i in spread(len(videos), SAMPLE)]


def _summarise(
    dataset: Dataset,
    taken: dict[str, Note],
    *,
    twins: tuple[Twin, ...] | None,
    faces: Faces | None,
    seconds: float,
) -> Scan:
    good = [note for note in taken.values() if not note.damage]
    lengths = [note.frames for note in good]
    train = dataset.counts("train")
    splits = sorted({clip.split for clip in dataset.clips}, key=("train", "val", "test").index)
    return Scan(
        root=dataset.root,
        layout=dataset.layout,
        citation=dataset.citation,
        licences=dict(Counter(clip.licence for clip in dataset.clips).most_common()),
        not_redistributable=sum(not clip.redistributable for clip in dataset.clips),
        clips={split: dataset.counts(split) for split in splits},
        synthetic=sum(clip.synthetic for clip in dataset.clips),
        imbalance=max(train.values()) / min(train.values()),
        kinds=dict(Counter(clip.kind for clip in dataset.clips).most_common()),
        subjects=len({clip.subject for clip in dataset.clips}),
        subjects_from=dataset.subjects_from,
        looked_at=len(taken),
        lengths=_range(lengths) if lengths else None,
        short=sum(length < SHORT for length in lengths),
        sizes=dict(Counter(f"{note.width} x {note.height}" for note in good).most_common(MOST_NAMED)),
        rates=dict(Counter(f"{note.fps:.4g}" for note in good if note.fps).most_common(MOST_NAMED)),
        unreadable=tuple(Problem(name, note.damage) for name, note in taken.items() if note.damage),
        faces=faces,
        twins=twins or (),
        leak=_leak(dataset, twins),
        problems=dataset.problems,
        seconds=seconds,
    )


def _range(lengths: Sequence[int]) -> Range:
    return Range(float(min(lengths)), float(statistics.median(lengths)), float(max(lengths)))


def _leak(dataset: Dataset, twins: Iterable[Twin] | None) -> Leak:
    held_out = [clip for clip in dataset.clips if clip.split != "train"]
    if not held_out:
        return Leak(None, None, None)
    same = None
    if dataset.subjects_from != "clip":
        subjects = set(shared_subjects(dataset.clips))
        same = sum(clip.subject in subjects for clip in held_out) / len(held_out)
    near = None
    if twins is not None:
        of_train = {t.other for t in twins if t.splits[0] == "train" and not t.refuted}
        near = sum(clip.id in of_train for clip in held_out) / len(held_out)
    return Leak(near, same, _neighbours(dataset))


def _neighbours(dataset: Dataset) -> float | None:
    """Share of test clips with a training clip within ten ids, where ids are numbers (DFEW, MAFW)."""
    named = [(clip.extra.get("name", ""), clip.split) for clip in dataset.clips]
    test = [int(name) for name, split in named if split == "test" and name.isdecimal()]
    train = np.sort([int(name) for name, split in named if split == "train" and name.isdecimal()])
    if not test or not len(train):
        return None
    right = np.clip(np.searchsorted(train, test), 0, len(train) - 1)
    nearest = np.minimum(np.abs(train[right] - test), np.abs(train[np.maximum(right - 1, 0)] - test))
    return float((nearest <= NEIGHBOURS).mean())


def _count_faces(
    clips: Sequence[Clip],
    taken: dict[str, Note],
    count: Callable[[UInt8[ndarray, "T H W 3"]], Sequence[int]],
) -> Faces:
    well = sorted((c for c in clips if c.id in taken and not taken[c.id].damage), key=lambda c: natural(c.id))
    seen = []
    for index in spread(len(well), FACES):
        try:
            seen.append(Counter(min(n, 2) for n in count(read_frames(well[index], 3))).most_common(1)[0][0])
        except UnreadableClip:
            continue
    return Faces(len(seen), seen.count(1), seen.count(0), seen.count(2))
