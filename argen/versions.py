"""Which versions of what matters are installed; read from metadata, nothing is imported."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "argen", "torch", "diffusers", "transformers", "accelerate", "peft", "trl", "py-feat", "mediapipe",
    "dlib-bin", "faiss-cpu", "decord2", "imageio", "imageio-ffmpeg", "opencv-contrib-python", "numpy",
    "scipy", "safetensors",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Package -> version, for those that are installed, and Python's own."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
