"""Validation from a held-out block of train; subject-disjoint folds where a dataset names no split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from argen.dataset.clip import Clip, Split
from argen.dataset.stills import natural

SHARE = 0.1
"""Share of train that becomes validation where no other fold's block can."""


def hold_out(clips: Sequence[Clip], names: Collection[str]) -> list[Clip]:
    """Training clips whose own name is among `names` (another fold's test block) become validation."""
    chosen = {clip.id for clip in clips if clip.split == "train" and clip.extra.get("name") in names}
    return [replace(clip, split="val") if clip.id in chosen else clip for clip in clips]


def hold_out_block(clips: Sequence[Clip], group: Callable[[Clip], str], share: float = SHARE) -> list[Clip]:
    """In each group, the first `share` of the training clips becomes validation, so neighbours stay together.

    Neighbouring clips are often of one film; a random draw would put them on both sides.
    """
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.split == "train":
            groups[group(clip)].append(clip)
    chosen: set[str] = set()
    for members in groups.values():
        members.sort(key=lambda clip: natural(clip.id))
        chosen |= {clip.id for clip in members[: int(len(members) * share + 0.5)]}
    return [replace(clip, split="val") if clip.id in chosen else clip for clip in clips]


def subject_folds(clips: Sequence[Clip], fold: int, folds: int, *, blocks: bool = False) -> list[Clip]:
    """Subjects sorted and dealt to `folds` (or cut into blocks): one is test, the next validation.

    Ours, where a dataset names no split. With fewer subjects than folds, all clips are for training.
    """
    subjects = sorted({clip.subject for clip in clips}, key=natural)
    if len(subjects) < max(3, folds):
        return list(clips)
    number = {s: i * folds // len(subjects) if blocks else i % folds for i, s in enumerate(subjects)}
    splits: dict[int, Split] = {fold - 1: "test", fold % folds: "val"}
    return [replace(clip, split=splits.get(number[clip.subject], "train")) for clip in clips]
