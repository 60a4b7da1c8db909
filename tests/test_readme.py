"""The README's blocks, run from top to bottom in a fresh folder, as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def blocks() -> list[tuple[str, str]]:
    """(language, text) of every block that is meant to be run."""
    return re.findall(
        r"```(bash|python)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )


def test_there_is_something_to_run():
    assert {language for language, _ in blocks()} == {"bash", "python"}


@pytest.mark.slow
def test_the_blocks_run_in_order(tmp_path):
    beside = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{beside}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for language, text in blocks():
        command = ["bash", "-euc", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in {0, 3}, f"{text}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "bigger/report/index.html").is_file()
    assert list((tmp_path / "bigger-fear").rglob("syn_*.mp4"))


def test_what_it_links_to_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (ROOT / target).exists(), target
    for folder in re.findall(r"`((?:argen|prompts|rewards|pipelines|configs|docs)/[\w/.]*)`", text):
        assert (ROOT / folder).exists(), folder
