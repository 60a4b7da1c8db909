"""Decode clips. Memory stays flat with a clip's length: no more is decoded than is asked for."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from argen.dataset.clip import Clip
from argen.dataset.encode import ffmpeg, write_mp4, write_stream
from argen.dataset.stills import fit, frame_files, image_size, read_image
from argen.errors import UnreadableClip

logger = logging.getLogger(__name__)

__all__ = ["ClipInfo", "ffmpeg", "iter_frames", "probe", "read_frames", "spread", "write_mp4", "write_stream"]

STILL_FPS = 25.0
"""Rate given to frame folders and stills, which have none of their own."""
CHUNK = 16  # frames decoded at a time by iter_frames


@dataclass(frozen=True)
class ClipInfo:
    """Size of one clip as decoded (after rotation); `fps` is the average of a variable rate."""

    frames: int
    fps: float
    height: int
    width: int


def probe(clip: Clip) -> ClipInfo:
    """Length, rate and size of a clip, decoding one frame at most. Raises UnreadableClip with the reason."""
    if clip.kind == "video":
        return _open(clip.path).info
    files = frame_files(clip)
    height, width = image_size(files[0])
    return ClipInfo(len(files), STILL_FPS, height, width)


def spread(frames: int, wanted: int | None) -> list[int]:
    """Indices of `wanted` frames evenly spread over a longer clip, ends included; all where it is shorter."""
    if wanted is None or wanted >= frames:
        return list(range(frames))
    return [round(float(i)) for i in np.linspace(0, frames - 1, wanted)]


def read_frames(
    clip: Clip, max_frames: int | None = None, size: int | None = None
) -> UInt8[ndarray, "T H W 3"]:
    """Frames in RGB; at most `max_frames`, evenly spread over a longer clip.

    With `size`, the middle square of each frame, scaled to size x size. Rotation is applied, grey becomes
    RGB, an image's alpha is laid on black, and images of a folder that differ in size take the first one's.
    Raises UnreadableClip with the reason.
    """
    if clip.kind == "video":
        video = _open(clip.path)
        return video.read(spread(video.info.frames, max_frames), size)
    files = frame_files(clip)
    chosen = [files[i] for i in spread(len(files), max_frames)]
    first = read_image(chosen[0], size)
    shape = first.shape[:2]
    return np.stack([first, *(read_image(file, size, shape) for file in chosen[1:])])


def iter_frames(clip: Clip, size: int | None = None) -> Iterator[UInt8[ndarray, "H W 3"]]:
    """Every frame in order, a few in memory at a time. Raises UnreadableClip with the reason."""
    if clip.kind == "video":
        video = _open(clip.path)
        for start in range(0, video.info.frames, CHUNK):
            if video.by_ffmpeg:
                yield from video.piped(range(start, video.info.frames), size)
                return
            yield from video.read(list(range(start, min(start + CHUNK, video.info.frames))), size)
        return
    shape: tuple[int, ...] | None = None
    for file in frame_files(clip):
        frame = read_image(file, size, shape)
        shape = frame.shape[:2]
        yield frame


class _Misfit(Exception):
    """decord trips over a sound file, by one of _MISFITS."""


_MISFITS = (
    "from_size == to_size",  # it pads the rows of frames narrower than 65 pixels that it rotates or scales
    "(-11 vs. 0)",  # it sends on while the decoder asks it to take frames first, in phones' .mov files
)


class _Video:
    """An opened video file: decord, or ffmpeg where decord cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_ffmpeg = False
        self.scaled: dict[int, Any] = {}
        self.reader = self._decord()
        frames = len(self.reader)
        if frames == 0:
            raise UnreadableClip(f"{path}: no frames in it")
        try:
            first = self._batch(self.reader, [0])
        except _Misfit:
            self.by_ffmpeg = True
            first = self._piped([0], None)
        self.info = ClipInfo(frames, float(self.reader.get_avg_fps()), first.shape[1], first.shape[2])

    def read(self, indices: Sequence[int], size: int | None) -> UInt8[ndarray, "T H W 3"]:
        """The frames at ascending `indices`."""
        if self.by_ffmpeg:
            return self._piped(indices, size)
        if size is None:
            return self._either(self.reader, indices, None)
        height, width = cover(self.info.height, self.info.width, size)
        if size not in self.scaled:  # decord scales while it decodes, so a huge clip is never held whole
            self.scaled[size] = self._decord(width=width, height=height)
        batch = self._either(self.scaled[size], indices, size)
        top, left = (batch.shape[1] - size) // 2, (batch.shape[2] - size) // 2
        return np.ascontiguousarray(batch[:, top : top + size, left : left + size])

    def _either(self, reader: Any, indices: Sequence[int], size: int | None) -> UInt8[ndarray, "T H W 3"]:  # noqa: ANN401
        try:
            return self._batch(reader, indices)
        except _Misfit:
            self.by_ffmpeg = True
            return self._piped(indices, size)

    def _decord(self, **size: int) -> Any:  # noqa: ANN401 (decord has no types)
        decord = _import_decord()
        decord.logging.set_level(decord.logging.QUIET)
        try:
            return decord.VideoReader(str(self.path), num_threads=1, **size)
        except (decord.DECORDError, RuntimeError) as error:
            raise UnreadableClip(f"{self.path}: {_why(self.path, error)}") from error

    def _batch(self, reader: Any, indices: Sequence[int]) -> UInt8[ndarray, "T H W 3"]:  # noqa: ANN401
        decord = _import_decord()
        try:
            batch = reader.get_batch(list(indices)).asnumpy()
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            if any(sign in str(error) for sign in _MISFITS):
                raise _Misfit from error
            raise UnreadableClip(f"{self.path}: {_why(self.path, error)}") from error
        return np.ascontiguousarray(batch[..., :3])

    def _piped(self, indices: Sequence[int], size: int | None) -> UInt8[ndarray, "T H W 3"]:
        frames = list(self.piped(set(indices), size))
        if len(frames) != len(indices):
            raise UnreadableClip(f"{self.path}: damaged: only {len(frames)} of {len(indices)} frames decode")
        return np.stack(frames)

    def piped(self, wanted: Container[int], size: int | None) -> Iterator[UInt8[ndarray, "H W 3"]]:
        """The wanted frames, through a pipe from ffmpeg: slower, from the start, and one at a time."""
        command = [ffmpeg(), "-loglevel", "quiet", "-threads", "1", "-i", str(self.path)]
        command += ["-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                for index, frame in enumerate(_ppm_frames(process.stdout)):
                    if index in wanted:
                        yield np.asarray(fit(Image.fromarray(frame), size)) if size else frame
            finally:
                process.kill()


def _ppm_frames(stream: IO[bytes] | None) -> Iterator[UInt8[ndarray, "H W 3"]]:
    while stream is not None and stream.readline() == b"P6\n":
        width, height = (int(number) for number in stream.readline().split())
        stream.readline()
        data = stream.read(height * width * 3)
        if len(data) == height * width * 3:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def cover(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width of the smallest scaling of a frame that covers a square of `size`."""
    scale = size / min(height, width)
    return max(size, round(height * scale)), max(size, round(width * scale))


def _open(path: Path) -> _Video:
    try:
        if path.stat().st_size == 0:
            raise UnreadableClip(f"{path}: empty file")
        path.open("rb").close()
    except OSError as error:
        raise UnreadableClip(f"{path}: {error.strerror}") from error
    return _Video(path)


def _why(path: Path, error: Exception) -> str:
    text = str(error)
    if "cannot find video stream" in text:
        return "no video stream in it, or cut short"
    if "Error reading" in text or "ERROR opening" in text:
        return "not a video, or cut short"
    last = text.strip().splitlines()[-1] if text.strip() else type(error).__name__
    logger.debug("%s: %s", path, text)
    return f"damaged: {last.rpartition(': ')[2][:120]}"


def _import_decord() -> Any:  # noqa: ANN401 (decord has no types)
    """decord, kept from loading torch's CUDA libraries for all to see.

    Among them is NVBLAS, which then takes over the matrix products of torch on the CPU, has no library to
    hand them to, and ends the process.
    """
    if "decord" not in sys.modules:
        hidden = sys.modules.get("nvidia")
        sys.modules["nvidia"] = None  # type: ignore[assignment]
        try:
            import decord  # noqa: F401
        finally:
            if hidden is None:
                del sys.modules["nvidia"]
            else:
                sys.modules["nvidia"] = hidden
    return importlib.import_module("decord")
