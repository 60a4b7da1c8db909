"""The judge of final scores: other people, other seeds, another architecture than the reader's.

Nothing but final scoring (benchmarks, measure_gain) may import this: a number that has been
optimised against is no measure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from argen.puppets.examiner import Examiner

WEIGHTS: Final = Path(__file__).parent / "weights" / "judge.safetensors"


class Judge(Examiner):
    """Asked once, at the end."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__(weights)
