"""Synthetic machined parts on a table, with defects, written in MVTec 3D-AD's layout.

A benchmark that anybody can make: three kinds of part of several regions each, seen from above by a camera
with colour and depth, both noisy. Five kinds of defect in three sizes; some show in colour only, some mostly
in shape, and one (a foreign object) lies off the part. Not a stand-in for MVTec 3D-AD: no figure on it says
anything about that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from argen.anomaly.samples import Sample, make_sample

SIZE = 224
PIXEL = 5e-4  # metres on the table
CAMERA = 0.5  # metres above it
DEFECTS = ("bump", "scratch", "hole", "colour", "foreign")
RADII = (4.0, 7.0, 11.0)  # pixels: small, middle, large
KINDS = ("washer", "cover", "bracket")


@dataclass(frozen=True)
class Scene:
    """A picture being made: height above the table in metres, colour before light, and where the part is."""

    height: Float[ndarray, "H W"]
    colour: Float[ndarray, "H W 3"]
    part: Bool[ndarray, "H W"]


def make_part(kind: str, defect: str = "good", size: int = 1, seed: int = 0, id: str = "") -> Sample:
    """One sample of a kind, with one defect of size 0, 1 or 2. The seed decides everything else."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    scene = _part(kind, rng)
    mask = np.zeros((SIZE, SIZE), bool)
    if defect != "good":
        scene, mask = _defect(scene, defect, RADII[size], np.random.default_rng([seed, size, 77]))
    return make_sample(id, _photograph(scene, rng), _measure(scene, rng), mask, defect)


def write_parts(
    root: Path | str, train: int = 20, good: int = 15, per_size: int = 2, kinds: tuple[str, ...] = KINDS
) -> None:
    """The whole data set into a folder: `<kind>/{train/good, test/good, test/<defect>}/{rgb, xyz, gt}`."""
    for kind in kinds:
        for i in range(train):
            _write(Path(root) / kind / "train" / "good", i, make_part(kind, seed=i))
        for i in range(good):
            _write(Path(root) / kind / "test" / "good", i, make_part(kind, seed=10_000 + i))
        for number, defect in enumerate(DEFECTS):
            for i in range(3 * per_size):
                sample = make_part(kind, defect, i % 3, seed=20_000 + 1000 * number + i)
                _write(Path(root) / kind / "test" / defect, i, sample)


