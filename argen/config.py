"""The recipe: every setting of a run, validated at once; a wrong one is named with file and line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from argen import assets
from argen.errors import RecipeError, did_you_mean

SPEED: Final = ("batch", "device", "offload")
"""Settings of `generate` that change no clip."""


class Settings(BaseModel):
    """Base of every section: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetSettings(Settings):
    """How the source folder is read."""

    layout: str = Field("auto", description="auto, or the name of a layout (see `argen list layouts`)")
    fold: int = Field(1, ge=1, le=10, description="fold of a dataset with official folds")
    subjects: str = Field(
        "auto",
        description="auto; column; clip (each clip its own); identity (cluster faces); "
        "or a regular expression on the clip id with a group named subject",
    )
    licence: str = Field(
        "unknown", description="licence of the source clips, where the layout does not know it"
    )


class PlanSettings(Settings):
    """How many clips of which class, made from which sources."""

    classes: tuple[str, ...] = Field((), description="only these classes; empty: all that the strategy names")
    strategy: str | float | dict[str, int] = Field(
        "auto",
        description="imbalanced-learn's sampling_strategy (minority, not minority, not majority, all, auto, "
        "a float, or totals per class), or median, sqrt",
    )
    count: int | None = Field(
        None, ge=1, description="add exactly this many to each class, instead of the strategy"
    )
    max_per_source: int | None = Field(
        None, ge=1, description="at most this many clips of one class from one source"
    )
    budget: int | None = Field(None, ge=1, description="at most this many clips in all, shared in proportion")
    tries: float = Field(
        3.0, ge=1, le=100, description="give up on a class after this many jobs per wanted clip"
    )
    sources: Literal["calm", "same class", "any"] = Field(
        "calm", description="calm: neutral clips, then the class's own; same class; or any training clip"
    )


class FaceSettings(Settings):
    """Which reader measures faces, and where its weights are."""

    reader: Literal["auto", "mediapipe", "pyfeat", "puppet"] = Field("auto", description="measuring backend")
    landmarker: Path | None = Field(None, description="face_landmarker.task, if not in a cache or a package")
    weights: Path | None = Field(None, description="folder of py-feat weights")
    max_frames: int = Field(64, ge=1, description="frames measured per clip, evenly spread over a longer one")


class AffectSettings(Settings):
    """What a clip shall show, and who words it."""

    captions: Literal["template", "vlm"] = Field("template", description="who writes the caption")
    vlm: str | None = Field(None, description="folder or hub id of an image-text-to-text model")
    prompts: Path | None = Field(
        None, description="folder of your own prompts (`argen copy prompts/...`); what is not in it is ours"
    )
    exemplars: int = Field(4, ge=0, le=32, description="exemplars retrieved per job")
    same_subject: bool = Field(False, description="may an exemplar be of the source's own subject")
    enough_clips: int = Field(20, ge=1, description="a class with this many clips teaches its own AU profile")
    intensity: tuple[float, float] = Field((0.6, 1.0), description="range of apex intensity, 0..1")
    blinks: bool = Field(True, description="add blinks")
    head_motion: float = Field(3.0, ge=0, le=20, description="largest head rotation added, degrees")

    @model_validator(mode="after")
    def _fits(self) -> AffectSettings:
        low, high = self.intensity
        if not 0 <= low <= high <= 1:
            raise ValueError("intensity is [least, most] with 0 <= least <= most <= 1")
        if self.captions == "vlm" and not self.vlm:
            raise ValueError("captions: vlm needs a model; name its folder or hub id as affect.vlm")
        if self.vlm and self.captions != "vlm":
            raise ValueError("vlm would not be asked: captions are written by templates; set captions to vlm")
        return self


class GenerateSettings(Settings):
    """How frames are made."""

    generator: Literal["warp", "diffusion"] = Field(
        "warp", description="warp: no weights; diffusion: any I2V model"
    )
    frames: int = Field(32, ge=2, le=1000, description="frames per clip")
    fps: float = Field(16.0, gt=0, le=120, description="frames per second written")
    size: int = Field(256, ge=32, le=2048, description="height and width of the clip, pixels")
    model: str | None = Field(None, description="diffusion: folder or hub id of an image-to-video pipeline")
    revision: str | None = Field(None, description="diffusion: commit of a hub model")
    pipeline: str | None = Field(
        None,
        description="diffusion: pipeline class, where the checkpoint names another that shares its weights",
    )
    adapter: Path | None = Field(None, description="diffusion: LoRA adapter, safetensors")
    steps: int = Field(8, ge=1, le=1000, description="diffusion: denoising steps")
    guidance: float = Field(3.0, ge=0, description="diffusion: classifier-free guidance scale")
    guidance_follows_intensity: bool = Field(
        False, description="diffusion: per-frame guidance along the target"
    )
    neighbour_weight: float = Field(0.0, ge=0, le=1, description="diffusion: neighbour-conditioned estimate")
    negative_prompt: str = Field("", description="diffusion: what not to show")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="diffusion: weights in"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    offload: Literal["none", "model", "sequential"] = Field("none", description="diffusion: CPU offload")
    batch: int = Field(4, ge=1, description="diffusion: clips per call; halved when memory runs out")
    extra: dict[str, Any] = Field(
        default_factory=dict, description="diffusion: further call arguments, by name"
    )


class GateSettings(Settings):
    """What a clip must reach to be kept, 0..1; `argen gate calibrate` measures real clips."""

    one_face: float = Field(0.9, ge=0, le=1, description="least share of frames with exactly one face")
    identity: float = Field(
        0.5, ge=0, le=1, description="least identity score: 1 same, 0.5 at the reader's limit"
    )
    requested: float = Field(
        0.15, ge=0, le=1, description="least share of the requested AU change that is seen"
    )
    unrequested: float = Field(
        0.5, ge=0, le=1, description="least score for AUs that were not asked for staying put"
    )
    expression: float = Field(0.5, ge=0, le=1, description="least score of moving toward the label")
    smooth: float = Field(0.5, ge=0, le=1, description="least temporal smoothness, against real clips")
    alive: float = Field(0.2, ge=0, le=1, description="least motion, against the target's")
    sharp: float = Field(0.5, ge=0, le=1, description="least sharpness against the source")
    distinct: float = Field(0.3, ge=0, le=1, description="least distance to any kept clip of the class")
    anomaly: float = Field(0.0, ge=0, le=1, description="least conformal p-value of CIF; 0 switches it off")


class OutputSettings(Settings):
    """What is written."""

    real: Literal["link", "copy"] = Field(
        "link", description="real clips: hard links where possible, or copies"
    )
    dropped: bool = Field(True, description="keep the files of dropped clips under OUT/dropped")
    quality: int = Field(18, ge=0, le=51, description="x264 constant rate factor; 0 is lossless")


