"""Pools of synthetic clips: each is one run of ARGen's own loop, made once and shared by arms and seeds.

A pool keeps the clips that its gate dropped, so one run gives two arms: *gated* takes what the gate kept and
topped up; *ungated* takes the generator's first clips of each class as they came, and never knows the gate.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from argen.augmentation import augment
from argen.config import Recipe, load_recipe
from argen.dataset.clip import Clip, Dataset
from argen.dataset.fingerprint import file_hash
from argen.gain.arms import Arm, adapter_file, adapter_recipe
from argen.gain.folder import Experiment, read_json
from argen.gain.worlds import most_wanted
from argen.manifest import Record

ANYHOW = 1.25
"""Jobs per wanted clip of a pool that nobody takes gated: some have no usable source."""


def pool_recipe(experiment: Experiment, name: str, arms: Iterable[Arm], dataset: Dataset) -> Recipe:
    """What makes a pool: the experiment's recipe, what the pool changes, as many clips as its arms take."""
    pool = experiment.gain.pools[name]
    takers = [arm for arm in arms if arm.pool == name]
    have, wanted = dataset.counts("train"), most_wanted(dataset, takers)  # totals count as make_plan does
    tree = experiment.recipe.model_dump(mode="json", exclude={"gain"})
    tree["plan"] |= {"classes": [], "count": None, "budget": None}
    tree["plan"]["strategy"] = {label: have[label] + count for label, count in wanted.items() if count}
    if not any(arm.gated for arm in takers):
        tree["plan"]["tries"] = ANYHOW
    tree["output"]["dropped"] = True
    if pool.adapter:
        adapter = experiment.gain.adapter
        tree["generate"]["adapter"] = str(adapter_file(adapter))
        tuned = adapter_recipe(adapter).get("generate", {})
        if "guidance" in tuned:  # the one that it was tuned with; another would undo its work
            tree["generate"]["guidance"] = tuned["guidance"]
    return load_recipe(settings=_merged(tree, pool.settings))


def pool_folder(experiment: Experiment, name: str, recipe: Recipe) -> Path:
    """A pool's own folder; another recipe makes another pool."""
    return experiment.out / "pools" / f"{name}-{recipe.hash}"


def make_pool(folder: Path, dataset: Dataset, recipe: Recipe) -> None:
    """Generate and judge; goes on where it stopped."""
    for _ in augment(dataset, recipe, folder):
        pass


def is_made(folder: Path) -> bool:
    """Whether nothing is left to do in a pool."""
    summary = folder / "summary.json"
    return summary.is_file() and read_json(summary)["left"] == 0


def read_records(folder: Path) -> list[Record]:
    """Every job of a pool, class by class in the order of its plan."""
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted((Record.from_dict(json.loads(line)) for line in lines), key=lambda r: (r.label, r.index))


def eligible(records: Sequence[Record], label: str, gated: bool, first: int) -> list[Record]:
    """A class's clips that an arm may draw from: the kept ones, or the first that the generator gave."""
    made = [record for record in records if record.label == label and record.file_name]
    return [record for record in made if record.kept][:first] if gated else made[:first]


def draw(
    folder: Path, arm: Arm, seed: int, wanted: Mapping[str, int], pooled: Mapping[str, int]
) -> tuple[list[Clip], dict[str, int]]:
    """The clips that an arm adds with a seed, and how many are missing per class.

    `pooled` is what the pool was made for. Of more clips than are wanted the seed chooses, the same ones for
    every arm that takes the same clips.
    """
    records, clips, short = read_records(folder), list[Clip](), {}
    for label, count in wanted.items():
        there = eligible(records, label, arm.gated, pooled[label])
        clips += [_clip(folder, record) for record in chosen(there, count, seed, label)]
        if len(there) < count:
            short[label] = count - len(there)
    return clips, short


def chosen(items: Sequence[Any], count: int, seed: int, label: str) -> list[Any]:
    """`count` of some items by a seed, in their order; all where there are no more."""
    if len(items) <= count:
        return list(items)
    rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
    return [items[i] for i in sorted(rng.permutation(len(items))[:count].tolist())]


def adapter_hash(path: Path | None) -> str | None:
    """Of the adapter's bytes; None without one."""
    file = adapter_file(path)
    return file_hash(file)[:12] if file else None


def _clip(folder: Path, record: Record) -> Clip:
    extra = MappingProxyType({"synthetic": "true", "source": record.source})
    path = folder / record.file_name
    return Clip(
        f"synthetic/{record.id}",
        record.label,
        "train",
        path,
        "video",
        record.subject,
        record.licence,
        extra=extra,
    )


def _merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `tree`, section by section."""
    merged = dict(tree)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
        )
    return merged
