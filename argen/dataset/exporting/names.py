"""Names of exported clips: nothing that a list's separators trip over, no two alike in any case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from argen.dataset.clip import Clip
from argen.dataset.stills import natural

FIRST_SYNTHETIC = 90000
"""DFEW's ids end at 16,372 and are read as integers by S2D: ours start here."""


def own_name(clip: Clip) -> str:
    """What the dataset itself calls a clip: `00001` in DFEW, `Action/Happy/0001` in FERV39k."""
    return clip.extra.get("name") or clip.id.rpartition("/")[2]


def safe(name: str) -> str:
    """Letters, digits, `_`, `-`, `.` and `/`; everything else becomes `_`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    parts = [re.sub(r"[^A-Za-z0-9_.-]+", "_", part).strip("._") or "clip" for part in plain.split("/")]
    return "/".join(parts)


def exported_names(clips: Sequence[Clip]) -> dict[str, str]:
    """Clip id -> name. Real clips keep their own; synthetic ones start with `syn_`; twins are numbered."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for clip in sorted(clips, key=lambda clip: (clip.synthetic, natural(clip.id))):
        wanted = safe(own_name(clip))
        if clip.synthetic and not wanted.rpartition("/")[2].startswith("syn_"):
            wanted = f"syn_{wanted.replace('/', '_')}"
        names[clip.id] = _free(wanted, taken)
    return names


def numeric_names(clips: Sequence[Clip]) -> dict[str, str]:
    """Clip id -> five digits. Real clips keep theirs if all have one; synthetic ones count from 90000."""
    real = sorted((c for c in clips if not c.synthetic), key=lambda clip: natural(clip.id))
    synthetic = sorted((c for c in clips if c.synthetic), key=lambda clip: natural(clip.id))
    own = [own_name(clip) for clip in real]
    numbers = [int(name) for name in own] if all(name.isdecimal() for name in own) else []
    if len(set(numbers)) < len(real):
        numbers = list(range(1, len(real) + 1))
    start = max([FIRST_SYNTHETIC - 1, *numbers]) + 1
    numbers += range(start, start + len(synthetic))
    return {clip.id: f"{number:05d}" for clip, number in zip((*real, *synthetic), numbers, strict=True)}


def folder_name(label: str) -> str:
    """A label as a folder's name: itself, with what a path cannot carry percent-encoded."""
    return re.sub(r'[/\\:*?"<>|%\x00-\x1f]|^\.|[. ]$', lambda c: f"%{ord(c[0]):02X}", label) or "%"


def twins(names: Iterable[str]) -> list[str]:
    """Names that occur twice, whatever the case of their letters."""
    seen: set[str] = set()
    return [name for name in names if name.casefold() in seen or seen.add(name.casefold())]  # type: ignore[func-returns-value]


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name.casefold() in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name.casefold())
    return name