class Recipe(Settings):
    """Everything that decides what a run makes."""

    seed: int = Field(
        0, ge=0, description="seed of the run; a job's own seed is derived from it and the job's id"
    )
    dataset: DatasetSettings = DatasetSettings()
    plan: PlanSettings = PlanSettings()
    face: FaceSettings = FaceSettings()
    affect: AffectSettings = AffectSettings()
    generate: GenerateSettings = GenerateSettings()
    gate: GateSettings = GateSettings()
    output: OutputSettings = OutputSettings()

    def deciding(self) -> dict[str, Any]:
        """The settings as plain data, without those that change speed only."""
        tree: dict[str, Any] = self.model_dump(mode="json")
        for name in SPEED:
            del tree["generate"][name]
        return tree

    @property
    def hash(self) -> str:
        """Twelve hex digits that change whenever a deciding setting does."""
        text = json.dumps(self.deciding(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


R = TypeVar("R", bound=Recipe)


def load_recipe(
    path: Path | str | None = None,
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    kind: type[R] = Recipe,  # type: ignore[assignment]
) -> R:
    """A recipe from a YAML file, then `settings`, then `key=value` overrides; each overrules what is before.

    `kind` is a recipe with more sections.

    Raises RecipeError that lists every mistake, each with its file and line or its flag.
    """
    where = Path(path) if path is not None else None
    tree, lines = _read_yaml(where) if where else ({}, {})
    origin: dict[tuple[str, ...], str] = {}
    for key, value in _leaves(settings or {}):
        _put(tree, key, value)
    problems: list[str] = []
    for override in overrides:
        text, equals, value_text = override.partition("=")
        if not equals:
            problems.append(f"--set {override}: write it as key=value, for example generate.steps=40")
            continue
        key = tuple(text.strip().split("."))
        try:
            _put(tree, key, yaml.safe_load(value_text))
        except (yaml.YAMLError, TypeError) as error:
            problems.append(f"--set {override}: {str(error).splitlines()[0]}")
        origin[key] = f"--set {text}"
    try:
        recipe = kind.model_validate(tree)
    except ValidationError as error:
        problems += _explain_all(error, where, lines, origin, kind)
    else:
        if not problems:
            return recipe
    raise RecipeError("\n".join(problems))


def preset_file(name: str) -> Path:
    """The file of a preset. Raises RecipeError with the presets that exist."""
    known = [key.removeprefix("augment/") for key in assets.names("configs") if key.startswith("augment/")]
    if name not in known:
        raise RecipeError(f"--preset: no '{name}'{did_you_mean(name, known)}")
    return assets.find("configs", f"augment/{name}")


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`generate.steps: 8 -> 40` for every setting that differs between two dumped recipes."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = sorted(set(before) | set(after))
    return [
        f"{'.'.join(k)}: {before.get(k)} -> {after.get(k)}" for k in keys if before.get(k) != after.get(k)
    ]


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}:1: a recipe is a mapping of settings, not a {type(tree).__name__}")
    return tree, dict(_key_lines(node))


def _key_lines(node: yaml.Node | None, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*prefix, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _key_lines(value, path)


def _leaves(tree: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*prefix, str(key)))
        else:
            yield (*prefix, str(key)), value


def _put(tree: dict[str, Any], key: tuple[str, ...], value: object) -> None:
    for part in key[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise TypeError(f"'{part}' is a value, not a section")
    tree[key[-1]] = value


def _explain_all(
    error: ValidationError,
    path: Path | None,
    lines: Mapping[tuple[str, ...], int],
    origin: Mapping[tuple[str, ...], str],
    kind: type[Recipe],
) -> list[str]:
    """One line a mistake: a value that fits no branch of a union is one mistake, not three."""
    said: dict[str, str] = {}
    for item in error.errors():
        place, key, what = _explain(item, path, lines, origin, kind)
        known = said.get(f"{place}: {key}")
        said[f"{place}: {key}"] = f"{known}, or {what[0].lower()}{what[1:]}" if known else what
    return [f"{where}: {what}" for where, what in said.items()]


def _explain(
    item: Mapping[str, Any],
    path: Path | None,
    lines: Mapping[tuple[str, ...], int],
    origin: Mapping[tuple[str, ...], str],
    kind: type[Recipe],
) -> tuple[str, str, str]:
    """Place, key and mistake of one error."""
    key = tuple(str(part) for part in item["loc"])
    while key and key not in lines and key not in origin and len(key) > 1:
        key = key[:-1]  # a union's branch or a list index is not a key of the file
    if item["type"] == "extra_forbidden":
        key = tuple(str(part) for part in item["loc"])
        what = f"unknown key{did_you_mean(key[-1], _known_keys(key[:-1], kind))}"
    elif item["type"] == "value_error":
        what = str(item["ctx"]["error"])
    else:
        what = f"{item['msg']} (got {item['input']!r})"
    place = origin.get(key) or (f"{path}:{lines[key]}" if path and key in lines else "recipe")
    return place, ".".join(key), what


def _known_keys(section: tuple[str, ...], kind: type[Recipe]) -> list[str]:
    model: type[BaseModel] = kind
    for part in section:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
