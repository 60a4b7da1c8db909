"""The `gain` section of a recipe: the world, what clips are made, the arms, and what the verdict compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from argen.config import Recipe, Settings
from argen.errors import did_you_mean

REAL: Final = "real"
"""The pool of further real clips, of other people: what the ceiling adds."""


class WorldSettings(Settings):
    """Where the real clips come from. One world an experiment; seeds vary the training and the draw."""

    data: Path | None = Field(
        None, description="your own folder of clips, with a test split; empty: a puppet world is drawn"
    )
    profile: str = Field("dfew", description="whose class counts")
    scale: float = Field(0.07, gt=0, description="times its counts")
    seed: int = Field(0, ge=0, le=1000, description="of the puppet world")
    test_per_class: int = Field(120, ge=1, description="test clips of every class")
    difficulty: float = Field(0.4, ge=0, le=1, description="fainter and more often blended expressions")
    label_noise: float = Field(0.0, ge=0, le=1, description="share of training labels moved to a neighbour")
    domain: Literal["lab", "wild"] = Field("lab", description="clean, or occluded, blurred, dark")
    size: int = Field(64, ge=32, le=512, description="pixels")


class PoolSettings(Settings):
    """Clips made by one generator, shared by the arms that use it."""

    adapter: bool = Field(False, description="with gain.adapter; without one, the arms are not run")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="sections of the recipe that differ, such as generate"
    )


class ArmSettings(Settings):
    """One way to train the recogniser."""

    title: str = Field("", description="how the report calls it")
    pool: str | None = Field(None, description="what is added: a pool, or 'real' (further real clips)")
    gated: bool = Field(
        True, description="only clips that the gate kept; false: the pool's first clips as they are"
    )
    real: bool = Field(True, description="the real training clips; false: synthetic clips alone (CAS)")
    share: float | None = Field(
        None, ge=0, le=4, description="share of each class's distance to the largest that is filled"
    )
    per_class: int | None = Field(None, ge=1, description="this many of every class, instead of a share")
    recogniser: dict[str, Any] = Field(default_factory=dict, description="settings that differ")

    @model_validator(mode="after")
    def _learns(self) -> ArmSettings:
        if not self.real and (self.pool is None or self.per_class is None):
            raise ValueError("an arm without real clips needs a pool and per_class")
        return self


class SweepSettings(Settings):
    """Mixing ratios of one arm."""

    arms: tuple[str, ...] = Field((), description="the first of these that can be run is swept")
    shares: tuple[float, ...] = Field((0.0, 0.25, 0.5, 1.0), description="shares to fill")


class VerdictSettings(Settings):
    """Named before the run, so that the best of many is not taken for the rule."""

    baseline: str = Field("real_only", description="what is to be improved")
    ceiling: str = Field("ceiling", description="the same number of real clips")
    rivals: tuple[str, ...] = Field(
        ("oversampling", "logit_adjustment", "ldam"), description="what needs no generator"
    )
    candidates: tuple[str, ...] = Field((), description="the arm judged: the first of these that was run")


class GainSettings(Settings):
    """An experiment."""

    world: WorldSettings = WorldSettings()
    seeds: tuple[int, ...] = Field((0, 1, 2, 3, 4), min_length=1, description="of training and draw")
    share: float = Field(0.5, ge=0, le=4, description="share that arms fill which say nothing else")
    adapter: Path | None = Field(None, description="adapter.safetensors of pipelines/tune.py, or its folder")
    recogniser: dict[str, Any] = Field(default_factory=dict, description="settings of every arm's recogniser")
    pools: dict[str, PoolSettings] = Field(default_factory=dict, description="what is generated")
    arms: dict[str, ArmSettings] = Field(default_factory=dict, description="what is compared")
    sweep: SweepSettings = SweepSettings()
    verdict: VerdictSettings = VerdictSettings()

    @field_validator("seeds")
    @classmethod
    def _once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value) or min(value) < 0:
            raise ValueError("seeds are different numbers from 0")
        return value

    @model_validator(mode="after")
    def _fits(self) -> GainSettings:
        if REAL in self.pools:
            raise ValueError(f"pools: '{REAL}' means further real clips; choose another name")
        for name, arm in self.arms.items():
            if "@" in name or "/" in name or name.startswith("."):
                raise ValueError(f"arms: '{name}' becomes a folder; write it without @, / and leading dot")
            if arm.pool is not None and arm.pool != REAL and arm.pool not in self.pools:
                known = ", ".join([*self.pools, REAL])
                raise ValueError(f"arms: {name}: no pool '{arm.pool}'; known: {known}")
        unknown = [name for name in self._named() if self.arms and name not in self.arms]
        if unknown:
            raise ValueError(f"no arm '{unknown[0]}'{did_you_mean(unknown[0], self.arms)}")
        return self

    def _named(self) -> list[str]:
        """Arms that must be there: those of the verdict and the sweep, less rivals and ceiling by default."""
        rule, default = self.verdict, VerdictSettings()
        compared = {rule.ceiling, *rule.rivals} - {default.ceiling, *default.rivals}
        return [rule.baseline, *rule.candidates, *self.sweep.arms, *sorted(compared)]


class GainRecipe(Recipe):
    """A recipe with a `gain` section; the other sections say how clips are made and judged."""

    gain: GainSettings = GainSettings()
