"""An output folder while it is being filled: who does which job, what is safe on the disk, what is left.

    OUT/run.json            what this run is: recipe, plan, versions, models, the source as it was read
    OUT/manifest/           one journal a process, and the source's listing
    OUT/train/CLASS/syn_*   kept clips;  OUT/dropped/CLASS/  the others;  OUT/tracks/  what was measured
    OUT/cache/              measured source clips

Nothing here knows about faces or models.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from argen.config import Recipe, differing_keys
from argen.dataset.clip import Clip, Dataset
from argen.dataset.exporting.names import folder_name
from argen.errors import EnvironmentFault, RecipeError, UsageError
from argen.manifest import Journal, Ledger, Record
from argen.plan import Job, Plan
from argen.whole import part_of

log = logging.getLogger(__name__)
POLL_SECONDS = 0.5
PROBE_SECONDS = 0.5  # a process that asks whether a lock is held holds it for an instant
LOCK = ".argen.lock"  # the first file in an output folder; it stays
OURS = ("train", "val", "test", "dropped", "tracks", "cache", "manifest", "report")
OUR_FILES = ("manifest.jsonl", "README.md", "summary.json", "run.json")


@dataclass(frozen=True)
class Run:
    """One process's hold on an output folder."""

    out: Path
    plan: Plan
    recipe: Recipe
    shard: tuple[int, int]
    journal: Journal
    ledger: Ledger

    def pending(self) -> list[Job]:
        """This process's jobs of the present wave; empty when there is nothing left for it to do.

        Waits while it has none and another living process still has some: what that one drops is topped
        up. It does not wait for jobs whose process died: those are left for the next run.
        """
        while True:
            self.ledger.refresh()
            wave = self.plan.wave(self.ledger.settle()[0])
            living = self._living()
            owners = [self._owner(job, living) for job in wave]
            mine = [job for job, owner in zip(wave, owners, strict=True) if owner == self.shard[0]]
            if mine or not set(owners) & set(living):
                return mine
            time.sleep(POLL_SECONDS)

    def _owner(self, job: Job, living: list[int]) -> int:
        """Jobs of the first wave belong to their shard; what is topped up, to whoever still lives."""
        start = 0
        for label, count in self.plan.add.items():
            if label == job.label:
                break
            start += count
        owner = (start + job.index) % self.shard[1]
        topped_up = job.index >= self.plan.add[job.label]
        return min(living) if topped_up and owner not in living else owner

    def _living(self) -> list[int]:
        rank, world = self.shard
        return [r for r in range(world) if r == rank or _is_locked(self._lock_of(r))]

    def alone(self) -> bool:
        """Whether no other process is at work in this folder."""
        locks = (self.out / "manifest").glob("*-of-*.lock")
        return not any(_is_locked(lock) for lock in locks if lock != self._lock_of(self.shard[0]))

    def _lock_of(self, rank: int) -> Path:
        return self.out / "manifest" / f"{rank:03d}-of-{self.shard[1]:03d}.lock"

    def clip_name(self, job: Job, kept: bool) -> str:
        """Where a job's clip goes, below OUT."""
        return f"{'train' if kept else 'dropped'}/{folder_name(job.label)}/syn_{job.id}.mp4"

    def write(self, record: Record) -> None:
        """The last step of a job: from here on it is done."""
        with disk_errors(self.out):
            self.journal.write(record)


@contextmanager
def open_run(
    out: Path,
    dataset: Dataset,
    plan: Plan,
    recipe: Recipe,
    *,
    shard: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    fresh: bool = False,
    models: Mapping[str, Any] | None = None,
) -> Iterator[Run]:
    """Take hold of an output folder, new or begun by the same recipe on the same source.

    Raises UsageError if the folder holds something else, RecipeError if the recipe or the source changed,
    EnvironmentFault if it cannot be written.
    """
    claim(out, dataset.root)
    with disk_errors(out):
        with FileLock(out / LOCK):  # until the shard's own is held, so that no start is unseen by another
            if fresh:
                check_fresh(out, shard)
                empty(out)
            _refuse_other_shares(out, shard)
            _start_or_resume(out, dataset, plan, recipe, models or {})
            journal = Journal(out / "manifest", shard)
        with journal:
            ledger = Ledger(out / "manifest", recipe.gate.distinct)
            ledger.refresh()
            if ledger.entries:
                log.info("resuming: %d jobs done, %d clips wanted", len(ledger.entries), plan.total)
            if retry_failed:
                ledger.forget_failures()
            yield Run(out, plan, recipe, shard, journal, ledger)


def check_place(out: Path, source: Path) -> None:
    """Refuse an output folder inside its source, or the other way round, or one that is not ARGen's."""
    out, source = out.resolve(), source.resolve()
    if out == source or source in out.parents:
        raise UsageError(
            f"{out}: the output may not lie inside the source {source}; choose a folder outside it"
        )
    if out in source.parents:
        raise UsageError(f"{out}: the source {source} lies inside it; choose another output folder")
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path}: is a file; name a folder for the output")
    begun = (out / "run.json").exists() or (out / LOCK).exists()  # the lock alone: killed while it began
    if out.exists() and not begun:
        foreign = sorted(path.name for path in out.iterdir() if not path.name.startswith(".argen"))
        if foreign:
            raise UsageError(
                f"{out}: is not empty and was not made by ARGen (it has {foreign[0]}); name a new folder"
            )


def claim(out: Path, source: Path) -> None:
    """Make the folder ARGen's, before anything is written into it. Raises UsageError, EnvironmentFault."""
    check_place(out, source)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / LOCK).touch()


