"""A diffusers checkpoint from a folder or the hub: what it claims is checked before a byte of it is loaded.

A folder may carry `argen.json`, in which a checkpoint states what it was made for:

    {"domain": "puppets", "frames": 17, "sizes": [64], "call": {"frame_rate": 25}, "sha256": {"vae/x": "0a"}}
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from argen.errors import ModelUnavailable, RecipeError, UsageError, did_you_mean

if TYPE_CHECKING:
    import torch

Pipeline = Any
"""A diffusers pipeline; diffusers has no types."""

LENGTHS = ("num_frames", "frames", "video_length")
"""What pipelines call the number of frames."""
SUPPLIED = {"image", "prompt", "height", "width", *LENGTHS}
"""What a caller of a pipeline can always give; an argument beyond these must have a default."""

EMBEDDED = "puppets"
"""The name of the checkpoint that ships with ARGen."""

_PICKLES = {".bin", ".ckpt", ".pkl", ".pt", ".pth"}


class Statement(BaseModel):
    """What a checkpoint says about itself in `argen.json`; all of it optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: str | None = Field(None, description="the only kind of pictures it was trained on")
    frames: int | None = Field(None, ge=1, description="most frames it was trained on")
    sizes: tuple[int, ...] = Field((), description="heights and widths it was trained on")
    call: dict[str, Any] = Field(default_factory=dict, description="call arguments that belong to it")
    sha256: dict[str, str] = Field(default_factory=dict, description="file -> hash")


def load_pipeline(folder: Path, pipeline: type[Pipeline], dtype: torch.dtype) -> Pipeline:
    """The pipeline of a checked folder, frozen, on the CPU. Raises ModelUnavailable if it won't load."""
    from torch import nn

    try:
        with _quiet():
            pipe = pipeline.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, variant=weights_variant(folder)
            )
    except Exception as error:  # whatever a damaged file provokes in four libraries
        raise ModelUnavailable(
            f"{folder}: does not load as {pipeline.__name__}: {_first_line(error)}; copy or download it again"
        ) from error
    for module in pipe.components.values():
        if isinstance(module, nn.Module):
            module.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def locate(model: str | None, revision: str | None, pipeline: str | None) -> tuple[Path, str]:
    """The folder of a model (ours, yours, or fetched from the hub), and what identifies its weights.

    Raises ModelUnavailable if it is not at hand, RecipeError if no model is named.
    """
    if not model:
        raise RecipeError(
            "generate.model: the diffusion generator needs one: a folder or hub id of an image-to-video "
            f"pipeline of diffusers, or {EMBEDDED} (ours); generate.generator=warp needs none"
        )
    if model == EMBEDDED:
        from argen.puppets.checkpoint import folder as embedded

        return embedded(), _digest(embedded())
    folder = Path(model).expanduser()
    if folder.is_file():
        raise ModelUnavailable(f"generate.model: {model} is a file; name the folder with model_index.json")
    if folder.is_dir():
        return folder, _commit(folder) or _digest(folder)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        raise ModelUnavailable(
            f"generate.model: no folder {model}; a hub id is written owner/name, and ours is {EMBEDDED}"
        )
    folder = _fetch(model, revision, pipeline)
    return folder, _commit(folder) or _digest(folder)


def inspect_folder(folder: Path, pipeline: str | None = None) -> tuple[type[Pipeline], Statement]:
    """The pipeline class of a folder and its statement, after every file it needs was seen.

    `pipeline` names another class for the same weights. Raises ModelUnavailable for what is missing,
    changed or unsafe, UsageError for a pipeline that does not turn an image into a video.
    """
    index = _read_json(folder / "model_index.json", "the folder is not a diffusers pipeline")
    chosen = pipeline_class(pipeline or index.get("_class_name"), str(folder))
    for name, entry in index.items():
        if isinstance(entry, list) and entry[0] is not None:
            _check_component(folder / name)
    statement = _statement(folder)
    for name, expected in statement.sha256.items():
        _check_hash(folder / name, expected)
    return chosen, statement


def pipeline_class(name: object, model: str) -> type[Pipeline]:
    """The class of diffusers by that name, if it makes a video from an image and nothing else."""
    import diffusers

    if not isinstance(name, str):
        raise ModelUnavailable(
            f"{model}/model_index.json: names {name!r}; code that comes with a checkpoint is never run"
        )
    chosen = getattr(diffusers, name, None)
    if not (isinstance(chosen, type) and issubclass(chosen, diffusers.DiffusionPipeline)):
        pipelines = [known for known in dir(diffusers) if known.endswith("Pipeline")]
        raise ModelUnavailable(
            f"{model}/model_index.json: diffusers {diffusers.__version__} has no {name}; install a later one"
            f"{did_you_mean(name, pipelines)}"
        )
    problem = unfit(chosen)
    if problem:
        raise UsageError(f"generate.model: {name} {problem}{_way_out(chosen)}")
    return chosen


