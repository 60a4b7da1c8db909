"""Thresholds from real clips: how these are cut, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from argen.calibration import as_generated, calibrate_gate
from argen.config import load_recipe
from argen.dataset.read import read_dataset
from argen.dataset.video import read_frames
from argen.errors import DatasetError
from argen.face.track import FaceTrack
from argen.generate.placing import ROOM, place
from argen.workshop import Workshop
from tests import fakes

FACE, SIZE = 40, 64


class BoxReader(fakes.PaintedReader):
    """A face is what is green; its landmarks fill the box around it."""

    def __call__(self, frames: np.ndarray, first_units: np.ndarray | None = None) -> FaceTrack:
        there = frames[..., 1] > 100
        seen = there.any(axis=(1, 2))
        landmarks = np.full((len(frames), 478, 3), np.nan, np.float32)
        for row in np.flatnonzero(seen):
            y, x = np.nonzero(there[row])
            corners = np.array([[x.min(), y.min(), 0], [x.max(), y.max(), 0]], np.float32)
            landmarks[row] = np.resize(corners, (478, 3))
        units = np.full((len(frames), 20), np.nan, np.float32)
        units[seen] = 0.1 * np.arange(seen.sum())[:, None] / len(frames)
        track = super().__call__(frames, first_units)
        face_count = seen.astype(np.int64)
        return replace(track, action_units=units, landmarks=landmarks, face_count=face_count)


def film(folder: Path, shape: tuple[int, int], corner: tuple[int, int], green: int = 255) -> Path:
    """Eight frames of a face that drifts by a pixel a frame, from `corner` (x, y); a wall at the left."""
    folder.mkdir(parents=True)
    x, y = corner
    for t in range(8):
        frame = np.zeros((*shape, 3), np.uint8)
        frame[:, : shape[1] // 8, 0] = 200
        stripes = np.where(np.arange(FACE) % 8 < 4, green, green // 2 + 1)
        frame[y : y + FACE, x + t : x + t + FACE, 1] = stripes
        cv2.imwrite(str(folder / f"{t:03}.png"), frame[..., ::-1])
    return folder


@pytest.fixture
def wide(tmp_path):
    for label in ("fear", "neutral"):
        film(tmp_path / "clips/train" / label / "a", (180, 320), (240, 100))
    return read_dataset(tmp_path / "clips")


@pytest.fixture(autouse=True)
def readers(monkeypatch):
    for module in ("calibration", "workshop"):
        monkeypatch.setattr(f"argen.{module}.load_reader", lambda *_: BoxReader())


@pytest.mark.parametrize("generator", ["warp", "diffusion"])
def test_a_real_clip_is_cut_around_its_face_as_generated_ones_are(wide, generator):
    recipe = load_recipe(overrides=[f"generate.size={SIZE}", f"generate.generator={generator}"])
    frames, track = as_generated(wide.train[0], BoxReader(), recipe)
    assert frames.shape == (8, SIZE, SIZE, 3)
    assert np.ptp(track.landmarks[0, :, 0]) == pytest.approx(SIZE / ROOM, abs=2)
    middle = track.landmarks[:, :, 0].mean(axis=1)
    assert middle[0] == pytest.approx(SIZE / 2, abs=2)
    assert middle[-1] - middle[0] == pytest.approx(7 * SIZE / ROOM / FACE, abs=2)  # one square for all frames
    assert frames[..., 0].max() < 20  # the wall is outside


def test_the_anomaly_check_sees_real_clips_in_the_same_cut(wide, monkeypatch, tmp_path):
    monkeypatch.setattr("argen.workshop.load_generator", lambda settings: fakes.PaintedGenerator())
    recipe = load_recipe(overrides=[f"generate.size={SIZE}", "generate.frames=5"])
    with_faces = Workshop(wide, recipe, tmp_path / "cache")
    clip = wide.train[0]
    frames, _ = with_faces._as_generated(clip)
    source = with_faces.source(clip.id)
    assert frames.shape == (5, SIZE, SIZE, 3)
    np.testing.assert_array_equal(frames[0], place(source.frame, source.landmarks, SIZE).frame)


@pytest.mark.parametrize(("generator", "whole"), [("diffusion", True), ("warp", False)])
def test_a_clip_of_the_wanted_size_is_left_whole_for_what_takes_it_whole(tmp_path, generator, whole):
    film(tmp_path / "train/fear/a", (96, 96), (40, 50))
    clip = read_dataset(tmp_path).train[0]
    recipe = load_recipe(overrides=["generate.size=96", f"generate.generator={generator}"])
    frames, _ = as_generated(clip, BoxReader(), recipe)
    assert np.array_equal(frames, read_frames(clip)) == whole


def test_thresholds_reject_the_wanted_share_and_say_where_they_come_from(wide):
    found = calibrate_gate(wide, load_recipe(overrides=[f"generate.size={SIZE}"]), reject=0.5)
    gate = yaml.safe_load(found.as_yaml())["gate"]
    assert "2 clips: least" in found.as_yaml()
    assert gate.keys() == found.as_dict()["gate"].keys() == found.scores.keys()
    assert gate["one_face"] == 1
    for name, scores in found.scores.items():
        assert len(scores) == 2
        assert gate[name] == pytest.approx(np.median(scores), abs=0.006)
    load_recipe(settings={"gate": gate})  # what is printed can be put into a recipe


def test_clips_without_a_measurable_face_say_so(tmp_path):
    film(tmp_path / "train/fear/a", (180, 320), (240, 100), green=60)
    with pytest.raises(DatasetError, match=r"no training clip with a measurable face; see `argen scan`"):
        calibrate_gate(read_dataset(tmp_path), load_recipe())