def check_fresh(out: Path, shard: tuple[int, int]) -> None:
    """Refuse to start over where that would throw away what another process makes.

    Of several shares each would empty the folder for the others, at its own time; none can know that all
    of them have come, so none may.
    """
    if shard[1] > 1:
        raise UsageError(
            f"{out}: --fresh is for one process, and this is shard {shard[0]}/{shard[1]}; "
            "remove the folder once, then start the shards without --fresh"
        )
    with disk_errors(out):
        at_work = next(_at_work(out), None)
    if at_work:
        raise UsageError(
            f"{out}: shard {_shard_of(at_work)} is at work in it and --fresh would throw that away; "
            "wait for it or stop it first"
        )


def _refuse_other_shares(out: Path, shard: tuple[int, int]) -> None:
    """Processes that divide the jobs by different numbers would make the same ones at the same time."""
    for lock in _at_work(out, but=shard[1]):
        raise UsageError(
            f"{out}: shard {_shard_of(lock)} is at work in it, and this is {shard[0]}/{shard[1]}, "
            "another division of the same jobs; wait for it, or start this one by the same division"
        )


def _at_work(out: Path, but: int = 0) -> Iterator[Path]:
    """Locks of shards that a living process holds, but for those of one division; each of them takes time."""
    for lock in sorted((out / "manifest").glob("*-of-*.lock")):
        if int(lock.stem.partition("-of-")[2]) != but and _is_locked(lock, PROBE_SECONDS):
            yield lock


def _shard_of(lock: Path) -> str:
    """`r/n` of a shard's lock."""
    rank, world = lock.stem.split("-of-")
    return f"{int(rank)}/{int(world)}"


def empty(out: Path) -> None:
    """Remove what ARGen made in an output folder, and nothing else."""
    if not (out / "run.json").exists():
        return
    for name in OURS:
        shutil.rmtree(out / name, ignore_errors=True)
    for name in OUR_FILES:
        (out / name).unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old text or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Say what the disk refused and what to do about it."""
    remedies = {
        errno.ENOSPC: "no space left; free some and run the same command again, what is done stays done",
        errno.EDQUOT: "quota used up; free some and run the same command again, what is done stays done",
        errno.EACCES: "no permission to write; choose another output folder or change its permissions",
        errno.EROFS: "read-only; choose another output folder",
    }
    try:
        yield
    except OSError as error:
        if error.errno in remedies:
            raise EnvironmentFault(f"{error.filename or out}: {remedies[error.errno]}") from error
        raise


def source_listing(dataset: Dataset) -> dict[str, str]:
    """Clip id -> label, split, size and time of change: what tells that the source was edited."""
    return {clip.id: f"{clip.label}|{clip.split}|{_stamp(clip)}" for clip in dataset.clips}


def _stamp(clip: Clip) -> str:
    status = clip.path.stat()
    size = len(os.listdir(clip.path)) if clip.kind == "frames" else status.st_size  # noqa: PTH208 - fast
    return f"{size}|{status.st_mtime_ns}"


def _start_or_resume(
    out: Path, dataset: Dataset, plan: Plan, recipe: Recipe, models: Mapping[str, Any]
) -> None:
    listing, described = source_listing(dataset), describe_run(dataset, plan, recipe, models)
    path, listing_path = out / "run.json", out / "manifest" / "source.json"
    if not path.exists():
        write_atomically(
            listing_path, json.dumps(listing, ensure_ascii=False, indent=0, sort_keys=True) + "\n"
        )
        write_atomically(path, json.dumps(described, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
        return
    if not listing_path.exists():  # run.json is what goes last
        raise UsageError(f"{out}: was being emptied when that was stopped; start over with --fresh")
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = differing_keys(before["recipe"], described["recipe"])
    if changed:
        raise RecipeError(
            f"{out}: was begun with another recipe ({'; '.join(changed)}); go back to it, "
            "name a new output folder, or start over with --fresh"
        )
    _same_source(out, json.loads(listing_path.read_text(encoding="utf-8")), listing)
    if before["models"] != described["models"]:
        keys = differing_keys(before["models"], described["models"])
        raise RecipeError(
            f"{out}: was begun with other models ({'; '.join(keys)}); use those, or a new folder"
        )


def _same_source(out: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    if before == now:
        return
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    edited = sorted(key for key in set(before) & set(now) if before[key] != now[key])
    found = [
        f"{len(keys)} {what} (first: {keys[0]})"
        for keys, what in ((gone, "gone"), (new, "new"), (edited, "changed"))
        if keys
    ]
    raise UsageError(
        f"{out}: the source was edited since this run began: {', '.join(found)}; restore it, "
        "name a new output folder, or start over with --fresh"
    )


def describe_run(dataset: Dataset, plan: Plan, recipe: Recipe, models: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says: all that a clip depends on, and nothing that differs between two equal runs."""
    from argen.versions import versions

    return {
        "synthetic": "train/*/syn_*.mp4 were made by ARGen; everything else is the source's",
        "recipe": recipe.deciding(),
        "recipe_hash": recipe.hash,
        "source": {
            "root": str(dataset.root.resolve()),
            "layout": dataset.layout,
            "subjects_from": dataset.subjects_from,
            "clips": len(dataset.clips),
            "citation": dataset.citation,
        },
        "plan": {"have": dict(plan.have), "add": dict(plan.add), "refused": dict(plan.refused)},
        "models": dict(models),
        "versions": versions(),
    }


def _is_locked(path: Path, patience: float = 0.0) -> bool:
    """Whether a living process holds a lock; with some patience, one that only asks is not taken for it."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        return True
    lock.release()
    return False
