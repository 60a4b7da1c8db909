"""What this machine has, what it lacks, and how to mend it. Nothing is downloaded or changed."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from argen.errors import EnvironmentFault
from argen.versions import versions

LEAST_DISK_GB: Final = 1.0
PACKAGES: Final = {
    "mediapipe": ("faces without a GPU", "faces"),
    "dlib": ("identity of faces", "faces"),
    "feat": ("Action Units", "faces"),
    "torch": ("diffusion, tuning, recogniser", "diffusion"),
    "diffusers": ("diffusion", "diffusion"),
    "transformers": ("captions by a model, text encoders", "diffusion"),
    "trl": ("reward tuning", "tune"),
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `needed`: the main job on real faces cannot do without it."""

    name: str
    well: bool
    says: str
    remedy: str = ""
    needed: bool = False

    @property
    def mark(self) -> str:
        """How it stands, in one sign."""
        return "ok" if self.well else ("!!" if self.needed else "--")

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def examine() -> list[Finding]:
    """Everything ARGen may need, in the order of a run."""
    return [*_machine(), *_packages(), _ffmpeg(), *_models(), *_devices()]


def _machine() -> Iterator[Finding]:
    yield Finding("system", True, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    found = ", ".join(f"{name} {number}" for name, number in versions().items())
    yield Finding("versions", True, found)
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Finding("disk", free >= LEAST_DISK_GB, f"{free:,.0f} GB free here", "free some space", needed=True)


def _packages() -> Iterator[Finding]:
    for package, (purpose, extra) in PACKAGES.items():
        there = find_spec(package) is not None
        says = f"for {purpose}" if there else f"not installed; for {purpose}"
        remedy = "" if there else f"pip install 'argen[{extra}]'"
        yield Finding(package, there, says, remedy, needed=extra == "faces")


def _ffmpeg() -> Finding:
    from argen.dataset.video import ffmpeg

    try:
        return Finding("ffmpeg", True, ffmpeg(), needed=True)
    except EnvironmentFault as error:
        what, _, remedy = str(error).partition("; ")
        return Finding("ffmpeg", False, what, remedy, needed=True)


def _models() -> Iterator[Finding]:
    from argen.face.models import survey

    for model in survey():
        if model.path is None:
            yield Finding(
                model.name, False, f"{model.file} not at hand", model.remedy, needed=model.name != "judge"
            )
            continue
        says = f"{model.source}: {model.path} (sha256 {model.sha256[:12]})"
        well = model.expected or model.source == "recipe"
        yield Finding(
            model.name, well, says, "" if well else f"not the file we know; {model.remedy}", needed=True
        )


def _devices() -> Iterator[Finding]:
    if find_spec("torch") is None:
        return
    import torch

    if not torch.cuda.is_available():
        yield Finding(
            "gpu", False, "none: warp and the embedded model run on the CPU", "for large models, a CUDA GPU"
        )
        return
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        yield Finding(f"gpu {index}", True, f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
