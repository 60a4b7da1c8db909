"""The report: one page that opens from disk, with its media beside it. Built from the records alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock

from argen.dataset.clip import Clip
from argen.dataset.video import read_frames
from argen.errors import JobError, UsageError
from argen.gate import REASONS
from argen.manifest import Record
from argen.output import FINISH_LOCK, Summary, heat_picture, read_summary, source_picture
from argen.report.charts import curves_svg, draw_target, save_image
from argen.report.leakage import leakage
from argen.report.methods import methods
from argen.run import write_atomically

ON_INDEX: Final = 24  # clips on the first page's wall, whatever the run's size
ON_PAGE: Final = 100  # clips on one page of a class
WORST: Final = 20  # and at most a quarter of those kept, which the wall shows as well
DROPPED_SHOWN: Final = 12


@dataclass(frozen=True)
class Card:
    """One clip as the page shows it."""

    record: Record
    clip: str  # paths relative to the page
    poster: str
    source: str
    target: str
    curves: str
    weakest: str  # the check with the least margin
    heat: str  # where CIF saw something strange, for a dropped clip


@dataclass(frozen=True)
class Material:
    """All that a report is made from."""

    out: Path
    run: dict[str, Any]
    summary: Summary
    records: tuple[Record, ...]

    @cached_property
    def kept(self) -> tuple[Record, ...]:
        """Kept clips, in the order of the plan."""
        return tuple(record for record in self.records if record.kept)

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """The gate's, by check."""
        return dict(self.run["recipe"]["gate"])

    def margin(self, record: Record) -> float:
        """The margin of the clip's weakest check."""
        return min(self.margins(record).values(), default=math.inf)

    def margins(self, record: Record) -> dict[str, float]:
        """How far each check is on the way from its threshold (0) to the best that it can say (1).

        Not plain differences: what asks for 0.9 would seem the weakest of every clip that is perfect in it.
        """
        margins = {}
        for name, score in record.scores.items():
            threshold = self.thresholds.get(name, 0.0)
            margins[name] = (score - threshold) / max(1 - threshold, 1e-9) if score < 1 else 1.0
        return margins


def write_report(out: Path, *, anew: bool = True) -> Path:
    """Write OUT/report and return its index. Raises UsageError for a folder that holds no run.

    Not `anew`, only if the records have changed since the last time: of processes that end together one does.
    """
    _refuse_unfinished(out)
    (out / "manifest").mkdir(exist_ok=True)
    with FileLock(out / "manifest" / FINISH_LOCK):  # records and clips stay as they are meanwhile
        index = out / "report" / "index.html"
        if anew or not _is_newer(index, out / "manifest.jsonl"):
            _write_pages(read_material(out), index)
    return index


def _refuse_unfinished(out: Path) -> None:
    if not (out / "run.json").is_file() or not (out / "manifest.jsonl").is_file():
        raise UsageError(f"{out}: holds no finished run (no manifest.jsonl); run argen-augment into it first")


def _is_newer(made: Path, source: Path) -> bool:
    """Whether a file was written after what it is made from, or that is gone."""
    if not made.exists():
        return False
    return not source.exists() or made.stat().st_mtime_ns > source.stat().st_mtime_ns


