"""Folders of anomaly benchmarks: MVTec 3D-AD, Eyecandies (as downloaded, or preprocessed), plain folders.

mvtec3d      <category>/train/good/{rgb/000.png, xyz/000.tiff}
             <category>/test/<good|defect>/{rgb, xyz, gt}/000.*
eyecandies   <Category>/train/data/000_{image_4.png, depth.png, info_depth.yaml}
             <Category>/test_public/data/00_{..., mask.png, metadata.yaml}
folder       train/*.png  test/<good|defect>/*.png, each with name.tiff (points) and name_mask.png if it has
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from argen.anomaly.samples import Sample, make_sample
from argen.errors import DatasetError, did_you_mean

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
FOCAL = 711.11  # Eyecandies' camera, pixels at 512
TABLE = 0.01  # of the median depth: nearer to the table's plane is table


@dataclass(frozen=True)
class Source:
    """The files of one sample, not yet read."""

    id: str
    rgb: Path
    points: Path | None  # TIFF of x, y, z; or Eyecandies' depth
    mask: Path | None = None
    defect: str = "good"


@dataclass(frozen=True)
class Category:
    """One kind of object: normals to learn from, and what is to be judged."""

    name: str
    train: tuple[Source, ...]
    test: tuple[Source, ...]


def read_layout(root: Path | str, layout: str, names: tuple[str, ...] = ()) -> list[Category]:
    """The categories of a folder, only `names` if given. Raises DatasetError."""
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    root = root.resolve()  # `.` and `..` have no name that a category could take
    if layout not in LAYOUTS:
        raise DatasetError(f"layout '{layout}'{did_you_mean(layout, LAYOUTS)}")
    found = LAYOUTS[layout](root)
    known = [category.name for category in found]
    if not found:
        raise DatasetError(f"{root}: nothing laid out as {layout}; see `argen anomaly evaluate --help`")
    for name in names:
        if name not in known:
            raise DatasetError(f"{root}: no category '{name}'{did_you_mean(name, known)}")
    return [category for category in found if not names or category.name in names]


def load(source: Source) -> Sample:
    """Read one sample. Raises DatasetError."""
    rgb = _picture(source.rgb)
    xyz = _points(source.points) if source.points else None
    mask = _picture(source.mask).max(axis=2) > 0 if source.mask else None
    if mask is None and source.defect == "good":
        mask = np.zeros(rgb.shape[:2], bool)
    return make_sample(source.id, rgb, xyz, mask, source.defect)


def _mvtec3d(root: Path) -> list[Category]:
    folders = [root] if (root / "train").is_dir() else sorted(p for p in root.iterdir() if p.is_dir())
    return [
        Category(f.name, _split(f / "train"), _split(f / "test")) for f in folders if (f / "train").is_dir()
    ]


def _split(folder: Path) -> tuple[Source, ...]:
    found = []
    for kind in sorted(p for p in folder.glob("*") if (p / "rgb").is_dir()):
        for rgb in _pictures(kind / "rgb"):
            xyz, gt = kind / "xyz" / f"{rgb.stem}.tiff", kind / "gt" / f"{rgb.stem}.png"
            if (kind / "xyz").is_dir() and not xyz.is_file():
                raise DatasetError(f"{rgb}: has no points; {xyz} is missing")
            id = f"{folder.name}/{kind.name}/{rgb.stem}"
            points, truth = (path if path.is_file() else None for path in (xyz, gt))
            found.append(Source(id, rgb, points, truth, kind.name))
    return tuple(found)


def _eyecandies(root: Path) -> list[Category]:
    folders = [root] if (root / "train").is_dir() else sorted(p for p in root.iterdir() if p.is_dir())
    raw = [f for f in folders if (f / "train" / "data").is_dir()]
    if not raw:
        return _mvtec3d(root)
    return [Category(f.name, _shots(f / "train"), _shots(f / "test_public")) for f in raw]


def _shots(folder: Path) -> tuple[Source, ...]:
    found = []
    for rgb in sorted((folder / "data").glob("*_image_4.png")):
        number = rgb.name.split("_")[0]
        depth, mask = (rgb.with_name(f"{number}_{what}.png") for what in ("depth", "mask"))
        if not depth.is_file():
            raise DatasetError(f"{rgb}: has no points; {depth} is missing")
        strange = folder.name != "train" and _is_strange(rgb.with_name(f"{number}_metadata.yaml"), mask)
        truth = mask if strange and mask.is_file() else None
        found.append(Source(f"{folder.name}/{number}", rgb, depth, truth, "bad" if strange else "good"))
    return tuple(found)


def _is_strange(metadata: Path, mask: Path) -> bool:
    if metadata.is_file():
        facts = yaml.safe_load(metadata.read_text(encoding="utf-8")) or {}
        return bool(facts.get("anomalous", 0))
    return mask.is_file() and bool(_picture(mask).max() > 0)


def _folder(root: Path) -> list[Category]:
    train = tuple(beside(path, "good") for path in _pictures(root / "train"))
    kinds = sorted(p for p in (root / "test").glob("*") if p.is_dir())
    test = tuple(beside(path, kind.name) for kind in kinds for path in _pictures(kind))
    return [Category(root.name, train, test)] if train else []


def beside(rgb: Path, defect: str) -> Source:
    """A picture and what lies beside it: `name.tiff` its points, `name_mask.png` the truth."""
    points, mask = rgb.with_suffix(".tiff"), rgb.with_name(f"{rgb.stem}_mask.png")
    id = f"{rgb.parent.name}/{rgb.stem}"
    has_points, has_mask = points.is_file(), mask.is_file()
    return Source(id, rgb, points if has_points else None, mask if has_mask else None, defect)


def _pictures(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in PICTURES)
    pictures = [p for p in files if not p.stem.endswith("_mask")]
    named: dict[str, Path] = {}
    for picture in pictures:
        first = named.setdefault(picture.stem, picture)
        if first != picture:
            raise DatasetError(
                f"{picture}: {first.name} has the same name, and their masks would; rename one"
            )
    return pictures


def _picture(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"{path}: not a picture that can be read ({error})") from error


def _points(path: Path) -> np.ndarray:
    if path.suffix.lower() in {".tiff", ".tif"}:
        import tifffile

        try:
            return np.asarray(tifffile.imread(path))
        except (OSError, ValueError, tifffile.TiffFileError) as error:
            raise DatasetError(f"{path}: not a TIFF of points ({error})") from error
    return off_table(_depth_points(path))


def _depth_points(path: Path) -> np.ndarray:
    import cv2

    info = path.with_name(path.name.replace("depth.png", "info_depth.yaml"))
    encoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if encoded is None or encoded.dtype != np.uint16:
        raise DatasetError(f"{path}: not a 16-bit depth picture")
    try:
        limits = yaml.safe_load(info.read_text(encoding="utf-8"))["normalization"]
        low, high = float(limits["min"]), float(limits["max"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise DatasetError(f"{info}: needs normalization.min and .max to read {path.name}") from error
    z = encoded.reshape(encoded.shape[0], encoded.shape[1], -1)[..., 0] / 65535 * (high - low) + low
    rows, columns = np.indices(z.shape)
    focal = FOCAL * z.shape[1] / 512
    x, y = (columns - z.shape[1] / 2) * z / focal, (rows - z.shape[0] / 2) * z / focal
    return np.stack([x, y, z], axis=2).astype(np.float32)


def off_table(xyz: np.ndarray) -> np.ndarray:
    """Points less those on the plane that fits the picture's border: 0 there, as in the preprocessed set."""
    border = np.concatenate([xyz[0], xyz[-1], xyz[:, 0], xyz[:, -1]]).astype(np.float64)
    centre = border.mean(axis=0)
    normal = np.linalg.svd(border - centre, full_matrices=False)[2][2]
    distance = np.abs((xyz - centre) @ normal)
    return np.where((distance > TABLE * np.median(xyz[..., 2]))[..., None], xyz, 0).astype(np.float32)


LAYOUTS: dict[str, Callable[[Path], list[Category]]] = {
    "mvtec3d": _mvtec3d,
    "eyecandies": _eyecandies,
    "folder": _folder,
}
