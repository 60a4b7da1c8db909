import zipfile

import numpy as np
import pytest

from argen.errors import UnreadableClip
from argen.face import cache
from argen.face.track import FaceTrack

ARRAYS = ("action_units", "expressions", "identity", "landmarks", "face_count", "confidence")


@pytest.fixture
def track() -> FaceTrack:
    rng = np.random.default_rng(3)
    landmarks = rng.normal(size=(4, 478, 3)).astype(np.float32)
    landmarks[2] = np.nan
    return FaceTrack(
        action_units=rng.uniform(0, 1, (4, 20)).astype(np.float32),
        expressions=rng.uniform(0, 1, (4, 7)).astype(np.float32),
        identity=np.full((4, 128), np.nan, np.float32),
        landmarks=landmarks,
        face_count=np.array([1, 1, 0, 2]),
        confidence=np.ones(20, np.float32),
        reader="mediapipe",
        weights={"b.task": "22", "a.dat": "11"},
    )


def test_what_is_read_is_what_was_written(tmp_path, track):
    path = tmp_path / "deep" / "track.npz"
    cache.save_track(path, track)
    again = cache.load_track(path)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(track, name))
        assert getattr(again, name).dtype == getattr(track, name).dtype
    assert (again.reader, dict(again.weights)) == (track.reader, dict(track.weights))


def test_the_same_track_gives_the_same_bytes_and_nothing_else(tmp_path, track):
    for name in ("a", "b"):
        cache.save_track(tmp_path / name, track)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_numpy_reads_it_without_pickles(tmp_path, track):
    cache.save_track(tmp_path / "t.npz", track)
    with np.load(tmp_path / "t.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["action_units"], track.action_units)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    with pytest.raises(UnreadableClip, match=r"t\.npz: not a track that ARGen wrote"):
        cache.load_track(path)


def test_a_pickle_inside_is_refused(tmp_path):
    np.savez(tmp_path / "t.npz", action_units=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UnreadableClip):
        cache.load_track(tmp_path / "t.npz")


def test_half_a_file_is_refused(tmp_path, track):
    path = tmp_path / "t.npz"
    cache.save_track(path, track)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableClip):
        cache.load_track(path)


def test_another_version_is_measured_again(tmp_path, track, monkeypatch):
    path = tmp_path / "t.npz"
    cache.save_track(path, track)
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    with pytest.raises(UnreadableClip, match="another version"):
        cache.load_track(path)


def test_a_full_disk_leaves_the_old_file(tmp_path, track, monkeypatch):
    path = tmp_path / "t.npz"
    cache.save_track(path, track)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space"):
        cache.save_track(path, track)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]


def test_a_name_changes_with_content_reader_and_weights():
    names = {
        cache.track_name("hash", "mediapipe", {"a": "1"}),
        cache.track_name("other", "mediapipe", {"a": "1"}),
        cache.track_name("hash", "pyfeat", {"a": "1"}),
        cache.track_name("hash", "mediapipe", {"a": "2"}),
        cache.track_name("hash", "mediapipe", {"a": "1", "b": "1"}),
    }
    assert len(names) == 5
    assert cache.track_name("h", "r", {"a": "1", "b": "2"}) == cache.track_name(
        "h", "r", {"b": "2", "a": "1"}
    )


def test_frames_are_known_by_pixels_and_shape():
    frames = np.arange(2 * 2 * 4 * 3, dtype=np.uint8).reshape(2, 2, 4, 3)
    assert cache.frames_hash(frames) == cache.frames_hash(frames.copy())
    assert cache.frames_hash(frames) != cache.frames_hash(frames.reshape(2, 4, 2, 3))
    assert cache.frames_hash(frames[:, :, ::2]) == cache.frames_hash(frames[:, :, ::2].copy())
