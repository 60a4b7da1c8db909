"""The gate: what passes, what each check catches, and what near-duplicates are told by."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.affect.affect import Affect
from argen.config import GateSettings
from argen.face.action_units import ACTION_UNITS, au_vector
from argen.gate import REASONS, Check, Verdict, distinctness, fingerprint, judge
from tests import fakes

APEX = au_vector({"AU04": 0.7, "AU09": 0.8, "AU10": 0.6})
PERSON = 0.1


def affect(frames: int = 24) -> Affect:
    rise = np.clip(np.linspace(-0.2, 1.2, frames), 0, 1)
    smooth = (rise**2 * (3 - 2 * rise))[:, None].astype(np.float32)
    trajectory = np.clip(0.02 + smooth * (APEX - 0.02), 0, 1).astype(np.float32)
    still = np.zeros((frames, 3), np.float32)
    return Affect("disgust", "", "template", trajectory, np.zeros(20, np.float32), still, (), "prototype")


def ask(frames: np.ndarray, wanted: Affect | None = None, settings: GateSettings | None = None) -> Verdict:
    wanted = wanted or affect()
    source = fakes.paint(wanted.trajectory[:1], PERSON)[0]
    reader = fakes.PaintedReader()
    return judge(
        frames,
        reader(frames),
        wanted,
        source=source,
        person=reader(source[None]).person,
        toward=APEX,
        same_person=reader.same_person,
        settings=settings or GateSettings(),
    )


def good() -> np.ndarray:
    return fakes.paint(affect().trajectory, PERSON)


def test_what_was_asked_for_is_kept():
    verdict = ask(good())
    assert verdict.kept
    assert verdict.reason == "passed 8 checks"
    assert set(verdict.scores) == set(REASONS) - {"anomaly"}


@pytest.mark.parametrize(
    ("check", "spoil"),
    [
        ("one_face", lambda f: np.concatenate([f[:20], f[20:] * 0])),
        ("identity", lambda f: fakes.paint(affect().trajectory, 1.0)),
        ("requested", lambda f: np.repeat(f[:1], len(f), axis=0)),
        ("alive", lambda f: np.repeat(f[:1], len(f), axis=0)),
        ("smooth", lambda f: f[np.r_[0, 1 + np.random.default_rng(0).permutation(len(f) - 1)]]),
        ("sharp", lambda f: np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in f])),
        ("expression", lambda f: fakes.paint(np.clip(0.6 - affect().trajectory, 0, 1), PERSON)),
        ("unrequested", lambda f: fakes.paint(np.clip(affect().trajectory + _stray(), 0, 1), PERSON)),
    ],
)
def test_each_check_catches_its_fault_and_says_so(check, spoil):
    verdict = ask(spoil(good()).astype(np.uint8))
    assert not verdict.kept
    failed = {c.name for c in verdict.checks if not c.passed}
    assert check in failed
    assert REASONS[check] in verdict.reason


def _stray() -> np.ndarray:
    units = np.zeros((24, 20), np.float32)
    units[8:, 12:] = 0.9
    return units


def test_the_anomaly_check_is_asked_only_where_a_detector_is():
    wanted = affect()
    verdict = ask(good(), wanted, GateSettings(anomaly=0.05))
    assert "anomaly" not in verdict.scores
    track = fakes.PaintedReader()(good())
    source = good()[0]
    rejected = judge(
        good(), track, wanted, source=source, person=track.person, toward=APEX, same_person=0.6,
        settings=GateSettings(anomaly=0.05), p_value=0.04,
    )  # fmt: skip
    assert REASONS["anomaly"] in rejected.reason


def test_a_score_that_is_not_a_number_never_passes():
    assert not Check("sharp", float("nan"), 0.0).passed


def test_the_reason_names_the_unit_that_misses_most():
    still = np.repeat(good()[:1], 24, axis=0)
    assert "AU09 nose wrinkler: asked +0.78, seen +0.00" in ask(still).reason


@given(st.lists(st.binary(min_size=80, max_size=80), min_size=1, max_size=8))
def test_distinctness_is_a_symmetric_score_of_zero_to_one(prints):
    scores = distinctness(prints)
    assert scores.shape == (len(prints), len(prints))
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert np.allclose(scores, scores.T, atol=1e-3)
    assert np.diag(scores).max() < 0.05


def test_the_same_movement_is_a_duplicate_and_another_is_not():
    track = fakes.PaintedReader()(good())
    softer = replace(track, action_units=track.action_units * 0.5)
    prints = [bytes.fromhex(fingerprint(t)) for t in (track, track, softer)]
    scores = distinctness(prints)
    assert scores[0, 1] < 0.05
    assert scores[0, 2] > 0.5


def test_a_clip_without_a_face_has_a_fingerprint_too():
    track = fakes.PaintedReader()(good() * 0)
    assert len(bytes.fromhex(fingerprint(track))) == 4 * len(ACTION_UNITS)
