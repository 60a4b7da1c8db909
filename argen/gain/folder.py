"""Where everything of an experiment lies, and that what is begun is gone on with only as it was begun.

OUT/world/                    the puppet world, where the recipe names no folder
OUT/extra/                    further real clips, of other people: the ceiling's
OUT/pools/NAME-HASH/          an output of `argen.augment`, dropped clips too: its own report is inside
OUT/frames/                   decoded clips, shared by all runs
OUT/arms/ARM/seed-N/          begun.json, predictions.csv, result.json (written last)
OUT/gain.json  OUT/report.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argen.config import differing_keys
from argen.errors import UsageError
from argen.gain.arms import Arm
from argen.gain.settings import GainRecipe, GainSettings
from argen.run import write_atomically


@dataclass(frozen=True)
class Experiment:
    """A recipe and the folder that it fills."""

    out: Path
    recipe: GainRecipe

    @property
    def gain(self) -> GainSettings:
        """The recipe's own section."""
        return self.recipe.gain

    @property
    def world(self) -> Path:
        """The real clips."""
        return self.gain.world.data or self.out / "world"

    @property
    def extra(self) -> Path:
        """Further real clips."""
        return self.out / "extra"

    def run(self, arm: Arm, seed: int) -> Run:
        """One training of one arm."""
        return Run(self.out / "arms" / arm.name / f"seed-{seed}", arm, seed)


@dataclass(frozen=True)
class Run:
    """One arm with one seed: its folder."""

    folder: Path
    arm: Arm
    seed: int

    @property
    def done(self) -> bool:
        """Whether it was finished, by whomever."""
        return self.result.is_file()

    @property
    def begun(self) -> Path:
        """What it was begun with."""
        return self.folder / "begun.json"

    @property
    def result(self) -> Path:
        """What it came to; written last."""
        return self.folder / "result.json"

    @property
    def predictions(self) -> Path:
        """What it says of the test split, as CSV that anyone can score again."""
        return self.folder / "predictions.csv"


def begin(path: Path, described: Mapping[str, Any], what: str) -> None:
    """Write down what is begun, or refuse to go on with something else. Raises UsageError."""
    now = json.loads(json.dumps(described, default=str))
    if not path.is_file():
        write_json(path, now)
        return
    changed = differing_keys(json.loads(path.read_text(encoding="utf-8")), now)
    if changed:
        raise UsageError(
            f"{what}: was begun with other settings ({'; '.join(changed[:5])}); put them back, "
            f"name another folder, or delete {path.parent}"
        )


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Readable, and whole or not at all."""
    write_atomically(path, json.dumps(tree, indent=1, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote."""
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return tree
