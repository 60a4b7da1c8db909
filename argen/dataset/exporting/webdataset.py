"""WebDataset: tar shards of `<name>.mp4`, `<name>.cls` and `<name>.json`, and a list of shards per list.

The mixed training list names the real and the synthetic shards, so nothing is stored twice.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from argen.dataset.clip import Clip
from argen.dataset.exporting.entry import Entry, Format, Lists, Target
from argen.dataset.exporting.lines import write_lines

PER_SHARD = 1000
OWN = ("train_real", "train_synthetic", "val", "test")


def place(target: Target, clip: Clip, name: str) -> str:
    """Video of a clip, beside the shards until it is in one."""
    return f"videos/{name}.mp4"


def write(target: Target, lists: Lists) -> None:
    """The shards, then which shards make up which list."""
    shards = {name: _shards(target.out, name, lists[name]) for name in OWN}  # type: ignore[index]
    shards["train"] = shards["train_real"] + shards["train_synthetic"]
    for name, files in shards.items():
        write_lines(target.out / f"{name}.txt", files)
    shutil.rmtree(target.out / "videos", ignore_errors=True)


def _shards(out: Path, name: str, entries: Sequence[Entry]) -> list[str]:
    files = []
    for start in range(0, len(entries), PER_SHARD):
        file = f"{name}-{start // PER_SHARD:06d}.tar"
        part = out / f"{file}.part"
        with tarfile.open(part, "w") as tar:
            for entry in entries[start : start + PER_SHARD]:
                _add(tar, out, entry)
        part.replace(out / file)
        files.append(file)
    return files


def _add(tar: tarfile.TarFile, out: Path, entry: Entry) -> None:
    key = entry.name.replace("/", "_").replace(".", "_")  # a dot ends a key
    clip = entry.clip
    about = {
        "label": clip.label,
        "synthetic": clip.synthetic,
        "subject": clip.subject,
        "source": clip.extra.get("source", clip.id),
        "licence": clip.licence,
        "redistributable": clip.redistributable,
    }
    members = {
        "mp4": (out / entry.path).read_bytes(),
        "cls": str(entry.number).encode(),
        "json": json.dumps(about, ensure_ascii=False, sort_keys=True).encode(),
    }
    for suffix, data in members.items():
        info = tarfile.TarInfo(
            f"{key}.{suffix}"
        )  # its times and owners are zero, so equal runs give equal bytes
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


FORMAT = Format("webdataset", "videos", place, write, prefixed=False, absolute=False)
