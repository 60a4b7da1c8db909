"""The benchmark of the gate: which clips a fault is put into, and whose clips an interval is of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from argen.dataset.clip import Clip
from argen.plan import Job
from argen.source import Source
from benchmarks import gate
from benchmarks.gate import Made


def made(label: str, source: str, shade: int) -> Made:
    clip = Clip(source, "neutral", "train", Path(source), "video", f"person of {source}")
    nothing = np.zeros(20, np.float32)
    face = Source(clip, 0, np.zeros((4, 4, 3), np.uint8), np.zeros((478, 3), np.float32), nothing, nothing)
    return Made(
        Job(label, label, 0, source, 0), face, SimpleNamespace(), np.full((2, 4, 4, 3), shade, np.uint8)
    )


def test_a_clip_whose_source_has_one_emotion_gets_no_wrong_one():
    clips = [made("happy", "a", 1), made("sad", "a", 2), made("happy", "b", 3)]
    wrong = gate.faults(clips)["wrong_emotion"]
    assert wrong(0).frames.max() == 2
    assert wrong(1).frames.max() == 1
    assert wrong(2) is None  # not a frozen face, which another check catches


def test_the_interval_of_a_share_is_over_people():
    outcomes, people = [True] * 20 + [False] * 20, ["ann"] * 20 + ["bob"] * 20
    found = gate.share("x", outcomes, people, "")
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.0, 1.0, 40)
    alone = gate.share("x", outcomes, [str(i) for i in range(40)], "")
    assert (alone.low, alone.high) == pytest.approx((0.35, 0.65), abs=0.06)
