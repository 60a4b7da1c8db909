"""Files are written under names that no other process takes."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from argen.dataset.video import write_stream
from argen.face.cache import load_track, save_track
from argen.output import save_picture
from argen.run import write_atomically
from argen.whole import part_of
from tests import fakes


def test_the_same_process_id_on_another_host_gives_another_name(tmp_path):
    assert len({part_of(tmp_path / "a.mp4") for _ in range(9)}) == 9
    assert part_of(tmp_path / "a.mp4").parent == tmp_path
    assert part_of(tmp_path / "a.mp4").suffix == ".part"  # what leftovers are known by


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "笑" * 83 + ".mp4"], ids=["Latin", "Chinese"])
def test_the_longest_name_of_a_file_has_one(tmp_path, name):
    write_atomically(tmp_path / name, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_two_that_write_one_clip_do_not_write_into_each_other(tmp_path):
    """The second begins and ends while the first is at its first frame."""
    frames = fakes.paint(np.full((4, 20), 0.5))
    write_stream(tmp_path / "alone.mp4", iter(frames), 24.0)

    def slowly():
        yield frames[0]
        for _ in range(200):  # until the encoder has opened its file
            if list(tmp_path.glob("*.part")):
                break
            time.sleep(0.01)
        write_stream(tmp_path / "clip.mp4", iter(frames), 24.0)
        yield from frames[1:]

    write_stream(tmp_path / "clip.mp4", slowly(), 24.0)
    assert (tmp_path / "clip.mp4").read_bytes() == (tmp_path / "alone.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.mp4", "clip.mp4"]


def once_within(monkeypatch, owner, name, call):
    """Have `call` happen when a function has been called for the first time."""
    function, called = getattr(owner, name), []

    def hooked(*arguments, **named):
        function(*arguments, **named)
        if not called:
            called.append(name)
            call()

    monkeypatch.setattr(owner, name, hooked)


def test_two_that_save_one_track_end_well(tmp_path, monkeypatch):
    track = fakes.PaintedReader()(fakes.paint(np.full((4, 20), 0.5)))
    once_within(monkeypatch, np.lib.format, "write_array", lambda: save_track(tmp_path / "file", track))
    save_track(tmp_path / "file", track)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert len(load_track(tmp_path / "file")) == 4


def test_two_that_save_one_picture_end_well(tmp_path, monkeypatch):
    frame = fakes.paint(np.full((1, 20), 0.5))[0]
    once_within(monkeypatch, Image.Image, "save", lambda: save_picture(tmp_path / "file", frame))
    save_picture(tmp_path / "file", frame)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
