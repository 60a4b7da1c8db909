"""The report of an experiment: one page without network, script or media beside it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from argen.dataset.clip import Clip
from argen.dataset.video import read_frames
from argen.errors import JobError
from argen.gain.arms import Arm, arms_of, why_not
from argen.gain.charts import Row, forest_svg, sweep_svg
from argen.gain.findings import ArmFindings, Findings, figures
from argen.gain.folder import Experiment, read_json
from argen.gain.guards import check_adapter
from argen.gain.pools import is_made, read_records
from argen.gain.settings import REAL, GainSettings
from argen.gain.verdict import RULE
from argen.gain.worlds import read_world, real_counts
from argen.manifest import Record
from argen.run import write_atomically

SHOWN: Final = 4  # clips of a pool in the page
MOMENTS: Final = 6  # frames of each
SIDE: Final = 56  # pixels


@dataclass(frozen=True)
class PoolFacts:
    """What the page says of a pool."""

    name: str
    recipe: str
    made_by: dict[str, str]
    reader: str
    kept: int
    dropped: int
    failed: int
    reasons: list[tuple[str, int]]
    sheet: str  # a JPEG as data URI; a row a clip


def write_gain_report(experiment: Experiment, found: Findings) -> Path:
    """Write OUT/report.html. Needs the world and the pools that the runs were made from."""
    import jinja2

    here = Path(__file__).parent
    loader = jinja2.FileSystemLoader([here / "templates", here.parent / "report" / "templates"])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    dataset, gain = read_world(experiment), experiment.gain
    test = [clip for clip in dataset.clips if clip.split == "test"]
    tests = dataset.counts("test")
    swept = [(share, found.of(name)) for share, name in found.sweep]
    points = [(share, one.uar, one.per_seed) for share, one in swept if one]
    page = environment.get_template("gain.html.jinja").render(
        found=found,
        named=[one for one in found.arms if "@" not in one.arm.name],
        figures=list(figures(found)),
        forest=forest_svg([_row(one) for one in found.arms if "@" not in one.arm.name]),
        sweep=sweep_svg(points) if len(points) > 1 else "",
        swept=swept_title(gain),
        rule=RULE,
        gain=gain,
        have=real_counts(dataset),
        people={split: _people((*dataset.sources, *test), split) for split in ("train", "test")},
        pools=[_facts(folder) for folder in sorted((experiment.out / "pools").glob("*")) if is_made(folder)],
        adapter=check_adapter(gain.adapter, test),
        settings=found.arms[0].arm.settings,
        puppets=gain.world.data is None,
        few=[label for label in found.classes if tests.get(label, 0) < 100],
    )
    path = experiment.out / "report.html"
    write_atomically(path, page)
    return path


def swept_title(gain: GainSettings) -> str:
    """The arm of the sweep as the report calls it; empty where none can be run."""
    arms = arms_of(gain)
    return next((arms[name].title for name in gain.sweep.arms if why_not(arms[name], gain) is None), "")


def _row(one: ArmFindings) -> Row:
    return Row(one.arm.title, one.uar, one.per_seed, _kind(one.arm))


def _kind(arm: Arm) -> str:
    """Class of an arm's colour."""
    if not arm.adds:
        return "real"
    return "top" if arm.pool == REAL else "made"


def _people(clips: Sequence[Clip], split: str) -> int:
    return len({clip.subject for clip in clips if clip.split == split})


def _facts(folder: Path) -> PoolFacts:
    records, run = read_records(folder), read_json(folder / "run.json")
    status = Counter(record.status for record in records)
    why = Counter(_first_check(record) for record in records if record.status == "dropped")
    return PoolFacts(
        folder.name.rpartition("-")[0],
        run["recipe_hash"],
        {k: str(v)[:24] for k, v in run["models"]["generator"].items() if v},
        run["models"]["reader"]["name"],
        status["kept"],
        status["dropped"],
        status["failed"],
        why.most_common(4),
        _sheet(folder, records),
    )


def _first_check(record: Record) -> str:
    """The check that a dropped clip failed most plainly."""
    return record.reason.partition(" (")[2].partition(" ")[0] or "distinct"


def _sheet(folder: Path, records: Sequence[Record]) -> str:
    """Some kept clips of different classes, frames side by side, as a data URI; empty where none decodes."""
    import cv2

    by_label: dict[str, Record] = {}
    for record in records:
        if record.kept:
            by_label.setdefault(record.label, record)
    rows = []
    for record in list(by_label.values())[:SHOWN]:
        clip = Clip(record.id, record.label, "train", folder / record.file_name, "video", record.subject)
        try:
            frames = read_frames(clip, MOMENTS, SIDE)
        except JobError:
            continue
        rows.append(np.concatenate(list(frames), axis=1))
    if not rows:
        return ""
    width = min(row.shape[1] for row in rows)
    picture = np.concatenate([row[:, :width] for row in rows])[:, :, ::-1]
    data: Any = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
