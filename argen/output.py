"""The finished folder: real clips beside the synthetic ones, tables that load in one line, and a card.

Everything here can be done again at any time and gives the same bytes; it is run whenever a process ends.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image

from argen.config import OutputSettings
from argen.dataset.clip import Clip, Dataset
from argen.dataset.exporting.media import link
from argen.dataset.exporting.names import folder_name
from argen.face.track import FaceTrack
from argen.manifest import Record
from argen.run import LOCK, Run, disk_errors, write_atomically
from argen.whole import part_of

FINISH_LOCK = "finish.lock"  # below manifest/: who holds it may move clips and write tables and the report
LOADING = "datasets.load_dataset('videofolder', data_dir='{out}')"


@dataclass(frozen=True)
class Summary:
    """What a run has come to, over all processes."""

    out: Path
    wanted: dict[str, int]
    kept: dict[str, int]
    dropped: dict[str, int]
    failed: dict[str, int]
    left: int  # jobs of other shards, or of a wave that was interrupted
    seconds: float  # of work, over all processes

    @property
    def short(self) -> dict[str, int]:
        """Clips still missing per class."""
        return {label: n - self.kept[label] for label, n in self.wanted.items() if n > self.kept[label]}

    @property
    def by_class(self) -> tuple[str, ...]:
        """What came of each class, in words."""
        return tuple(
            f"{label}: {self.kept[label]} of {wanted} kept, {self.dropped[label]} dropped, "
            f"{self.failed[label]} failed"
            for label, wanted in self.wanted.items()
        )

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.out / "report" / "index.html"

    @property
    def loading(self) -> str:
        """One line of Python that loads the result."""
        return LOADING.format(out=self.out)

    def as_dict(self) -> dict[str, Any]:
        """Plain data: summary.json, and what `--json` prints."""
        return {**asdict(self), "out": str(self.out), "report": str(self.report)}


def read_summary(out: Path) -> Summary:
    """What the last process to end in this folder counted."""
    row = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return Summary(out, **{f.name: row[f.name] for f in fields(Summary) if f.name != "out"})


def finish(run: Run, dataset: Dataset) -> Summary:
    """Bring the folder into its final form from what all processes have recorded so far."""
    with disk_errors(run.out), FileLock(run.out / "manifest" / FINISH_LOCK):
        with FileLock(run.out / LOCK):  # nobody begins until it is decided what is left over
            alone = run.alone()  # asked before reading: whoever ends meanwhile has recorded clips unseen here
            run.ledger.refresh()
            records = list(_slim(run))
            if alone:
                _remove_leftovers(run.out, {record["file_name"] for record in records})
        names = link_real(run.out, dataset, run.recipe.output)
        videos = {names[clip.id] for clip in dataset.clips if clip.kind == "video"}
        real = [real_row(clip, names[clip.id]) for clip in dataset.clips]
        write_atomically(run.out / "manifest" / "real.jsonl", as_lines(real))
        for split in ("train", "val", "test"):
            rows = [row for row in real if row["split"] == split and row["file_name"] in videos]
            if split == "train":
                rows += [synthetic_row(record) for record in records if record["status"] == "kept"]
            if rows:
                table = [{**row, "file_name": row["file_name"].split("/", 1)[1]} for row in rows]
                write_atomically(run.out / split / "metadata.jsonl", as_lines(table))
        summary = summarise(run, records)
        write_atomically(run.out / "README.md", dataset_card(dataset, summary))
        write_atomically(run.out / "summary.json", json.dumps(summary.as_dict(), indent=1) + "\n")
    return summary


def summarise(run: Run, records: Iterable[dict[str, Any]]) -> Summary:
    """Counts per class and status."""
    counts = Counter((record["label"], record["status"]) for record in records)
    by_status = {
        s: {label: counts[label, s] for label in run.plan.add} for s in ("kept", "dropped", "failed")
    }
    seconds = sum(record["seconds"] for record in records)
    left = len(run.plan.wave(run.ledger.settle()[0]))
    return Summary(run.out, dict(run.plan.add), **by_status, left=left, seconds=seconds)


def save_curves(path: Path, target: Float32[ndarray, "T 20"], track: FaceTrack) -> None:
    """Keep the Action Units that were asked for and those that were seen, for the report and for you."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    with part.open("wb") as file:
        np.savez_compressed(
            file, target=target, seen=track.action_units, face_count=track.face_count.astype(np.int16)
        )
    part.replace(path)


def source_picture(out: Path, clip_id: str) -> Path:
    """Where a run keeps the source frame of a clip, as a small picture for its report."""
    return out / "cache" / "sources" / f"{hashlib.sha256(clip_id.encode()).hexdigest()[:16]}.jpg"


def heat_picture(out: Path, job: str) -> Path:
    """Where a run keeps the heat map of a dropped clip."""
    return out / "cache" / "heat" / f"{job}.jpg"


def save_picture(path: Path, frame: UInt8[ndarray, "H W 3"], longest: int = 256) -> None:
    """Keep a small JPEG of a frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(frame)
    picture.thumbnail((longest, longest))
    part = part_of(path)
    picture.save(part, "JPEG", quality=88)
    part.replace(path)


def link_real(out: Path, dataset: Dataset, settings: OutputSettings) -> dict[str, str]:
    """Put every real clip beside the synthetic ones; clip id -> its name below OUT. Never writes to it."""
    names = real_names(dataset)
    put = link if settings.real == "link" else shutil.copy2
    for clip in dataset.clips:
        target = out / names[clip.id]
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if clip.path.is_dir():
            part = target.with_name(f"{target.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(clip.path, part, copy_function=put, symlinks=False)
        else:
            part = target.with_name(f"{target.name}.part")
            part.unlink(missing_ok=True)
            put(str(clip.path), str(part))
        part.rename(target)
    return names


def real_names(dataset: Dataset) -> dict[str, str]:
    """Clip id -> SPLIT/CLASS/NAME; the file's own name where that is unique in its class."""
    used = Counter((clip.split, clip.label, clip.path.name.casefold()) for clip in dataset.clips)
    names = {}
    for clip in dataset.clips:
        name = clip.path.name
        if used[clip.split, clip.label, name.casefold()] > 1:
            name = clip.id.replace("/", "_") + ("" if clip.kind == "frames" else clip.path.suffix)
        names[clip.id] = f"{clip.split}/{folder_name(clip.label)}/{name}"
    return names


def real_row(clip: Clip, name: str) -> dict[str, Any]:
    """A real clip's line: in manifest/real.jsonl for all, and in metadata.jsonl for those that are videos."""
    return {
        "file_name": name,
        "label": clip.label,
        "synthetic": clip.synthetic,
        "source": clip.id,
        "subject": clip.subject,
        "split": clip.split,
        "licence": clip.licence,
        "redistributable": clip.redistributable,
        "caption": "",
        "id": "",
    }


def as_lines(rows: Iterable[dict[str, Any]]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def synthetic_row(record: dict[str, Any]) -> dict[str, Any]:
    """A kept clip's line in metadata.jsonl, with the same columns as a real clip's."""
    row = {"file_name": record["file_name"], "synthetic": True}
    same = ("label", "source", "subject", "split", "licence", "redistributable", "caption", "id")
    return row | {name: record[name] for name in same}


def dataset_card(dataset: Dataset, summary: Summary) -> str:
    """README.md of the output, with the front matter that the hub reads."""
    import jinja2

    template = Path(__file__).parent / "report" / "templates" / "card.md.jinja"
    closed = sorted({clip.licence for clip in dataset.clips if not clip.redistributable})
    page = jinja2.Template(template.read_text(encoding="utf-8"), keep_trailing_newline=True)
    loading = LOADING.format(out=".")
    return str(page.render(kept=summary.kept, closed=closed, loading=loading, citation=dataset.citation))


def _slim(run: Run) -> Iterator[dict[str, Any]]:
    """Write manifest.jsonl from the journals, and hand on what the tables need."""
    keep = (
        "id", "label", "status", "file_name", "source", "subject", "split", "licence", "redistributable",
        "caption", "seconds",
    )  # fmt: skip
    target = run.out / "manifest.jsonl"
    part = part_of(target)
    settled = _settled(run)
    with part.open("w", encoding="utf-8") as file:
        for judged in run.ledger.records():
            record = _follow(run, judged, settled)
            file.write(record.to_json() + "\n")
            yield {name: getattr(record, name) for name in keep}
        file.flush()
        os.fsync(file.fileno())
    if target.exists() and filecmp.cmp(part, target, shallow=False):
        part.unlink()  # its time tells when records last changed; the report goes by it
    else:
        part.replace(target)


def _follow(run: Run, record: Record, settled: Callable[[Record], bool]) -> Record:
    """Bring a clip to where its record says, and have the record name no file that is not stored.

    A near-duplicate goes to dropped/, and comes back when what it repeated turns out to repeat another.
    """
    if not record.file_name:
        return record
    top, _, name = record.file_name.partition("/")
    here = run.out / record.file_name
    elsewhere = run.out / ("dropped" if top == "train" else "train") / name
    unwanted = record.status == "dropped" and not run.recipe.output.dropped
    if unwanted and settled(record):
        here.unlink(missing_ok=True)
        elsewhere.unlink(missing_ok=True)
    elif not here.exists() and elsewhere.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        elsewhere.replace(here)
    return replace(record, file_name="") if unwanted and not here.exists() else record


def _settled(run: Run) -> Callable[[Record], bool]:
    """Whether a near-duplicate stays one: no job that comes before it is left, nor can be tried again."""
    if run.plan.wave(run.ledger.settle()[0]):
        return lambda record: False
    failed = {(e.label, e.source) for e in run.ledger.entries.values() if e.status == "failed"}
    return lambda record: (record.label, record.source) not in failed


def _remove_leftovers(out: Path, named: set[str]) -> None:
    """Delete parts and clips that no record names: what killed processes left behind."""
    clips = [path for folder in ("train", "dropped") for path in (out / folder).glob("*/syn_*")]
    tracks = {f"{Path(name).stem.removeprefix('syn_')}.npz" for name in named}
    for path in clips:
        if path.relative_to(out).as_posix() not in named:
            path.unlink()
    for path in (out / "tracks").glob("*"):
        if path.name not in tracks:
            path.unlink()
    for path in (*out.glob("*.part"), *out.glob("*/*.part"), *out.glob("*/*/*.part")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
