"""Single images: stills and the images of frame folders."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageOps, UnidentifiedImageError

from argen.dataset.clip import Clip
from argen.errors import UnreadableClip

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
LARGEST = 100_000_000  # pixels; beyond it a file is an attack or a mistake, not a face


def frame_files(clip: Clip) -> list[Path]:
    """The images of a still or a frame folder, in order (2 before 10). Raises UnreadableClip if none."""
    if clip.kind == "image":
        return [clip.path]
    return [clip.path / name for name in sorted(frame_names(clip), key=natural)]


def frame_names(clip: Clip) -> list[str]:
    """The images of a frame folder by name, in no order. Raises UnreadableClip if there are none."""
    try:
        # os.listdir and no Path per file: this is most of what a scan of a large dataset does
        names = os.listdir(clip.path) if clip.frame_names is None else clip.frame_names  # noqa: PTH208
    except OSError as error:
        raise UnreadableClip(f"{clip.path}: {error.strerror}") from error
    images = [name for name in names if name[name.rfind(".") :].lower() in IMAGES and name[0] != "."]
    if not images:
        raise UnreadableClip(f"{clip.path}: no images in it")
    return images


def is_image(name: str) -> bool:
    """Whether a file name is that of an image, and not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGES


def natural(name: str) -> tuple[list[int | str], str]:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def image_size(path: Path) -> tuple[int, int]:
    """Height and width after the camera's rotation, from the header. Raises UnreadableClip."""
    with _opened(path) as image:
        turned = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
        return (image.width, image.height) if turned else (image.height, image.width)


def read_image(
    path: Path, size: int | None = None, shape: tuple[int, ...] | None = None
) -> UInt8[ndarray, "H W 3"]:
    """One image in RGB, as `read_frames` describes; `shape` (height, width) forces a size."""
    with _opened(path) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            rgb = _rgb(upright)
        except (OSError, ValueError, SyntaxError) as error:
            raise UnreadableClip(f"{path}: damaged image: {error}") from error
    if size is not None:
        rgb = fit(rgb, size)
    elif shape is not None and (rgb.height, rgb.width) != tuple(shape):
        rgb = rgb.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(rgb, np.uint8)


def fit(image: Image.Image, size: int) -> Image.Image:
    """The middle square of an image, scaled to size x size."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except UnidentifiedImageError as error:
        raise UnreadableClip(f"{path}: not an image, or cut short") from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableClip(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if image.width * image.height > LARGEST:
        image.close()
        raise UnreadableClip(f"{path}: {image.width} x {image.height} pixels is beyond {LARGEST:,}")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16-bit and float grey: Pillow would clip, not scale
        values = np.asarray(image, np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque).convert("RGB")
    return image.convert("RGB")