def _write(folder: Path, number: int, sample: Sample) -> None:
    import tifffile
    from PIL import Image

    for name in ("rgb", "xyz", "gt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample.rgb).save(folder / "rgb" / f"{number:03d}.png")
    tifffile.imwrite(folder / "xyz" / f"{number:03d}.tiff", sample.xyz, photometric="rgb")
    if sample.mask is not None:
        Image.fromarray(sample.mask.astype(np.uint8) * 255).save(folder / "gt" / f"{number:03d}.png")


def _part(kind: str, rng: np.random.Generator) -> Scene:
    """Heights and colours in the part's own coordinates, turned and shifted a little."""
    angle = rng.uniform(-0.25, 0.25)
    shift = rng.uniform(-8, 8, 2)
    rows, columns = np.indices((SIZE, SIZE)) - SIZE / 2
    u = (np.cos(angle) * (columns - shift[0]) + np.sin(angle) * (rows - shift[1])) * rng.uniform(0.97, 1.03)
    v = (-np.sin(angle) * (columns - shift[0]) + np.cos(angle) * (rows - shift[1])) * rng.uniform(0.97, 1.03)
    regions = {"washer": _washer, "cover": _cover, "bracket": _bracket}[kind](u, v)
    grain = _noise(rng, 1.5)[..., None] * 0.015 + _noise(rng, 12.0)[..., None] * 0.02
    table = np.array([0.35, 0.37, 0.40]) + _noise(rng, 3.0)[..., None] * 0.015
    height, colour, part = np.zeros_like(u), table, np.zeros(u.shape, bool)
    for inside, rise, paint in regions:
        height = np.where(inside, rise, height)
        colour = np.where(inside[..., None], np.array(paint) * rng.uniform(0.95, 1.05) + grain, colour)
        part |= inside
    return Scene(_blur(height, 1.0), colour, part)


Region = tuple[Bool[ndarray, "H W"], Float[ndarray, "H W"] | float, tuple[float, float, float]]


def _washer(u: ndarray, v: ndarray) -> list[Region]:
    r = np.hypot(u, v)
    spokes = (np.abs(np.sin(3 * np.arctan2(v, u))) < 0.25) & (r < 56)
    return [
        (r < 78, 0.022, (0.62, 0.60, 0.55)),
        (r < 60, 0.016, (0.45, 0.30, 0.20)),
        (spokes, 0.019, (0.70, 0.62, 0.30)),
        (r < 20, 0.030 - 2e-5 * r**2, (0.25, 0.35, 0.55)),
    ]


def _cover(u: ndarray, v: ndarray) -> list[Region]:
    plate = (np.abs(u) < 80) & (np.abs(v) < 58)
    corner = (np.abs(np.abs(u) - 66) ** 2 + np.abs(np.abs(v) - 44) ** 2) < 9**2
    return [
        (plate, 0.015, (0.20, 0.42, 0.36)),
        (plate & (np.abs(v) < 20), 0.018 + 1e-3 * np.cos(u / 4), (0.55, 0.52, 0.48)),
        (corner, 0.020, (0.75, 0.72, 0.66)),
        ((np.abs(u) < 14) & (np.abs(v) < 34), 0.025, (0.60, 0.22, 0.18)),
    ]


def _bracket(u: ndarray, v: ndarray) -> list[Region]:
    arm = (np.abs(u + 40) < 24) & (np.abs(v) < 80)
    foot = (np.abs(v - 50) < 26) & (u > -64) & (u < 78)
    return [
        (arm, 0.020 + 1e-4 * (v + 80), (0.66, 0.48, 0.22)),
        (foot, 0.014, (0.50, 0.50, 0.54)),
        (np.hypot(u - 45, v - 50) < 16, 0.024, (0.22, 0.24, 0.28)),
        (np.hypot(u + 40, v + 50) < 12, 0.026, (0.30, 0.52, 0.30)),
    ]


def _defect(
    scene: Scene, defect: str, radius: float, rng: np.random.Generator
) -> tuple[Scene, Bool[ndarray, "H W"]]:
    y, x = _place(scene.part, radius, on=defect != "foreign", rng=rng)
    dy, dx = np.indices(scene.part.shape) - np.array([y, x])[:, None, None]
    distance = np.hypot(dy, dx)
    spot = distance < radius
    dome = np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
    height, colour = scene.height.copy(), scene.colour.copy()
    if defect == "bump":
        height += dome * radius * PIXEL * 0.6
    elif defect == "hole":
        height -= np.where(distance < 0.7 * radius, 0.006, 0)
        colour[distance < 0.7 * radius] *= 0.45
        spot = distance < 0.7 * radius
    elif defect == "scratch":
        spot = _stroke(dy, dx, radius, rng) & scene.part
        height -= np.where(spot, 0.0008, 0)
        colour[spot] *= 0.8
    elif defect == "colour":
        soft = np.clip(radius - distance, 0, 2)[..., None] / 2
        colour += soft * rng.choice([-1, 1], 3) * np.array([0.10, 0.08, 0.10])
    else:
        height = np.maximum(height, dome * max(radius * PIXEL, 0.004))
        colour[spot] = rng.uniform(0.2, 0.7, 3)
    return Scene(height, colour, scene.part), spot


def _stroke(dy: ndarray, dx: ndarray, radius: float, rng: np.random.Generator) -> ndarray:
    """A slightly bent line four radii long and two pixels wide."""
    angle = rng.uniform(0, np.pi)
    along, across = np.cos(angle) * dx + np.sin(angle) * dy, -np.sin(angle) * dx + np.cos(angle) * dy
    bend = rng.uniform(-0.01, 0.01) * along**2
    return np.asarray((np.abs(along) < 2 * radius) & (np.abs(across - bend) < 1.2))


def _place(part: ndarray, radius: float, on: bool, rng: np.random.Generator) -> tuple[int, int]:
    """A pixel on the part, or one well off it, inside the picture and clear of its corners."""
    import cv2

    wanted = part if on else ~part
    room = cv2.distanceTransform(np.pad(wanted, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rows, columns = np.indices(part.shape)
    to_corner = np.minimum(rows, SIZE - 1 - rows) + np.minimum(columns, SIZE - 1 - columns)
    candidates = np.argwhere((room > radius + 2) & (to_corner > 4 * radius))
    y, x = candidates[rng.integers(len(candidates))]
    return int(y), int(x)


def _photograph(scene: Scene, rng: np.random.Generator) -> ndarray:
    """Lambertian light from one side, its strength and direction varying a little, and camera noise."""
    dy, dx = np.gradient(scene.height / PIXEL)
    normal = np.stack([-dx, -dy, np.ones_like(dx)], axis=2)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    light = np.array([0.4, 0.3, 0.86]) + rng.normal(0, 0.03, 3)
    shade = 0.45 + 0.6 * np.clip(normal @ light, 0, None)
    image = scene.colour * shade[..., None] * rng.uniform(0.94, 1.06) + rng.normal(
        0, 0.01, scene.colour.shape
    )
    return np.asarray(np.clip(image * 255, 0, 255).astype(np.uint8))


def _measure(scene: Scene, rng: np.random.Generator) -> ndarray:
    """An organised cloud of a slightly tilted table: 0.15 mm of noise, 0.5 % of pixels without a point."""
    rows, columns = (np.indices(scene.height.shape) - SIZE / 2) * PIXEL
    tilt = rng.normal(0, 0.01, 2)
    z = CAMERA - scene.height + tilt[0] * rows + tilt[1] * columns + rng.normal(0, 1.5e-4, rows.shape)
    xyz = np.stack([columns * z / CAMERA, rows * z / CAMERA, z], axis=2)
    xyz[rng.random(rows.shape) < 0.005] = 0
    return xyz.astype(np.float32)


def _noise(rng: np.random.Generator, scale: float) -> ndarray:
    rough = _blur(rng.normal(size=(SIZE, SIZE)), scale)
    return np.asarray(rough / rough.std())


def _blur(image: ndarray, scale: float) -> ndarray:
    import cv2

    return np.asarray(cv2.GaussianBlur(image, (0, 0), scale))
