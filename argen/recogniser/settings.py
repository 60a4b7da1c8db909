"""Everything that decides what a recogniser becomes; one frozen object, one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import yaml

from argen.errors import RecipeError, did_you_mean

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "tuning": ("full", "lora", "frozen"),
    "streams": ("both", "prompts", "aggregator", "baseline"),
    "balance": ("none", "oversample", "effective_number"),
    "loss": ("cross_entropy", "focal", "ldam_drw", "logit_adjustment"),
    "augment": ("none", "classic"),
    "precision": ("float32", "bfloat16"),
    "device": ("auto", "cpu"),
}
SMALL: Final = "small"


@dataclass(frozen=True)
class Settings:
    """Model and training. The defaults are the small world's: one core, about a minute.

    Change a copy with `dataclasses.replace`. Raises RecipeError that lists every mistake.
    """

    tower: str = SMALL  # "small": from scratch; else a CLIP of transformers: folder or hub id
    revision: str | None = None  # commit of a hub CLIP
    tuning: str = "full"  # of the vision tower: full, lora, frozen; the text tower of a CLIP stays frozen
    lora_rank: int = 8
    streams: str = "both"  # prompts: Hierarchical Temporal Prompt Cluster; aggregator: Latent Semantic ...
    size: int = 64  # pixels; a CLIP's own size overrules it
    frames: int = 8  # of a clip, evenly spread; drawn within their segments in training
    width: int = 96  # of frame tokens in the small tower; a CLIP's projection overrules it
    depth: int = 1  # layers of the temporal transformer
    heads: int = 4
    prompts: int = 4  # a node of the cluster
    latents: int = 8  # concept queries of the aggregator
    level_weights: tuple[float, float, float] = (1.0, 0.5, 0.25)  # alignment: clip, phases, windows
    concept_weight: float = 3.0  # of the loss that ties the aggregator's concepts to the class's Action Units
    fusion: float = 0.5  # share of the prompts' logits in the sum of both streams
    steps: int = 300  # schedule in steps: synthetic clips must not buy a longer training
    batch: int = 32  # clips
    rate: float = 2e-3  # of new layers
    tower_rate: float = 2e-3  # of the vision tower; 1e-5 is usual for a CLIP
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the steps
    balance: str = "none"  # oversample: classes equally often; effective_number: loss weights (Cui 2019)
    beta: float = 0.999  # of the effective number of samples
    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    ldam_margin: float = 0.5  # of the rarest class
    ldam_scale: float = 10.0
    drw_from: float = 0.75  # share of the steps after which LDAM re-weights classes
    tau: float = 1.0  # of logit adjustment
    augment: str = "none"  # classic: mirror, shift, scale, light, erased patch; the same for a clip's frames
    mixup: float = 0.0  # alpha of the Beta distribution; 0: off
    synthetic_weight: float = 1.0  # of a synthetic clip in the loss
    validation: float = 0.1  # share of the training subjects that is set aside; 0: none
    evaluate_every: int = 0  # steps between looks at validation; 0: at the end only
    checkpoint_every: int = 100  # steps
    precision: str = "float32"
    device: str = "auto"  # what accelerate finds; CUDA_VISIBLE_DEVICES chooses among several
    seed: int = 0

    def __post_init__(self) -> None:
        mistakes = [*_unknown_choices(self), *_out_of_range(self)]
        if self.width % self.heads:
            mistakes.append(f"width: {self.width} cannot be divided by {self.heads} heads")
        if mistakes:
            raise RecipeError("\n".join(mistakes))

    @property
    def small(self) -> bool:
        """Whether the tower is trained from scratch."""
        return self.tower == SMALL

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for YAML and JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "recogniser") -> Settings:
        """Defaults, overruled by `values`. Raises RecipeError for unknown names and wrong types."""
        known = {field.name for field in fields(cls)}
        mistakes = [
            f"{where}: {name}: unknown key{did_you_mean(name, known)}" for name in values if name not in known
        ]
        hints = get_type_hints(cls)
        good: dict[str, Any] = {}
        for name in known & set(values):
            try:
                good[name] = _as_type(values[name], hints[name])
            except (TypeError, ValueError):
                kind = getattr(hints[name], "__name__", str(hints[name]))
                mistakes.append(f"{where}: {name}: {values[name]!r} is no {kind}")
        if mistakes:
            raise RecipeError("\n".join(mistakes))
        return replace(cls(), **good)

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Settings:
        """Settings of a YAML file, then `overrides`. Raises RecipeError."""
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not YAML: {str(error).splitlines()[0]}") from error
        if not isinstance(tree, dict):
            raise RecipeError(f"{path}: settings are a mapping, not a {type(tree).__name__}")
        return cls.from_dict({**tree, **(overrides or {})}, str(path))

    def write(self, path: Path) -> None:
        """All settings as YAML."""
        path.write_text(yaml.safe_dump(self.as_dict(), sort_keys=False), encoding="utf-8")


def _as_type(value: object, hint: Any) -> Any:  # noqa: ANN401 (a type hint)
    if hint is str or type(None) in get_args(hint):
        if not isinstance(value, str) and not (value is None and hint is not str):
            raise TypeError
        return value
    if get_args(hint):  # a tuple of floats
        if not isinstance(value, (list, tuple)) or len(value) != len(get_args(hint)):
            raise TypeError
        return tuple(float(item) for item in value)
    if isinstance(value, bool) or (hint is int and float(value) != int(value)):  # type: ignore[arg-type, call-overload]
        raise TypeError
    return hint(value)


def _unknown_choices(settings: Settings) -> list[str]:
    return [
        f"{name}: no '{getattr(settings, name)}'{did_you_mean(getattr(settings, name), known)}"
        for name, known in CHOICES.items()
        if getattr(settings, name) not in known
    ]


def _out_of_range(settings: Settings) -> list[str]:
    least = dict.fromkeys(
        ("size", "frames", "width", "depth", "heads", "prompts", "latents", "steps", "batch", "lora_rank"),
        1.0,
    )
    least |= dict.fromkeys(
        ("seed", "evaluate_every", "rate", "tower_rate", "weight_decay", "focal_gamma", "tau", "mixup"), 0.0
    )
    least |= {"checkpoint_every": 1.0, "synthetic_weight": 0.0, "concept_weight": 0.0, "ldam_margin": 0.0}
    low = [f"{name}: {getattr(settings, name)} is below {bound:g}" for name, bound in least.items()
           if not getattr(settings, name) >= bound]  # fmt: skip
    shares = [name for name in ("fusion", "warmup", "drw_from") if not 0 <= getattr(settings, name) <= 1]
    half_open = [name for name in ("beta", "validation") if not 0 <= getattr(settings, name) < 1]
    return low + [f"{name}: {getattr(settings, name)} is not within 0..1" for name in shares + half_open]
