"""Encode clips: H.264 in mp4, the same bytes every time, whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen.errors import EnvironmentFault
from argen.whole import part_of

logger = logging.getLogger(__name__)


def write_mp4(
    path: Path, frames: UInt8[ndarray, "T H W 3"], fps: float, quality: int = 18, comment: str = ""
) -> None:
    """Encode as H.264, the same bytes every time; `path` appears only when it is whole and on disk.

    `quality` is x264's constant rate factor (0 lossless). Players need even sizes: an odd last row or column
    is repeated. `comment` goes into the file's metadata; it is where a clip says that it is synthetic.
    Raises EnvironmentFault when the disk is full or not writable.
    """
    write_stream(path, iter(frames), fps, quality, comment)


def write_stream(
    path: Path, frames: Iterable[UInt8[ndarray, "H W 3"]], fps: float, quality: int = 18, comment: str = ""
) -> None:
    """As `write_mp4`, one frame at a time. Raises ValueError if there is no frame."""
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(path, part, iter(frames), fps=fps, quality=quality, comment=comment)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        _forget(part)


def ffmpeg() -> str:
    """The encoder that imageio-ffmpeg brings. Raises EnvironmentFault if there is none."""
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EnvironmentFault("ffmpeg: not found; pip install --force-reinstall imageio-ffmpeg") from error


def _encode(
    path: Path,
    part: Path,
    frames: Iterator[UInt8[ndarray, "H W 3"]],
    *,
    fps: float,
    quality: int,
    comment: str,
) -> None:
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path}: no frames to write")
    command = _command(part, _even(first), fps, quality, comment)
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said) as process:
            _feed(process, chain([first], frames))
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if process.returncode:
        full = any("No space left" in line for line in lines)
        reason = (
            os.strerror(errno.ENOSPC) + "; free some or choose another OUT" if full else " ".join(lines[-1:])
        )
        raise EnvironmentFault(f"{path}: ffmpeg could not write it: {reason}")


def _command(part: Path, frame: UInt8[ndarray, "H W 3"], fps: float, quality: int, comment: str) -> list[str]:
    rate = Fraction(fps).limit_denominator(1001)
    matrix = "smpte170m" if frame.shape[0] < 720 else "bt709"  # what players assume where a tag is ignored
    return [
        *(ffmpeg(), "-y", "-loglevel", "error", "-threads", "1", "-filter_threads", "1"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{frame.shape[1]}x{frame.shape[0]}"),
        *("-r", str(rate), "-i", "-", "-an", "-vf", f"scale=out_color_matrix={matrix}:out_range=tv"),
        *("-c:v", "libx264", "-threads", "1", "-crf", str(quality), "-pix_fmt", "yuv420p"),
        *("-colorspace", matrix, "-color_range", "tv"),
        *("-map_metadata", "-1", "-metadata", f"comment={comment}"),
        *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", "-f", "mp4", str(part)),
    ]


def _feed(process: subprocess.Popen[bytes], frames: Iterable[UInt8[ndarray, "H W 3"]]) -> None:
    pipe = process.stdin
    try:
        for frame in frames:
            if pipe is not None:
                pipe.write(np.ascontiguousarray(_even(frame)).data)
    except BrokenPipeError:
        logger.debug("ffmpeg stopped reading; its exit code and words say why")
    finally:
        try:
            if pipe is not None:
                pipe.close()
        except BrokenPipeError:
            logger.debug("ffmpeg was gone before its last frame")


def _even(frame: UInt8[ndarray, "H W 3"]) -> UInt8[ndarray, "H2 W2 3"]:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _forget(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError as error:
        logger.debug("%s: left behind: %s", part, error.strerror)
