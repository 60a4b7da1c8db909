"""Records: one line for every job, kept, dropped or failed; written last, so that a line means done.

Each process appends to its own file under OUT/manifest/ and syncs every line. A line that a killed
process left half-written is cut off when that process comes back, and ignored by everyone else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from filelock import FileLock, Timeout

from argen.errors import UsageError
from argen.gate import distinctness

Status = Literal["kept", "dropped", "failed"]
PATIENCE_SECONDS = 3.0
"""For a shard's lock: another process that asks whether it is held holds it for an instant itself."""


@dataclass(frozen=True)
class Record:
    """What became of one job, and all that is needed to make it again."""

    id: str
    label: str
    index: int
    status: Status
    reason: str  # why it was dropped or failed, in words; what it passed, if kept
    source: str  # clip id in the source dataset
    source_frame: int
    subject: str
    split: str
    licence: str
    redistributable: bool
    seed: int
    caption: str = ""
    written_by: str = ""
    profile: str = ""
    exemplars: tuple[str, ...] = ()
    file_name: str = ""  # below OUT
    sha256: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    target: tuple[float, ...] = ()  # Action Units asked for at the apex, 0..1
    seen: tuple[float, ...] = ()  # Action Units measured at the apex, 0..1
    fingerprint: str = ""  # what near-duplicates are told by
    reader: str = ""
    made_by: Mapping[str, str] = field(default_factory=dict)
    recipe_hash: str = ""
    synthetic: bool = True
    seconds: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether the clip is part of the output."""
        return self.status == "kept"

    def to_json(self) -> str:
        """One line, keys in a fixed order, floats short."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"), default=list)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Record:
        """The record of a parsed line."""
        sequences = {name: tuple(row.get(name, ())) for name in ("exemplars", "target", "seen")}
        return cls(**{**row, **sequences})

    def repeats(self, original: str, score: float, least: float) -> Record:
        """The same job, dropped because its clip is too like that of the job `original`."""
        reason = f"a near-duplicate of {original} (distinct {score:.2f} < {least:.2f})"
        scores = {**self.scores, "distinct": round(score, 4)}
        moved = self.file_name.replace("train/", "dropped/", 1)
        return replace(self, status="dropped", reason=reason, scores=scores, file_name=moved)


class Journal:
    """The append-only file of one process; opening it takes a lock that dies with the process."""

    def __init__(self, folder: Path, shard: tuple[int, int]) -> None:
        rank, world = shard
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{rank:03d}-of-{world:03d}.jsonl"
        self._lock = FileLock(self.path.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=PATIENCE_SECONDS)
        except Timeout as error:
            raise UsageError(
                f"{folder.parent}: another process is at work on shard {rank}/{world}; "
                "wait for it, or give each process its own --shard r/n"
            ) from error
        cut_torn_line(self.path)
        self._file = self.path.open("ab")

    def write(self, record: Record) -> None:
        """Append a record; when this returns it is on the disk."""
        self._file.write(record.to_json().encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()


def cut_torn_line(path: Path) -> None:
    """Remove what a killed process left after the last complete line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        tail = b""
        while size > 0 and b"\n" not in tail:
            step = min(1 << 16, size)
            size -= step
            file.seek(size)
            tail = file.read(step)
        file.truncate(size + tail.rfind(b"\n") + 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a run must remember of a record, and where the whole of it stands."""

    id: str
    label: str
    index: int
    status: Status
    source: str
    fingerprint: bytes
    path: Path
    offset: int


class Ledger:
    """What all processes have written so far; `refresh` reads only what is new."""

    def __init__(self, folder: Path, distinct: float = 0.0) -> None:
        """`distinct` is the least distinctness of a kept clip, 0..1 (the recipe's `gate.distinct`)."""
        self._folder = folder
        self._distinct = distinct
        self._read: dict[Path, int] = {}
        self.entries: dict[str, Entry] = {}

    def refresh(self) -> None:
        """Take in every complete line since the last time. A retried failure gives way to its retry."""
        for path in sorted(self._folder.glob("*-of-*.jsonl")):
            offset = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    entry = _entry(orjson.loads(line), path, offset)
                    known = self.entries.get(entry.id)
                    if known is None or known.status == "failed":
                        self.entries[entry.id] = entry
                    offset += len(line)
            self._read[path] = offset

    def forget_failures(self) -> None:
        """Treat failed jobs as never done; their records stay until a retry replaces them."""
        self.entries = {key: entry for key, entry in self.entries.items() if entry.status != "failed"}

    def settle(self) -> tuple[dict[str, dict[int, bool]], dict[str, tuple[str, float]]]:
        """Outcome of every job by class and index, and the near-duplicates: id -> (id it repeats, score).

        A clip is compared with the kept clips of its class and source that come before it in the plan, so
        the answer does not depend on which process made it, or when.
        """
        outcomes: dict[str, dict[int, bool]] = {}
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in sorted(self.entries.values(), key=lambda e: (e.label, e.index)):
            outcomes.setdefault(entry.label, {})[entry.index] = entry.status == "kept"
            if entry.status == "kept":
                groups.setdefault((entry.label, entry.source), []).append(entry)
        repeats: dict[str, tuple[str, float]] = {}
        for group in groups.values():
            for entry, original, score in _repeats(group, self._distinct):
                repeats[entry.id] = (original.id, score)
                outcomes[entry.label][entry.index] = False
        return outcomes, repeats

    def records(self) -> Iterator[Record]:
        """Every job's record in the order of the plan, one at a time; near-duplicates as dropped."""
        _, repeats = self.settle()
        files: dict[Path, Any] = {}
        try:
            for entry in sorted(self.entries.values(), key=lambda e: (e.label, e.index)):
                file = files.setdefault(entry.path, None) or entry.path.open("rb")
                files[entry.path] = file
                file.seek(entry.offset)
                record = Record.from_dict(json.loads(file.readline()))
                if entry.id in repeats:
                    original, score = repeats[entry.id]
                    record = record.repeats(original, score, self._distinct)
                yield record
        finally:
            for file in files.values():
                file.close()


def _entry(row: Mapping[str, Any], path: Path, offset: int) -> Entry:
    fingerprint = bytes.fromhex(row["fingerprint"])
    return Entry(
        row["id"], row["label"], row["index"], row["status"], row["source"], fingerprint, path, offset
    )


def _repeats(group: Sequence[Entry], least: float) -> Iterator[tuple[Entry, Entry, float]]:
    """The entries of a group, in order, that are too like an earlier one that stays."""
    if len(group) < 2 or least <= 0:
        return
    scores = distinctness([entry.fingerprint for entry in group])
    np.fill_diagonal(scores, 1.0)
    suspects = np.flatnonzero((np.tril(scores, -1) + np.triu(np.ones_like(scores)) < least).any(axis=1))
    staying = np.ones(len(group), bool)
    for i in map(int, suspects):
        earlier = np.where(staying[:i], scores[i, :i], 1.0)
        nearest = int(earlier.argmin())
        if earlier[nearest] < least:
            staying[i] = False
            yield group[i], group[nearest], float(earlier[nearest])
