"""Who is in which clip: from a column, a pattern, the layout, or by clustering faces."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.dataset.clip import Clip, Dataset, Problem
from argen.dataset.layouts.layout import Found
from argen.dataset.tree import some
from argen.errors import DatasetError, UnreadableClip

logger = logging.getLogger(__name__)


def settle_subjects(found: Found, wish: str) -> Found:
    """Apply the recipe's `dataset.subjects`. `identity` needs faces: see `subjects_by_identity`.

    Raises DatasetError when the wish cannot be met.
    """
    if wish == "auto":
        return found
    if wish == "column":
        if found.subjects_from not in {"column", "layout"}:
            raise DatasetError("dataset.subjects: 'column', but no metadata column 'subject' was found")
        return found
    if wish in {"clip", "identity"}:
        clips = [replace(clip, subject=clip.id) for clip in found.clips]
        return Found(clips, found.problems, "clip")
    return _by_pattern(found, wish)


def _by_pattern(found: Found, wish: str) -> Found:
    try:
        pattern = re.compile(wish)
    except re.error as error:
        raise DatasetError(f"dataset.subjects: '{wish}' is not a regular expression: {error}") from error
    if "subject" not in pattern.groupindex:
        raise DatasetError(f"dataset.subjects: '{wish}' has no group named subject, as (?P<subject>[0-9]+)")
    matches = {clip.id: pattern.search(clip.id) for clip in found.clips}
    missed = [name for name, match in matches.items() if not match]
    if missed and len(missed) == len(found.clips):
        raise DatasetError(f"dataset.subjects: '{wish}' matches no clip id, such as '{missed[0]}'")
    problems = list(found.problems)
    if missed:
        problems.append(Problem("subjects", f"{len(missed):,} ids do not match '{wish}': {some(missed)}"))
    clips = [
        replace(clip, subject=match["subject"] or clip.id) if (match := matches[clip.id]) else clip
        for clip in found.clips
    ]
    return Found(clips, problems, "pattern")


def shared_subjects(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """Subjects that are in more than one split, with one clip of each split. Synthetic clips do not count."""
    seen: dict[str, dict[str, Clip]] = defaultdict(dict)
    for clip in clips:
        if not clip.synthetic:
            seen[clip.subject].setdefault(clip.split, clip)
    return {subject: list(by.values()) for subject, by in seen.items() if len(by) > 1}


def refuse_shared_subjects(clips: Iterable[Clip]) -> None:
    """Raise DatasetError if a subject is in two splits: what is learnt from one would leak into the other."""
    shared = shared_subjects(clips)
    if shared:
        subject, pair = next(iter(shared.items()))
        places = " and ".join(f"{clip.split} ({clip.id})" for clip in pair)
        raise DatasetError(
            f"{len(shared):,} subjects are in two splits: '{subject}' is in {places}; "
            "move their clips to one split, or set dataset.subjects=clip if the column means something else"
        )


def subjects_by_identity(
    dataset: Dataset, embed: Callable[[Clip], Float32[ndarray, "D"] | None], same_person: float
) -> Dataset:
    """Subjects by clustering faces: clips closer than `same_person` (Euclidean, unit vectors) are one person.

    `embed` gives None where a clip has no usable face; that clip stays its own subject. Clusters are
    estimates, so a person found in two splits is a problem of the dataset, not an error.
    """
    kept: list[Clip] = []
    vectors: list[Float32[ndarray, "D"]] = []
    problems = list(dataset.problems)
    for clip in dataset.clips:
        vector = _try_embed(clip, embed, problems)
        if vector is not None and np.isfinite(vector).all():
            kept.append(clip)
            vectors.append(np.asarray(vector, np.float32))
    names = {
        clip.id: f"person-{number + 1:04d}"
        for clip, number in zip(kept, group(vectors, same_person), strict=True)
    }
    clips = tuple(replace(clip, subject=names.get(clip.id, clip.id)) for clip in dataset.clips)
    for subject, pair in shared_subjects(clips).items():
        places = " and ".join(f"{clip.split} ({clip.id})" for clip in pair)
        problems.append(Problem(subject, f"seems to be in two splits: {places}"))
    return replace(dataset, clips=clips, subjects_from="identity", problems=tuple(problems))


def _try_embed(
    clip: Clip, embed: Callable[[Clip], Float32[ndarray, "D"] | None], problems: list[Problem]
) -> Float32[ndarray, "D"] | None:
    try:
        return embed(clip)
    except UnreadableClip as error:
        problems.append(Problem(clip.id, str(error)))
        return None


def group(vectors: Sequence[Float32[ndarray, "D"]], same_person: float) -> list[int]:
    """Cluster numbers from 0 by first appearance: single linkage to a running centre, in order.

    A vector joins the nearest centre closer than `same_person`, else starts a cluster.
    """
    centres: list[Float32[ndarray, "D"]] = []
    counts: list[int] = []
    numbers: list[int] = []
    for vector in vectors:
        unit = vector / max(float(np.linalg.norm(vector)), 1e-9)
        distances = np.linalg.norm(np.asarray(centres) - unit, axis=1) if centres else np.empty(0)
        nearest = int(np.argmin(distances)) if len(distances) else -1
        if nearest < 0 or distances[nearest] >= same_person:
            centres.append(unit)
            counts.append(1)
            numbers.append(len(centres) - 1)
            continue
        mean = centres[nearest] * counts[nearest] + unit
        counts[nearest] += 1
        centres[nearest] = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)
        numbers.append(nearest)
    return numbers