def unfit(pipeline: type[Pipeline]) -> str | None:
    """Why a pipeline class can't make a video from an image; None if it can. Read from its signature."""
    parameters = inspect.signature(pipeline.__call__).parameters
    if not set(LENGTHS) & set(parameters):
        return "makes no video"
    if "image" not in parameters:
        return "makes videos from text alone, not from an image"
    needed = {name for name, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    beyond = sorted(needed - SUPPLIED - {"self", "args", "kwargs"})
    return f"cannot be called without {', '.join(beyond)}" if beyond else None


def files_hash(paths: Iterator[Path], root: Path) -> str:
    """Hash of the contents and relative names of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(root).as_posix()} {_sha256(path)}\n".encode())
    return total.hexdigest()


def weights_variant(folder: Path) -> str | None:
    """`fp16` where a folder holds only files such as model.fp16.safetensors, else None."""
    names = [path.name for path in folder.glob("*/*.safetensors")]
    variants = {
        match[1] if (match := re.search(r"\.(\w+)(?:-\d+-of-\d+)?\.safetensors$", n)) else None for n in names
    }
    return variants.pop() if len(variants) == 1 else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of two libraries, and as they were afterwards."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    loggings = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
    for log in loggings:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in loggings:
            log.enable_progress_bar()


def _way_out(pipeline: type[Pipeline]) -> str:
    """Names image-to-video classes of the same family, which diffusers keeps in one package."""
    family = importlib.import_module(pipeline.__module__.rpartition(".")[0])
    fit = []
    for name in dir(family):
        cousin = getattr(family, name, None) if name.endswith("Pipeline") else None
        if isinstance(cousin, type) and unfit(cousin) is None:
            fit.append(name)
    if not fit:
        return "; choose an image-to-video checkpoint"
    return (
        f"; choose a checkpoint of {' or '.join(fit)}, or set generate.pipeline={fit[0]} if these weights "
        "were trained for both"
    )


def _fetch(model: str, revision: str | None, pipeline: str | None) -> Path:
    import diffusers
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
    )

    try:
        index = Path(hf_hub_download(model, "model_index.json", revision=revision))
        with suppress(EntryNotFoundError):
            hf_hub_download(model, "argen.json", revision=revision)
        pipeline_class(pipeline or json.loads(index.read_text()).get("_class_name"), model)  # before 30 GB
        return Path(diffusers.DiffusionPipeline.download(model, revision=revision, use_safetensors=True))
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"generate.model: {model} is gated; accept its licence on the hub and log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailable(f"generate.model: the hub has no {model}; is it a folder?") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelUnavailable(
            f"generate.model: {model} is not in the cache and the hub did not give it "
            f"({_first_line(error)}); run `hf download {model}` where there is a network, or name a folder"
        ) from error


def _check_component(folder: Path) -> None:
    if not folder.is_dir() or not any(folder.glob("*.json")):
        raise ModelUnavailable(f"{folder}: missing or without a config, but model_index.json names it")
    if not (folder / "config.json").is_file():
        return  # a scheduler, a tokenizer, a processor: no weights
    shards = [shard for index in folder.glob("*.safetensors.index.json") for shard in _shards(index)]
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise ModelUnavailable(f"{folder}/{missing[0]}: missing; copy or download the checkpoint again")
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise ModelUnavailable(
            f"{pickles[0]}: a pickle, which can run code when loaded; convert the checkpoint to safetensors"
        )
    raise ModelUnavailable(f"{folder}: no .safetensors file; copy or download the checkpoint again")


def _shards(index: Path) -> set[str]:
    return set(_read_json(index, "it lists the shards of a model").get("weight_map", {}).values())


def _statement(folder: Path) -> Statement:
    path = folder / "argen.json"
    if not path.is_file():
        return Statement()
    try:
        return Statement.model_validate(_read_json(path, "it states what the checkpoint is for"))
    except ValidationError as error:
        problem = error.errors()[0]
        raise ModelUnavailable(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def _check_hash(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelUnavailable(f"{path}: missing, but argen.json names it; copy the checkpoint again")
    if _sha256(path) != expected.lower():
        raise ModelUnavailable(
            f"{path}: not the file that argen.json names (its hash differs); copy it again"
        )


def _read_json(path: Path, why: str) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelUnavailable(f"{path}: missing; {why} without it") from error
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path}: cannot be read as JSON: {_first_line(error)}") from error
    if not isinstance(tree, Mapping):
        raise ModelUnavailable(f"{path}: not a JSON object; {why}")
    return dict(tree)


def _commit(folder: Path) -> str | None:
    """The hub's commit, where a folder is a snapshot in the hub's cache."""
    resolved = folder.resolve()
    return (
        resolved.name
        if re.fullmatch(r"[0-9a-f]{40}", resolved.name) and resolved.parent.name == "snapshots"
        else None
    )


def _digest(folder: Path) -> str:
    return f"sha256:{files_hash(folder.rglob('*.safetensors'), folder)}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
