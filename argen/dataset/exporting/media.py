"""Put a clip's pictures where a codebase looks for them: by hard link where nothing need change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from argen.dataset.clip import Clip
from argen.dataset.stills import frame_names, natural
from argen.dataset.video import iter_frames, probe, write_stream
from argen.errors import UnreadableClip

Crop = Callable[[UInt8[ndarray, "T H W 3"]], UInt8[ndarray, "T S S 3"]]
JPEG_QUALITY = 95
DIGITS = 3  # of a frame's name; more from the thousandth frame on


def put_frames(clip: Clip, folder: Path, suffix: str, crop: Crop | None = None) -> int:
    """A folder `000.jpg, 001.jpg, ...`, whole or not at all; the number of frames.

    All names have as many digits, because codebases sort them as text. Images are linked under their new
    names unless they are cropped or of another type. Raises UnreadableClip.
    """
    if folder.is_dir():
        return len(os.listdir(folder))  # noqa: PTH208 (a count)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    files = _own_files(clip) if clip.kind != "video" and crop is None else []
    if files and all(_same_type(file, suffix) for file in files):
        for number, file in enumerate(files):
            link(file, f"{part}/{number:0{_digits(len(files))}d}{suffix}")
        count = len(files)
    else:
        count = _save_frames(_frames(clip, crop), part, suffix)
    if not count:
        raise UnreadableClip(f"{clip.path}: no frames in it")
    part.rename(folder)
    return count


def put_video(clip: Clip, path: Path, crop: Crop | None = None) -> None:
    """A video file: the clip's own by hard link, or encoded from its frames. Raises UnreadableClip."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if clip.kind == "video" and crop is None:
        link(clip.path, str(path))
        return
    comment = "SYNTHETIC by ARGen" if clip.synthetic else ""
    write_stream(path, _frames(clip, crop), probe(clip).fps, comment=comment)


def link(source: Path | str, target: str) -> None:
    """A hard link, or a copy where the file system has none or is another; whole or not at all.

    Of a symbolic link, to the file that it leads to: a relative one would lead nowhere from its new place.
    """
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:
        part = f"{target}.part"
        shutil.copy2(real, part)
        Path(part).replace(target)


def _frames(clip: Clip, crop: Crop | None) -> Iterator[UInt8[ndarray, "H W 3"]]:
    if crop is None:
        yield from iter_frames(clip)
    else:
        yield from crop(np.stack(list(iter_frames(clip))))


def _save_frames(frames: Iterable[UInt8[ndarray, "H W 3"]], folder: Path, suffix: str) -> int:
    count = 0
    for count, frame in enumerate(chain(frames), 1):
        image = Image.fromarray(frame)
        name = folder / f"{count - 1:0{DIGITS}d}{suffix}"
        if suffix == ".jpg":
            image.save(name, quality=JPEG_QUALITY, subsampling=0)
        else:
            image.save(name)
    if _digits(count) > DIGITS:  # how many come is known only now
        for number in range(count):
            old, new = (f"{number:0{digits}d}{suffix}" for digits in (DIGITS, _digits(count)))
            (folder / old).rename(folder / new)
    return count


def _digits(count: int) -> int:
    return max(DIGITS, len(str(count - 1)))


def _own_files(clip: Clip) -> list[str]:
    if clip.kind == "image":
        return [str(clip.path)]
    return [f"{clip.path}/{name}" for name in sorted(frame_names(clip), key=natural)]


def _same_type(file: str, suffix: str) -> bool:
    own = file[file.rfind(".") :].lower()
    return own == suffix or (own == ".jpeg" and suffix == ".jpg")
