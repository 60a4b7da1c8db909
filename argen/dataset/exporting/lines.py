"""Text files of an export: written whole or not at all, one line end, one encoding."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """UTF-8, `\\n`, by way of a part file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    part.replace(path)