def _write_pages(material: Material, index: Path) -> None:
    folder = index.parent
    (folder / "media").mkdir(parents=True, exist_ok=True)
    common = _common(material)
    worst = sorted(material.kept, key=material.margin)[: min(WORST, len(material.kept) // 4)]
    dropped = [record for record in material.records if record.status == "dropped" and record.file_name]
    page = _template("report.html.jinja").render(
        **common,
        cards=_cards(material, _spread(material.kept, ON_INDEX)),
        worst=_cards(material, worst),
        dropped=_cards(material, _spread(dropped, DROPPED_SHOWN)),
        balance=balance(material),
        reasons=reasons(material.records),
        failures=Counter(
            record.reason for record in material.records if record.status == "failed"
        ).most_common(20),
        leakage=leakage(material.out, material.records),
        methods=methods(material.run, material.records),
        pages=_class_pages(material, common, folder),
    )
    write_atomically(index, page)


def read_material(out: Path) -> Material:
    """Read a run's folder."""
    _refuse_unfinished(out)
    with (out / "manifest.jsonl").open(encoding="utf-8") as file:
        records = tuple(Record.from_dict(json.loads(line)) for line in file)
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return Material(out, run, read_summary(out), records)


def balance(material: Material) -> list[dict[str, Any]]:
    """Per class: real clips, synthetic clips, and their widths in percent of the longest bar."""
    have, kept = material.run["plan"]["have"], Counter(record.label for record in material.kept)
    labels = sorted(set(have) | set(kept), key=lambda label: -(have.get(label, 0) + kept[label]))
    longest = max(have.get(label, 0) + kept[label] for label in labels)
    return [
        {
            "label": label,
            "real": have.get(label, 0),
            "synthetic": kept[label],
            "real_width": 100 * have.get(label, 0) / longest,
            "synthetic_width": 100 * kept[label] / longest,
        }
        for label in labels
    ]


def reasons(records: Iterable[Record]) -> list[tuple[str, str, int]]:
    """Check, its meaning, and how many clips it dropped (first reason only), most first."""
    counter: Counter[str] = Counter()
    for record in records:
        if record.status == "dropped":
            first = record.reason.partition(" (")[2].partition(" ")[0] or "distinct"
            counter[first] += 1
    said = {**REASONS, "distinct": "a near-duplicate of a kept clip"}
    return [(name, said.get(name, name), count) for name, count in counter.most_common()]


def _common(material: Material) -> dict[str, Any]:
    seconds = sum(record.seconds for record in material.records)
    clips = [material.out / record.file_name for record in material.kept]
    size = sum(clip.stat().st_size for clip in clips if clip.exists())  # `argen verify` says which is missing
    return {
        "run": material.run,
        "summary": material.summary,
        "total": len(material.records),
        "kept": len(material.kept),
        "seconds": seconds,
        "megabytes": size / 1e6,
        "checks": REASONS,
        "thresholds": material.thresholds,
    }


def _class_pages(material: Material, common: dict[str, Any], folder: Path) -> list[tuple[str, str, int]]:
    """Write every kept clip's card, a hundred a page; (class, file, clips) for the index to link."""
    pages = []
    labels = sorted({record.label for record in material.kept})
    for number, label in enumerate(labels):
        of_class = [record for record in material.kept if record.label == label]
        if len(of_class) <= ON_INDEX and len(labels) == 1:
            continue  # all of them are on the index
        for start in range(0, len(of_class), ON_PAGE):
            part = of_class[start : start + ON_PAGE]
            name = f"class-{number}-{start // ON_PAGE + 1}.html"
            html = _template("class.html.jinja").render(
                **common,
                label=label,
                cards=_cards(material, part),
                first=start + 1,
                of=len(of_class),
            )
            write_atomically(folder / name, html)
            pages.append((label, name, len(part)))
    return pages


def _cards(material: Material, records: Sequence[Record]) -> list[Card]:
    return [_card(material, record) for record in records]


def _card(material: Material, record: Record) -> Card:
    media, up = material.out / "report" / "media", "../"
    poster, target = media / f"{record.id}.jpg", media / f"{record.id}-target.png"
    clip = material.out / record.file_name
    if not _is_newer(poster, clip):
        _write_poster(clip, record, poster)
    if not target.exists():
        draw_target(np.asarray(record.target, np.float32), target)
    curves = material.out / "tracks" / f"{record.id}.npz"
    svg = ""
    if curves.exists():
        with np.load(curves, allow_pickle=False) as arrays:
            svg = curves_svg(arrays["target"], arrays["seen"])
    source = source_picture(material.out, record.source)
    margins = material.margins(record)
    return Card(
        record,
        up + record.file_name,
        f"media/{poster.name}",
        _below(material.out, source),
        f"media/{target.name}",
        svg,
        min(margins, key=lambda name: margins[name]) if margins else "",
        _below(material.out, heat_picture(material.out, record.id)),
    )


def _below(out: Path, path: Path) -> str:
    """A file of OUT as the report links it; empty if there is none."""
    return f"../{path.relative_to(out).as_posix()}" if path.exists() else ""


def _write_poster(path: Path, record: Record, poster: Path) -> None:
    """The clip's strongest frame, as what a still page shows."""
    try:
        frames = read_frames(Clip(record.id, record.label, "train", path, "video", record.subject))
    except JobError:
        return
    apex = int(np.abs(frames.astype(np.int16) - frames[0]).mean(axis=(1, 2, 3)).argmax())
    save_image(poster, np.ascontiguousarray(frames[apex][:, :, ::-1]))


def _spread(records: Sequence[Record], most: int) -> list[Record]:
    """At most `most` records, evenly from the whole run."""
    if len(records) <= most:
        return list(records)
    return [records[round(i)] for i in np.linspace(0, len(records) - 1, most)]


def _template(name: str) -> Any:  # noqa: ANN401 - jinja2 is imported on use
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template(name)
