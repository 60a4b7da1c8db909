"""The recogniser that is scored shares nothing with what shapes a clip, and reads nothing but frames."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SHAPING = [
    ROOT / "argen/gate.py",
    ROOT / "argen/augmentation.py",
    ROOT / "argen/workshop.py",
    ROOT / "argen/source.py",
]


def imports(path: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def inside(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(f"{package}.")}


def test_neither_gate_nor_rewards_nor_tuning_know_the_recogniser():
    files = [*SHAPING, *(ROOT / "rewards").glob("*.py"), *(ROOT / "argen/tuning").glob("*.py")]
    assert len(files) > 5
    for path in files:
        assert not inside(imports(path), "argen.recogniser"), path


def test_the_recogniser_knows_no_reader_no_judge_no_track_and_no_checkpoint():
    files = list((ROOT / "argen/recogniser").glob("*.py"))
    assert len(files) > 10
    for path in files:
        names = imports(path)
        assert not inside(names, "argen.puppets"), path
        assert inside(names, "argen.face") <= {"argen.face.action_units"}, (
            path
        )  # names of units, no measurement
