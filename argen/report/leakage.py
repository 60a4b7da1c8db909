"""The leakage table: what a reviewer asks of synthetic training data, answered by counting."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    held_out = [row for row in _rows(out / "manifest" / "real.jsonl") if row["split"] != "train"]
    listed = [row for split in ("val", "test") for row in _rows(out / split / "metadata.jsonl")]
    subjects = {row["subject"] for row in held_out if row.get("subject")}
    sources = {row["source"] for row in held_out}
    shared = sorted({record.subject for record in kept} & subjects)
    exemplars = {name.removeprefix("clip:") for record in kept for name in record.exemplars}
    return [
        Row(
            "synthetic clips whose source is not in the training split", sum(r.split != "train" for r in kept)
        ),
        Row("synthetic clips listed in validation or test", sum(bool(row["synthetic"]) for row in listed)),
        Row("exemplars from held-out clips", len(exemplars & sources)),
        Row(
            "subjects of synthetic clips who are also in validation or test",
            len(shared),
            ", ".join(shared[:5]),
        ),
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )
