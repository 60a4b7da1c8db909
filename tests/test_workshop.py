"""What the workshop hands to the gate."""

from pathlib import Path

import numpy as np
import pytest

from argen.affect.affect import Affect
from argen.anomaly.artefacts import inject
from argen.anomaly.gate import FaceGate
from argen.config import load_recipe
from argen.dataset.clip import Clip
from argen.dataset.read import read_dataset
from argen.face.cache import load_track
from argen.generate.request import Request
from argen.plan import Job
from argen.source import Source, as_placed
from argen.workshop import Workshop
from tests import fakes
from tests.anomaly.test_gate import make_clip


@pytest.fixture
def workshop(monkeypatch, tmp_path):
    monkeypatch.setattr("argen.workshop.load_reader", lambda *_: fakes.PaintedReader())
    monkeypatch.setattr("argen.workshop.load_generator", lambda settings: fakes.PaintedGenerator())
    source = fakes.painted_dataset(tmp_path / "source")
    recipe = load_recipe(overrides=["gate.anomaly=0.1"])
    return Workshop(read_dataset(source), recipe, tmp_path / "cache")


def test_a_fault_that_is_there_from_the_first_frame_is_seen_against_the_source(workshop, monkeypatch):
    frames, track = make_clip(51, 51)
    wide = np.pad(frames[0], ((0, 0), (9, 30), (0, 0)), mode="edge")  # the generator cuts a square of it
    landmarks = track.landmarks[0] + np.array([9, 0, 0], np.float32)
    units = np.zeros(20, np.float32)
    source = Source(
        Clip("a", "fear", "train", Path("a.png"), "image", "a"),
        0,
        wide,
        landmarks,
        units,
        np.ones(4, np.float32),
    )
    affect = Affect("fear", "", "template", np.zeros((len(frames), 20), np.float32), units,
                    np.zeros((len(frames), 3), np.float32), (), "prototype")  # fmt: skip
    gate = FaceGate.fit([make_clip(i, i) for i in range(4)], [make_clip(i, i) for i in range(10, 22)])
    monkeypatch.setattr(workshop, "_face_gate", gate)
    monkeypatch.setattr(workshop, "_toward", {"fear": units})
    broken = np.concatenate(
        [inject(frames[t : t + 1], track.landmarks[t : t + 1], "swap", seed=3) for t in range(len(frames))]
    )
    request = Request(wide, landmarks, units, affect, 0)
    job = Job("j", "fear", 0, "a", 0)
    scores = [
        workshop.judge(job, source, request, made, track).scores["anomaly"] for made in (frames, broken)
    ]
    assert scores[0] > 0.1
    assert scores[1] == pytest.approx(1 / 13, abs=1e-3)


def test_a_clip_is_compared_with_the_frame_that_it_began_with():
    """A small face in a frame of the clip's size: what takes the frame whole needn't zoom in."""
    frames, track = make_clip(51, 51)
    clip = Clip("a", "fear", "train", Path("a.png"), "image", "a")
    small = frames[0].shape[0]
    wide = np.pad(frames[0], ((0, small), (0, small), (0, 0)), mode="edge")
    units = np.zeros(20, np.float32)
    source = Source(clip, 0, wide, track.landmarks[0], units, np.ones(4, np.float32))
    picture, landmarks = as_placed(source, 2 * small, whole=True)
    np.testing.assert_array_equal(picture, wide)
    np.testing.assert_array_equal(landmarks, track.landmarks[0])
    zoomed, _ = as_placed(source, 2 * small, whole=False)
    assert not np.array_equal(zoomed, wide)


def test_a_damaged_track_is_measured_again(workshop, caplog):
    clip = workshop._dataset.train[0]
    workshop.track_of(clip)
    (path,) = workshop._cache.rglob("*.npz")
    path.write_bytes(b"")
    again = workshop.track_of(clip)
    assert "not a track that ARGen wrote" in caplog.text
    np.testing.assert_array_equal(load_track(path).action_units, again.action_units)
