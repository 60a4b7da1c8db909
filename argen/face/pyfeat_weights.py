"""Where py-feat's weights are: a folder of the recipe, py-feat's own variables, the hub's cache, the hub.

Files are looked for by the names they have on the hub. The detector is the one that may lack: MediaPipe
can say where the faces are. py-feat is not imported here.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from argen.errors import ModelUnavailable

log = logging.getLogger(__name__)

Part = Literal["multitask", "identity", "detector"]

LICENCE: Final = "its licence allows no commercial use"


@dataclass(frozen=True)
class HubFile:
    """One file of py-feat's on the hub, and py-feat's variable that names a local copy."""

    repo: str
    file: str
    variable: str = ""
    local: str = ""  # what the file is called in a folder, where the hub's name says nothing


FILES: Final[dict[Part, HubFile]] = {
    "multitask": HubFile(
        "py-feat/face_multitask_v2", "face_multitask_v28.safetensors", "FEAT_MULTITASK_WEIGHTS"
    ),
    "identity": HubFile("py-feat/arcface_r50", "arcface_r50.safetensors", "FEAT_ARCFACE_R50_PATH"),
    "detector": HubFile("py-feat/retinaface_r34", "model.safetensors", local="retinaface_r34.safetensors"),
}


@dataclass(frozen=True)
class PyfeatWeights:
    """The files that were found.

    Without `identity` tracks have no embedding; without `detector` MediaPipe says where the faces are.
    """

    multitask: Path
    identity: Path | None
    detector: Path | None


def at_hand(folder: Path | None = None) -> bool:
    """Whether py-feat can be used without the network."""
    return _local("multitask", folder) is not None


def find(folder: Path | None = None, *, download: bool = True) -> PyfeatWeights:
    """The files, from the folder or from wherever they are.

    Raises ModelUnavailable when the multitask network is nowhere to be had, or the folder lacks it.
    """
    if folder is not None and _in_folder("multitask", folder) is None:
        raise ModelUnavailable(f"face.weights: no {FILES['multitask'].file} in {folder}; {_remedy()}")
    found = {part: _local(part, folder) for part in FILES}
    if download and folder is None:
        found = {part: path or _from_hub(part) for part, path in found.items()}
    multitask = found["multitask"]
    if multitask is None:
        raise ModelUnavailable(f"py-feat's {FILES['multitask'].file} is not at hand; {_remedy()}")
    return PyfeatWeights(multitask, found["identity"], found["detector"])


def _local(part: Part, folder: Path | None) -> Path | None:
    if folder is not None:
        return _in_folder(part, folder)
    hub = FILES[part]
    named = os.environ.get(hub.variable, "") if hub.variable else ""
    if named:
        return Path(named) if Path(named).is_file() else None
    return _in_hub_cache(hub)


def _in_folder(part: Part, folder: Path) -> Path | None:
    """By its own name, or in a folder named like its repository."""
    hub = FILES[part]
    options = (folder / (hub.local or hub.file), folder / hub.repo.partition("/")[2] / hub.file)
    return next((path for path in options if path.is_file()), None)


def _in_hub_cache(hub: HubFile) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    path = try_to_load_from_cache(hub.repo, hub.file)
    return Path(path) if isinstance(path, str) else None


def _from_hub(part: Part) -> Path | None:
    """Downloaded now; None for a part that may lack."""
    hub = FILES[part]
    try:
        from huggingface_hub import hf_hub_download

        log.warning("downloading %s of py-feat: %s", hub.file, LICENCE)
        return Path(hf_hub_download(hub.repo, hub.file))
    except (ImportError, OSError, ValueError) as error:
        if part != "multitask":
            log.warning("%s could not be had: %s", hub.file, type(error).__name__)
            return None
        raise ModelUnavailable(
            f"{hub.repo} could not be reached ({type(error).__name__}); {_remedy()}"
        ) from error


def _remedy() -> str:
    files = ", ".join(f"{hub.repo}/{hub.file}" for hub in FILES.values())
    return (
        f"download {files} from the Hugging Face hub ({LICENCE}) into one folder and name it as "
        "face.weights, or set face.reader to mediapipe"
    )
