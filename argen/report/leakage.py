"""The leakage table: what a reviewer asks of synthetic training data, answered by counting."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from argen.manifest import Record


@dataclass(frozen=True)
class Row:
    """One question; `count` must be 0 to be well."""

    question: str
    count: int
    detail: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing leaks here."""
        return self.count == 0


def leakage(out: Path, records: Sequence[Record]) -> list[Row]:
    """Count, for a finished folder, whatever could carry held-out clips into training."""
    kept = [record for record in records if record.kept]
    held_out = list(_rows(out, ("val", "test")))
    subjects = {row["subject"] for row in held_out if row.get("subject")}
    sources = {row["source"] for row in held_out}
    shared = sorted({record.subject for record in kept} & subjects)
    exemplars = {name.removeprefix("clip:") for record in kept for name in record.exemplars}
    return [
        Row(
            "synthetic clips whose source is not in the training split", sum(r.split != "train" for r in kept)
        ),
        Row("synthetic clips listed in validation or test", sum(bool(row["synthetic"]) for row in held_out)),
        Row("exemplars from held-out clips", len(exemplars & sources)),
        Row(
            "subjects of synthetic clips who are also in validation or test",
            len(shared),
            ", ".join(shared[:5]),
        ),
    ]


def _rows(out: Path, splits: Iterable[str]) -> Iterable[dict[str, str]]:
    for split in splits:
        path = out / split / "metadata.jsonl"
        if path.exists():
            yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
