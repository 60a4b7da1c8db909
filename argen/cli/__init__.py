"""The commands `argen` and `argen-augment`. Light to import: heavy things are imported inside commands.

Exit codes: 0 done; 1 a bug; 2 usage or recipe; 3 finished short of the target; 4 environment;
130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from importlib import import_module

import typer

from argen.errors import ArgenError

TOPICS = ("augment", "inspect", "dataset", "anomaly", "puppets", "recognise")


def main() -> None:
    """Entry point of `argen`."""
    app = typer.Typer(
        help="A folder of face clips in, a bigger one out: synthetic clips of the rare emotions.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    for topic in TOPICS:
        import_module(f"argen.cli.{topic}").register(app)
    run(app)


def augment_main() -> None:
    """Entry point of `argen-augment`, which is `argen augment`."""
    from argen.cli.augment import augment_command

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.command(name="argen-augment")(augment_command)
    run(app)


class _ToStderr(logging.Handler):
    """Says what is said to whatever stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def run(app: Callable[[], object]) -> None:
    """Run a command; every expected error is one message on stderr and the exit code it stands for."""
    logger = logging.getLogger("argen")
    logger.setLevel(os.environ.get("ARGEN_LOG", "INFO").upper())
    logger.handlers = [_ToStderr()]
    name = os.path.basename(sys.argv[0])  # noqa: PTH119 - pathlib is not needed for a name
    try:
        app()
    except ArgenError as error:
        for line in str(error).splitlines():
            print(f"{name}: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
