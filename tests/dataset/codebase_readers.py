"""What each codebase does with a list, written from its description alone: (picture paths, label) per row."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

Rows = list[tuple[tuple[str, ...], int]]


def pictures(folder: str, suffix: str = "jpg") -> tuple[str, ...]:
    """A sorted glob, as all of them do."""
    return tuple(sorted(str(path) for path in Path(folder).glob(f"*.{suffix}")))


def dfer_clip(file: Path) -> Rows:
    """Three columns by blanks; frames by sorted glob; the count must be what the folder holds."""
    rows: Rows = []
    for line in file.read_text().splitlines():
        folder, count, label = line.strip().split(" ")
        frames = (*pictures(folder, "jpg"), *pictures(folder, "png"))
        assert len(frames) == int(count)
        rows.append((frames, int(label)))
    return rows


def mae_dfer(file: Path) -> Rows:
    """Two columns by blanks; a folder of frames."""
    pairs = [line.split(" ") for line in file.read_text().splitlines()]
    return [(pictures(folder), int(label)) for folder, label in pairs]


def s2d(file: Path, root: Path, suffix: str = "jpg") -> Rows:
    """A header, then a name below the root and a label; the first column stays text."""
    with file.open(newline="") as stream:
        _, *pairs = list(csv.reader(stream))
    return [(pictures(f"{root}/{name}", suffix), int(label)) for name, label in pairs]


def claip_emo(file: Path) -> Rows:
    """Three columns by blanks: frames, sound, label."""
    rows: Rows = []
    for line in file.read_text().splitlines():
        folder, sound, label = line.split(" ")
        assert Path(sound).stat().st_size > 44
        rows.append((pictures(folder), int(label)))
    return rows


def videomae(file: Path) -> Rows:
    """Two columns by blanks; a video file."""
    pairs = [line.split(" ") for line in file.read_text().splitlines()]
    return [((path,), int(label)) for path, label in pairs]


def csv_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def videofolder(split: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (split / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def webdataset(out: Path, name: str) -> dict[str, dict[str, bytes]]:
    """Samples of a list of shards: files that share all before the first dot are one."""
    samples: dict[str, dict[str, bytes]] = {}
    for shard in (out / f"{name}.txt").read_text().splitlines():
        with tarfile.open(out / shard) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                stream = tar.extractfile(member)
                assert stream is not None
                samples.setdefault(key, {})[suffix] = stream.read()
    return samples
