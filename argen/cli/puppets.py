"""`argen puppets`: a dataset of the small world."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class _Profile(StrEnum):
    DFEW = "dfew"
    FERV39K = "ferv39k"
    MAFW = "mafw"
    BALANCED = "balanced"


class _Domain(StrEnum):
    LAB = "lab"
    WILD = "wild"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def puppets(
        out: Annotated[Path, typer.Argument(help="a new folder")],
        profile: Annotated[_Profile, typer.Option(help="whose class counts")] = _Profile.DFEW,
        seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same bytes")] = 0,
        scale: Annotated[float, typer.Option(help="multiplies the profile's counts")] = 1.0,
        domain: Annotated[
            _Domain, typer.Option(help="clean, or with occlusion, blur, noise, low light")
        ] = _Domain.LAB,
        size: Annotated[int, typer.Option(help="height and width, pixels")] = 64,
        difficulty: Annotated[float, typer.Option(help="0 full and plain .. 1 faint and blended")] = 0.4,
        label_noise: Annotated[
            float, typer.Option(help="share of training labels moved to a neighbour")
        ] = 0.0,
        test_per_class: Annotated[
            int | None, typer.Option(help="test clips of every class, instead of the profile's")
        ] = None,
    ) -> None:
        """Write clips of drawn faces with known Action Units, landmarks and identities."""
        from argen.puppets.world import write_dataset

        count = write_dataset(
            out, profile.value, seed, scale,
            domain=domain.value, size=size, difficulty=difficulty, label_noise=label_noise,
            test_per_class=test_per_class,
        )  # fmt: skip
        typer.echo(f"{out}: {count:,} clips")
