"""The embedded checkpoint: a standard diffusers folder that knows only puppets (MODEL_CARD.md)."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from argen.errors import ModelUnavailable


def folder() -> Path:
    """Where the checkpoint lies, its files checked. Raises ModelUnavailable if one is not as shipped."""
    return verified(Path(__file__).parent)


@cache
def verified(path: Path) -> Path:
    """The folder itself, if every file that its `argen.json` names is there with the hash it names."""
    statement = path / "argen.json"
    if not statement.is_file():
        raise ModelUnavailable(
            f"{statement}: missing; reinstall argen, or train one: pipelines/train_embedded.py"
        )
    for name, wanted in json.loads(statement.read_text(encoding="utf-8"))["sha256"].items():
        file = path / name
        if not file.is_file():
            raise ModelUnavailable(f"{file}: missing; reinstall argen")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != wanted:
            raise ModelUnavailable(
                f"{file}: sha256 {found[:12]}..., not {wanted[:12]}... as shipped; reinstall argen"
            )
    return path
