"""Everything that ARGen can say went wrong.

    ArgenError                     exit 1
    ├── UsageError                 exit 2   what was asked cannot be done
    │   ├── RecipeError                     a recipe or a flag; lists every mistake at once
    │   └── DatasetError                    the folder that was given
    ├── EnvironmentFault           exit 4   this machine lacks something
    │   ├── MissingPackage                  says the pip line
    │   └── ModelUnavailable                weights not at hand, or not what they claim
    └── JobError                   (none)   one clip could not be made; becomes a record, the run goes on
        ├── NoFaceFound
        └── UnreadableClip

A message says what is wrong, where, and what to do. Each is one line, so that it survives a log.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ArgenError(Exception):
    """Root of the tree; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(ArgenError):
    """What was asked cannot be done."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or a flag is wrong; the message lists every mistake, one a line."""


class DatasetError(UsageError):
    """The folder of clips cannot be used as it is."""


class EnvironmentFault(ArgenError):
    """This machine lacks something: weights, a package, a device, disk."""

    exit_code = 4


class MissingPackage(EnvironmentFault):
    """An optional package is not installed."""


class ModelUnavailable(EnvironmentFault):
    """Weights are not at hand, or are not what they claim to be."""


class JobError(ArgenError):
    """One clip could not be made; it becomes a failed record and the run goes on."""


class NoFaceFound(JobError):
    """A frame or a clip without exactly one usable face."""


class UnreadableClip(JobError):
    """A clip that cannot be decoded."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something known is close, else the names that exist."""
    names = sorted(set(known))
    close = get_close_matches(word.lower(), [name.lower() for name in names], n=1)
    if close:
        original = next(name for name in names if name.lower() == close[0])
        return f"; did you mean '{original}'?"
    return f"; known: {', '.join(names)}" if names else ""
