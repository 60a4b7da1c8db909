"""The real clips of an experiment: the world with its long tail, and the further clips of the ceiling."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from argen.dataset.clip import Clip, Dataset
from argen.errors import DatasetError
from argen.gain.arms import Arm
from argen.gain.folder import Experiment, begin
from argen.gain.settings import REAL, WorldSettings
from argen.workshop import read_source

Counts: TypeAlias = str | Mapping[str, tuple[int, int]]


def make_world(experiment: Experiment) -> None:
    """Draw the puppet world; nothing where the recipe names a folder."""
    world = experiment.gain.world
    if world.data is not None:
        return
    begin(experiment.out / "world.json", world.model_dump(mode="json"), str(experiment.world))
    size: dict[str, Any] = world.model_dump(include={"scale", "test_per_class"})
    _draw(experiment.world, world, world.profile, world.seed, **size)


def has_world(experiment: Experiment) -> bool:
    """Whether the world is there; one that was drawn with other settings is refused. Raises UsageError."""
    world, note = experiment.gain.world, experiment.out / "world.json"
    if world.data is None and note.is_file():
        begin(note, world.model_dump(mode="json"), str(experiment.world))
    return experiment.world.is_dir()


def make_extra(experiment: Experiment, arms: Iterable[Arm]) -> None:
    """Draw the ceiling's clips: the same classes and dials, other people."""
    world, wanted = experiment.gain.world, extra_wanted(read_world(experiment), arms)
    begin(experiment.out / "extra.json", {"wanted": wanted, "seed": world.seed + 1}, str(experiment.extra))
    counts = {label: (count, 0) for label, count in wanted.items()}
    _draw(experiment.extra, world, counts, world.seed + 1)


def extra_wanted(dataset: Dataset, arms: Iterable[Arm]) -> dict[str, int]:
    """The most that any arm takes of further real clips, per class."""
    return most_wanted(dataset, [arm for arm in arms if arm.pool == REAL])


def real_counts(dataset: Dataset) -> dict[str, int]:
    """Real training clips per class: what arms train on, and so what their shares are of.

    A folder that ARGen has expanded before holds synthetic ones beside them.
    """
    counts = Counter(clip.label for clip in dataset.sources)
    return {label: counts[label] for label in sorted(counts)}


def most_wanted(dataset: Dataset, arms: Iterable[Arm]) -> dict[str, int]:
    """The most that any of some arms adds, per class."""
    have = real_counts(dataset)
    asked = [arm.wanted(have) for arm in arms]
    return {label: max((wanted[label] for wanted in asked), default=0) for label in have}


def read_world(experiment: Experiment) -> Dataset:
    """The real clips, as the recipe says. Raises DatasetError: no test split, or what no test may hold."""
    dataset = read_source(experiment.world, experiment.recipe, experiment.out / "cache")
    check_test(dataset)
    return dataset


def read_extra(experiment: Experiment) -> list[Clip]:
    """Further real clips, in a fixed order, with ids that the world does not have."""
    clips = read_source(experiment.extra, experiment.recipe).train
    return [replace(clip, id=f"extra/{clip.id}") for clip in clips]


def check_test(dataset: Dataset) -> None:
    """Refuse a test split that is none: empty, synthetic, or of classes that cannot be learnt."""
    test = [clip for clip in dataset.clips if clip.split == "test"]
    if not test:
        raise DatasetError(
            f"{dataset.root}: no test clips; a gain is measured on clips that nothing learnt from"
        )
    synthetic = [clip.id for clip in test if clip.synthetic]
    if synthetic:
        raise DatasetError(
            f"{dataset.root}: the test split holds {len(synthetic):,} synthetic clips ({synthetic[0]}, ...); "
            "a gain is measured on real clips only; take them out"
        )
    known = real_counts(dataset)
    strangers = sorted({clip.label for clip in test} - set(known))
    if strangers:
        raise DatasetError(
            f"{dataset.root}: '{strangers[0]}' is in the test split and missing from training's real clips; "
            "take the class out, or give it training clips"
        )


def _draw(folder: Path, world: WorldSettings, counts: Counts, seed: int, **more: Any) -> None:  # noqa: ANN401
    from argen.puppets.world import write_dataset

    if folder.is_dir():
        return
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    dials: dict[str, Any] = world.model_dump(include={"domain", "size", "difficulty", "label_noise"})
    write_dataset(part, counts, seed, **dials, **more)
    part.rename(folder)
