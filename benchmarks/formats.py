"""Layouts recognised, scanning 16,000 clips, exporting 10,000: `python -m benchmarks.formats`."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import Figure, main

FRAMES = 16  # images per clip, as DFEW's clip_224x224_16f has
LABELS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
MEASURED_APART = "import sys; from benchmarks.formats import child; child(*sys.argv[1:])"


def measure(quick: bool) -> Iterator[Figure]:
    """Recognition over every fixture of the tests; times on trees of hard-linked images."""
    with tempfile.TemporaryDirectory(prefix="argen-formats-") as folder:
        root = Path(folder)
        yield from _recognition(root / "releases")
        share = 0.1 if quick else 1.0
        yield from _scanning(root / "scan", round(16_000 * share), 1 if quick else 3, share)
        yield from _exporting(root / "export", round(10_000 * share), 1 if quick else 3, share)


def _recognition(root: Path) -> Iterator[Figure]:
    """Share of releases recognised without being named; claims of any other particular layout."""
    from argen.dataset.layouts import LAYOUTS, recognise
    from argen.dataset.layouts.outline import outline
    from tests.dataset.released import RELEASED

    right, mistaken = 0, 0
    for number, (name, make) in enumerate(RELEASED.values()):
        place = make(root / str(number))
        right += recognise(place).name == name
        claims = {layout.name for layout in LAYOUTS if layout.recognise(outline(place))}
        general = {"folder", "metadata"} if name == "argen" else {"folder"}  # ARGen's output is also both
        mistaken += len(claims - general - {name})
    count = len(RELEASED)
    share = right / count
    yield Figure("formats.recognised", share, *wilson(right, count), count, ">= 1")
    yield Figure("formats.mistaken", mistaken, mistaken, mistaken, count * len(LAYOUTS), "<= 0")


def _scanning(root: Path, clips: int, repeats: int, share: float) -> Iterator[Figure]:
    """First scan with an empty cache and second with a full one, each in a process of its own."""
    make_frame_folders(root / "data", clips)
    first = [_apart("scan", root / "data", root / f"cache{i}") for i in range(repeats)]
    again = [_apart("scan", root / "data", root / "cache0") for _ in range(repeats)]
    yield _timed("scan.seconds_16k", [run.seconds / share for run in first], 60)
    yield _timed("scan.seconds_again", [run.seconds / share for run in again], 5)
    yield _timed("scan.megabytes", [run.megabytes for run in first], 300)


def _exporting(root: Path, clips: int, repeats: int, share: float) -> Iterator[Figure]:
    """Frame folders linked under new names and listed, for DFER-CLIP."""
    make_frame_folders(root / "data", clips)
    runs = [_apart("export", root / "data", root / f"out{i}") for i in range(repeats)]
    yield _timed("export.seconds_10k", [run.seconds / share for run in runs], 20)


def make_frame_folders(root: Path, clips: int) -> None:
    """`train|val|test/<label>/<id>/00.jpg ...`: one picture, linked as often as the file system allows."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8))
    picture, links = root / ".picture0.jpg", 0
    small.resize((224, 224), Image.Resampling.BICUBIC).save(picture)
    for number in range(clips):
        split = ("test", "val", *["train"] * 8)[number % 10]
        folder = root / split / LABELS[number % len(LABELS)] / f"{number:05d}"
        folder.mkdir(parents=True)
        for frame in range(FRAMES):
            if links == 10_000:  # ext4 allows 65,000 names for one file, and the exports link it again
                links, copy = 0, root / f".picture{number}.jpg"
                shutil.copy(picture, copy)
                picture = copy
            os.link(picture, folder / f"{frame:02d}.jpg")
            links += 1


@dataclass(frozen=True)
class Run:
    """What one process took."""

    seconds: float
    megabytes: float


def _apart(what: str, data: Path, other: Path) -> Run:
    command = [sys.executable, "-c", MEASURED_APART, what, str(data), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = done.stdout.split()[-2:]
    return Run(float(seconds), float(megabytes))


def child(what: str, data: str, other: str) -> None:
    """Scan or export in this process, and print seconds and the most megabytes it held."""
    import resource

    for module in ("argen.dataset.exporting.export", "argen.dataset.scan"):
        importlib.import_module(module)  # before the clock starts: imports are not what is measured
    jobs: dict[str, Callable[[Path, Path], None]] = {"scan": _scan, "export": _export}
    start = time.perf_counter()
    jobs[what](Path(data), Path(other))
    seconds = time.perf_counter() - start
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _scan(data: Path, cache: Path) -> None:
    from argen.dataset.scan import scan

    scan(data, cache=cache)


def _export(data: Path, out: Path) -> None:
    from argen.dataset.exporting.export import export
    from argen.dataset.read import read_dataset

    export(read_dataset(data), out, "dfer-clip")


def _timed(name: str, values: list[float], most: float) -> Figure:
    """The least of the repeats: whatever else the machine does can only add."""
    return Figure(name, min(values), min(values), max(values), len(values), f"<= {most:g}")


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z = 1.96
    p = successes / trials
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * float(np.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


if __name__ == "__main__":
    main(measure, __doc__ or "")
