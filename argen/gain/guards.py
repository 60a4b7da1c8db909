"""What makes a measurement worthless, refused before it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from argen.config import DatasetSettings
from argen.dataset.clip import Clip
from argen.dataset.read import read_dataset
from argen.errors import ArgenError, DatasetError, UsageError
from argen.gain.arms import adapter_recipe
from argen.recogniser.predict import Predictions
from argen.recogniser.settings import Settings


def check_training(training: Sequence[Clip], test: Sequence[Clip], classes: Sequence[str], arm: str) -> None:
    """Refuse training clips that are held out, or of people in the test split, and classes without clips."""
    held_out = [clip.id for clip in training if clip.split != "train"]
    if held_out:
        raise DatasetError(f"{arm}: '{held_out[0]}' is held out and would be trained on")
    shared = sorted({clip.subject for clip in training} & {clip.subject for clip in test})
    if shared:
        raise DatasetError(
            f"{arm}: {len(shared)} people are in training and in the test split ({shared[0]}, ...); "
            "split by subject, or name another world"
        )
    missing = sorted(set(classes) - {clip.label for clip in training})
    if missing:
        raise DatasetError(f"{arm}: no training clips of '{missing[0]}'; a recogniser cannot learn it")


def check_order(found: Predictions, classes: Sequence[str], where: Path) -> None:
    """Refuse predictions whose classes stand in another order than the experiment's. Raises UsageError."""
    if found.classes != tuple(classes):
        raise UsageError(
            f"{where}: its classes are {', '.join(found.classes)}, the experiment's {', '.join(classes)}; "
            "the order of labels differs, so the columns cannot be compared; delete this run"
        )


def check_independent(scored: Settings, loop: Mapping[str, str], arm: str) -> None:
    """Refuse to score a recogniser that helped to choose or to make its own training clips.

    `loop` is name -> hash of what generated, gated and rewarded (`in_the_loop`). One that is trained from
    scratch is new by construction; a tower that is loaded is compared by name and by content.
    """
    if scored.small:
        return
    folder = Path(scored.tower)
    files = list(folder.rglob("*.safetensors")) if folder.is_dir() else []
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in files}
    for name, digest in loop.items():
        if scored.tower in {name, digest} or digest in hashes:
            raise UsageError(
                f"{arm}: the recogniser that is scored, '{scored.tower}', is also in the gate or the reward "
                f"('{name}'); score with another, or judge with another"
            )


def in_the_loop(models: Mapping[str, Any], adapter: Path | None) -> dict[str, str]:
    """Everything that made, judged or rewarded a pool's clips: name -> hash, or name again without one."""
    reader, generator = models["reader"], models["generator"]
    found = {str(reader["name"]): str(reader["name"]), **reader["weights"]}
    found |= {str(generator.get("model", generator["generator"])): str(generator.get("revision", ""))}
    tuned = tuning_of(adapter)
    for section in ("rewards", "gates", "judge"):
        found |= {name: name for name in tuned.get(section, {})}
    return {name: str(digest) for name, digest in found.items()}


def check_adapter(adapter: Path | None, test: Sequence[Clip]) -> str:
    """Refuse an adapter that was tuned on people of the test split; else say what is known, in words."""
    data = tuning_of(adapter).get("data")
    if data is None:
        return "the adapter does not say what it was tuned on" if adapter else ""
    try:  # as tuning read it: another fold, or another way to name people, is another training split
        asked = DatasetSettings(**adapter_recipe(adapter).get("dataset", {}))
        dataset = read_dataset(Path(data), asked)
    except ValueError:  # pydantic's: of a version with other settings
        return "the adapter's dataset settings are of another version, so its people could not be compared"
    except ArgenError:
        return "the adapter's training folder is not here, so its people could not be compared"
    people = {clip.subject for clip in dataset.train}
    shared = sorted(people & {clip.subject for clip in test})
    if shared:
        raise DatasetError(
            f"gain.adapter: tuned on {len(shared)} people of the test split ({shared[0]}, ...); "
            "tune it on the training fold"
        )
    if dataset.subjects_from == "clip":
        return "who is in the adapter's training clips is unknown, so a person may be in the test split too"
    return f"the adapter was tuned on {len(people)} people, none of them in the test split"


def tuning_of(adapter: Path | None) -> dict[str, Any]:
    """The `tune` section that an adapter's folder remembers; empty where it does not."""
    return dict(adapter_recipe(adapter).get("tune", {}))
