"""Text lists as people keep them: any encoding, any line ends, any slashes."""

from __future__ import annotations

from pathlib import Path

from argen.errors import DatasetError

ENCODINGS = ("utf-8-sig", "gb18030", "latin-1")  # latin-1 last: it accepts anything


def read_text(path: Path, encodings: tuple[str, ...] = ("utf-8-sig",)) -> str:
    """A text file in the first encoding that fits. Raises DatasetError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    for encoding in encodings:
        try:
            return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            continue
    raise DatasetError(f"{path}: not {' or '.join(encodings)}; save it as UTF-8")
