"""What is compared: the arms of an experiment with every default filled in, and the ratios of the sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from argen.errors import UsageError, did_you_mean
from argen.gain.settings import REAL, ArmSettings, GainSettings
from argen.recogniser.settings import Settings


@dataclass(frozen=True)
class Arm:
    """One way to train. Two arms that differ in name and title only are one."""

    name: str
    title: str
    pool: str | None
    gated: bool
    real: bool
    share: float
    per_class: int | None
    settings: Settings  # of the recogniser; its seed is the run's

    @property
    def adds(self) -> bool:
        """Whether it trains on clips that the dataset does not have."""
        return self.pool is not None and (self.share > 0 or self.per_class is not None)

    def wanted(self, have: Mapping[str, int]) -> dict[str, int]:
        """Clips to add per class. The same for every arm of a share, whatever adds them."""
        if not self.adds:
            return dict.fromkeys(have, 0)
        if self.per_class is not None:
            return dict.fromkeys(have, self.per_class)
        largest = max(have.values())
        return {label: round(self.share * (largest - count)) for label, count in have.items()}

    def described(self) -> dict[str, Any]:
        """All that decides its runs, but the seed and the clips themselves."""
        return {
            "pool": self.pool if self.adds else None,
            "gated": self.gated if self.adds and self.pool != REAL else None,
            "real": self.real,
            "share": self.share if self.adds and self.per_class is None else None,
            "per_class": self.per_class,
            "recogniser": {k: v for k, v in self.settings.as_dict().items() if k not in {"seed", "device"}},
        }


def arms_of(gain: GainSettings) -> dict[str, Arm]:
    """The arms of the file, in its order. Raises RecipeError for wrong settings of a recogniser."""
    return {name: _arm(name, arm, gain) for name, arm in gain.arms.items()}


def sweep_of(gain: GainSettings) -> list[Arm]:
    """The swept arm at every share; where an arm of the file is the same thing, that one."""
    arms = arms_of(gain)
    swept = next((arms[name] for name in gain.sweep.arms if why_not(arms[name], gain) is None), None)
    if swept is None:
        return []
    return [_at_share(swept, share, arms) for share in sorted(gain.sweep.shares)]


def every_arm(gain: GainSettings) -> dict[str, Arm]:
    """Arms and sweep, each once."""
    return arms_of(gain) | {arm.name: arm for arm in sweep_of(gain)}


def why_not(arm: Arm, gain: GainSettings) -> str | None:
    """Why an arm cannot be run here, or None."""
    if arm.adds and arm.pool == REAL and gain.world.data is not None:
        return "no further real clips exist for a folder of your own"
    if arm.adds and arm.pool in gain.pools and gain.pools[arm.pool].adapter and gain.adapter is None:
        return "no adapter: name one as gain.adapter (pipelines/tune.py makes it)"
    return None


def choose(names: list[str] | None, arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """Some arms by name. Raises UsageError for one that the file does not have."""
    for name in names or ():
        if name not in arms:
            raise UsageError(f"--arms: no '{name}'{did_you_mean(name, arms)}")
    return {name: arm for name, arm in arms.items() if not names or name in names}


def adapter_file(path: Path | None) -> Path | None:
    """The adapter of a recipe: a file, or the folder that pipelines/tune.py wrote. Raises UsageError."""
    if path is None:
        return None
    file = path / "adapter.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"gain.adapter: {file}: no such file; leave it out to go without the tuned arms")
    return file


def adapter_recipe(path: Path | None) -> dict[str, Any]:
    """The recipe that an adapter's folder remembers; empty where it does not."""
    file = adapter_file(path)
    recipe = file.with_name("recipe.json") if file else None
    if recipe is None or not recipe.is_file():
        return {}
    found: dict[str, Any] = json.loads(recipe.read_text(encoding="utf-8"))
    return found


def _arm(name: str, arm: ArmSettings, gain: GainSettings) -> Arm:
    settings = Settings.from_dict({**gain.recogniser, **arm.recogniser}, f"gain.arms.{name}")
    share = gain.share if arm.share is None else arm.share
    title = arm.title or name.replace("_", " ")
    return Arm(name, title, arm.pool, arm.gated, arm.real, share, arm.per_class, settings)


def _at_share(swept: Arm, share: float, arms: Mapping[str, Arm]) -> Arm:
    arm = replace(swept, name=f"{swept.name}@{share:g}", title=f"{swept.title}, share {share:g}", share=share)
    return next((other for other in arms.values() if other.described() == arm.described()), arm)
