"""What an export is made of: a dataset, or ARGen's output together with the source it was made from."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from argen.config import DatasetSettings
from argen.dataset.clip import Clip, Dataset, Problem
from argen.dataset.read import read_dataset
from argen.errors import DatasetError


def gather(path: Path, settings: DatasetSettings | None = None) -> Dataset:
    """The clips to export. Of ARGen's output, the real ones as their source names them, in the run's fold.

    Raises DatasetError, also when a synthetic clip is held out or comes from a held-out clip.
    """
    dataset = read_dataset(path, settings or DatasetSettings())
    if dataset.layout == "argen":
        dataset = _with_source(dataset)
    refuse_leaks(dataset.clips)
    return dataset


def refuse_leaks(clips: Iterable[Clip]) -> None:
    """Raise DatasetError if a synthetic clip is in, or was made from, validation or test."""
    clips = list(clips)
    held_out = {clip.id: clip.split for clip in clips if clip.split != "train" and not clip.synthetic}
    for clip in clips:
        source = clip.extra.get("source", "")
        if clip.synthetic and clip.split != "train":
            raise DatasetError(f"{clip.id}: a synthetic clip in {clip.split}; only train may hold them")
        if clip.synthetic and source in held_out:
            raise DatasetError(
                f"{clip.id}: was made from {source}, which is in {held_out[source]} here; "
                "export in the fold that it was made for"
            )


def _with_source(dataset: Dataset) -> Dataset:
    run = json.loads((dataset.root / "run.json").read_text(encoding="utf-8"))
    described = run.get("source", {})
    try:
        settings = DatasetSettings.model_validate(run.get("recipe", {}).get("dataset", {}))
        source = read_dataset(Path(described.get("root", "")), settings) if described.get("root") else None
    except DatasetError:
        source = None
    if source is None or len(source) != described.get("clips", len(source)):
        note = Problem(
            "run.json", "the source is gone or was edited: real clips are taken from the output itself"
        )
        return replace(
            dataset,
            layout=described.get("layout", "folder"),
            citation=described.get("citation", ""),
            problems=(*dataset.problems, note),
        )
    own = {clip.id for clip in source.clips}
    made = tuple(clip for clip in dataset.clips if clip.synthetic and not _is_of(clip, own))
    return replace(source, clips=source.clips + made)


def _is_of(clip: Clip, source: Collection[str]) -> bool:
    """Whether an output's clip was in its source already, synthetic there too: then no job here made it."""
    return clip.id in source or (not clip.extra.get("id", "?") and clip.extra.get("source") in source)
