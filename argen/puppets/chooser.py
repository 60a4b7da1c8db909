"""The chooser: the judge's twin for choosing, so that the judge is asked once, at the end.

It is made as the judge is, of other people with other seeds, and is in no reward: tuning keeps the adapter
that it likes best (`tune.judge`), and recipes are chosen by it. What has been chosen by a network
flatters it, so it never reports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from argen.puppets.examiner import Examiner

WEIGHTS: Final = Path(__file__).parent / "weights" / "chooser.safetensors"


class Chooser(Examiner):
    """Asked during tuning and between recipes."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__(weights)
