"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
import platform
import secrets
from pathlib import Path
from typing import Final

HOST: Final = platform.node()[:20]


def part_of(path: Path) -> Path:
    """A name beside `path` to write under, that no other process takes.

    Containers on one disk may share a process id, even a host's name, so a part of it is random. The file's
    own name is cut: file systems take 255 bytes.
    """
    return path.with_name(f"{path.name[:40]}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")
