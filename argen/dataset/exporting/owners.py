"""Whose every place of an export is: a name may pass to another clip when the clips become more.

Names are numbered over the whole list of clips, so a resumed run can move them; what lies there already
is kept only where it was made from the same clip in the same state.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from argen.dataset.clip import Clip
from argen.dataset.exporting.lines import write_lines
from argen.dataset.fingerprint import quick_fingerprint
from argen.errors import UnreadableClip

OWNERS = "owners.json"


def owner_of(clip: Clip) -> dict[str, str]:
    """A clip and the state of its files."""
    try:
        return {"clip": clip.id, "state": quick_fingerprint(clip)}
    except UnreadableClip:
        return {"clip": clip.id, "state": "unreadable"}


def claim(out: Path, owners: Mapping[str, Mapping[str, str]]) -> None:
    """Clear the places below `out` that held another clip, then note whose they are from now on.

    The note is written before anything is put there, so a kill leaves nothing under a wrong name.
    """
    before = _noted(out / OWNERS)
    for place, owner in owners.items():
        if before.get(place) != owner:
            _remove(out, place)
    write_lines(out / OWNERS, [json.dumps(owners, ensure_ascii=False, indent=1)])


def _noted(path: Path) -> Mapping[str, Any]:
    """What the last export noted; nothing where there is no note, so that everything is made anew."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _remove(out: Path, place: str) -> None:
    path = out / PurePosixPath(place)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
