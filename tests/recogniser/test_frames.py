"""The cache: decoded once, found by content, bounded."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argen.dataset.video import read_frames
from argen.errors import UnreadableClip
from argen.recogniser import frames as frames_module
from argen.recogniser.frames import CachedFrames, FrameCache, pick
from tests.recogniser.conftest import open_files


def test_a_clip_is_decoded_once_and_is_what_decoding_gives(tmp_path, train_clips, monkeypatch):
    cache, clip = FrameCache(tmp_path), train_clips[0]
    first = cache(clip, 32, 4)
    assert (first == read_frames(clip, 4, 32)).all()
    assert isinstance(first, np.memmap)
    assert not first.flags.writeable
    monkeypatch.setattr(frames_module, "read_frames", lambda *_: pytest.fail("decoded again"))
    assert (cache(clip, 32, 4) == first).all()
    assert (FrameCache(tmp_path)(clip, 32, 4) == first).all()  # another run


def test_the_key_is_the_content(tmp_path, train_clips):
    cache, clip = FrameCache(tmp_path / "c"), train_clips[0]
    cache(clip, 32)
    moved = replace(clip, id="elsewhere", path=tmp_path / "moved")
    shutil.copytree(clip.path, moved.path)
    cache(moved, 32)
    assert len(list(cache.folder.glob("*.npy"))) == 1
    shutil.copyfile(moved.path / "000.png", moved.path / "003.png")
    changed = cache(moved, 32)
    assert len(list(cache.folder.glob("*.npy"))) == 2
    assert (changed == read_frames(moved, None, 32)).all()
    cache(clip, 16)
    assert len(list(cache.folder.glob("*.npy"))) == 3  # another size is another entry


def test_it_stays_within_its_limit_and_the_least_recently_used_goes(tmp_path, train_clips):
    one = 4 * 32 * 32 * 3 + 128
    cache = FrameCache(tmp_path, limit_bytes=3 * one)
    for number, clip in enumerate(train_clips[:3]):
        cache(clip, 32, 4)
        path = max(cache.folder.glob("*.npy"), key=lambda p: p.stat().st_mtime_ns)
        os.utime(path, (number + 1, number + 1))
    held = cache(train_clips[1], 32, 4)  # used again: now the newest
    old = {path.name for path in cache.folder.glob("*.npy")}
    cache(train_clips[3], 32, 4)
    left = {path.name for path in cache.folder.glob("*.npy")}
    assert cache.make_room() <= 3 * one
    assert len(old - left) == 1
    assert (cache(train_clips[1], 32, 4) == held).all()
    assert {path.name for path in cache.folder.glob("*.npy")} == left  # it was still there
    FrameCache(tmp_path, limit_bytes=0).make_room()
    assert (held == read_frames(train_clips[1], 4, 32)).all()  # gone from disk, not from who uses it


def test_a_damaged_entry_is_decoded_again(tmp_path, train_clips):
    cache = FrameCache(tmp_path)
    cache(train_clips[0], 32)
    path = next(tmp_path.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:50])
    assert (cache(train_clips[0], 32) == read_frames(train_clips[0], None, 32)).all()


def test_many_clips_hold_no_file_open(tmp_path, train_clips):
    before = open_files()
    frames = CachedFrames(FrameCache(tmp_path), train_clips, 32)
    assert open_files() == before
    assert len(frames) == len(train_clips)
    assert all(
        (mine == read_frames(clip, None, 32)).all() for mine, clip in zip(frames, train_clips, strict=True)
    )
    assert open_files() < before + 5


def test_what_went_from_the_cache_is_decoded_again_and_told(tmp_path, train_clips, caplog):
    frames = CachedFrames(FrameCache(tmp_path, limit_bytes=0), train_clips[:3], 32)
    assert "2 of 3 clips do not fit into 0 GB" in caplog.text
    assert all((frames[row] == read_frames(train_clips[row], None, 32)).all() for row in range(3))


def test_an_unreadable_clip_is_told_before_any_is_looked_at(tmp_path, train_clips):
    bad = replace(train_clips[0], path=tmp_path / "absent")
    with pytest.raises(UnreadableClip, match="absent"):
        CachedFrames(FrameCache(tmp_path / "c"), [train_clips[1], bad], 32)


def test_an_unreadable_clip_leaves_nothing_behind(tmp_path, train_clips):
    cache = FrameCache(tmp_path / "c")
    bad = replace(train_clips[0], kind="video", path=tmp_path / "bad.mp4")
    bad.path.write_bytes(b"no video")
    with pytest.raises(UnreadableClip, match=r"bad\.mp4"):
        cache(bad, 32)
    assert not list((tmp_path / "c").iterdir())


@given(st.integers(1, 80), st.integers(1, 20), st.none() | st.integers(0, 9))
def test_a_window_is_in_order_inside_and_one_a_segment(frames, wanted, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    at = pick(frames, wanted, rng)
    assert len(at) == wanted
    assert (np.diff(at) >= 0).all()
    assert at.min() >= 0
    assert at.max() < frames
    edges = np.linspace(0, frames, wanted + 1)
    assert (at >= np.floor(edges[:-1])).all()
    assert (at <= edges[1:]).all()
    if frames >= wanted and frames % wanted == 0:
        assert len(set(at.tolist())) == wanted


def test_a_clip_shorter_than_the_window_shows_frames_again():
    assert pick(2, 6).tolist() == [0, 0, 0, 1, 1, 1]
    assert pick(1, 3).tolist() == [0, 0, 0]


def test_the_folder_is_not_looked_through_for_every_clip(tmp_path, train_clips, monkeypatch):
    looks = []
    monkeypatch.setattr(FrameCache, "make_room", lambda self, keep=None: looks.append(keep))
    cache = FrameCache(tmp_path)
    for clip in train_clips:
        cache(clip, 32)
    assert len(looks) == 1
