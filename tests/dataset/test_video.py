import errno
import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from argen.dataset import encode as encoding
from argen.dataset.fingerprint import fingerprint, quick_fingerprint
from argen.dataset.video import ffmpeg, iter_frames, probe, read_frames, spread, write_mp4, write_stream
from argen.errors import EnvironmentFault, UnreadableClip
from tests.dataset.makers import clip_of, gradient, mp4_bytes, put_frames, put_image, put_video


def encode(path: Path, *arguments: str, size: str = "64x48", seconds: float = 1) -> Path:
    source = ["-f", "lavfi", "-i", f"testsrc=size={size}:rate=25:duration={seconds}"]
    subprocess.run([ffmpeg(), "-y", "-loglevel", "error", *source, *arguments, str(path)], check=True)
    return path


def turned(path: Path, target: Path, degrees: int) -> Path:
    command = ["-y", "-loglevel", "error", "-display_rotation", str(degrees), "-i", str(path), "-c", "copy"]
    subprocess.run([ffmpeg(), *command, str(target)], check=True)
    return target


def near(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def test_what_is_written_is_read_back(tmp_path):
    frames = gradient(20, 64, 48)
    write_mp4(tmp_path / "a.mp4", frames, 16.0, quality=4)
    back = read_frames(clip_of(tmp_path / "a.mp4"))
    assert back.shape == frames.shape
    assert near(back, frames) < 4
    info = probe(clip_of(tmp_path / "a.mp4"))
    assert (info.frames, info.fps, info.height, info.width) == (20, 16.0, 64, 48)


def test_colours_survive(tmp_path):
    colours = np.array([(250, 10, 10), (10, 250, 10), (10, 10, 250), (200, 150, 120)], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (4, 32, 32, 3)).copy()
    write_mp4(tmp_path / "a.mp4", frames, 25.0, quality=1)
    assert np.abs(read_frames(clip_of(tmp_path / "a.mp4"))[:, 16, 16].astype(int) - colours).max() <= 4


def test_writing_twice_gives_the_same_bytes_and_no_part_file(tmp_path):
    hashes = set()
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, gradient(12, 40, 40), 16.0, comment="synthetic")
        hashes.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(hashes) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_comment_is_in_the_file(tmp_path):
    write_mp4(tmp_path / "a.mp4", gradient(), 25.0, comment="synthetic: made by ARGen, é")
    assert "synthetic: made by ARGen, é".encode() in (tmp_path / "a.mp4").read_bytes()


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    frames = gradient(3, 33, 35)
    write_mp4(tmp_path / "a.mp4", frames, 25.0, quality=1)
    back = read_frames(clip_of(tmp_path / "a.mp4"))
    assert back.shape == (3, 34, 36, 3)
    assert near(back[:, :33, :35], frames) < 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_leaves_nothing(tmp_path, monkeypatch, code):
    def fsync(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(EnvironmentFault, match=os.strerror(code)):
        write_mp4(tmp_path / "a.mp4", gradient(), 25.0)
    assert list(tmp_path.iterdir()) == []


def test_ffmpeg_failing_is_one_line(tmp_path, monkeypatch):
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho x >&2\necho 'av_write_frame(): No space left on device' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(encoding, "ffmpeg", lambda: str(fake))
    with pytest.raises(EnvironmentFault, match="No space left") as caught:
        write_mp4(tmp_path / "a.mp4", gradient(64, 64, 64), 25.0)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "a.mp4:") in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


def test_a_stream_is_encoded_as_the_whole_clip_is(tmp_path):
    frames = gradient(40, 33, 32)
    write_mp4(tmp_path / "a.mp4", frames, 12.5)
    write_stream(tmp_path / "b.mp4", (frame for frame in frames), 12.5)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_no_frames_and_a_source_that_breaks_off_leave_nothing(tmp_path):
    def broken():
        yield from gradient(2)
        raise UnreadableClip("damaged")

    with pytest.raises(ValueError, match="no frames to write"):
        write_stream(tmp_path / "a.mp4", [], 25.0)
    with pytest.raises(UnreadableClip):
        write_stream(tmp_path / "a.mp4", broken(), 25.0)
    assert list(tmp_path.iterdir()) == []


FORMATS = {
    "grey.mp4": (["-pix_fmt", "gray"], "64x48"),
    "alpha.mov": (["-vf", "format=rgba,colorchannelmixer=aa=0.5", "-c:v", "qtrle"], "64x48"),
    "odd.mp4": (["-pix_fmt", "yuv444p"], "63x47"),
    "tenbit.mp4": (["-pix_fmt", "yuv420p10le"], "64x48"),
    "old.avi": (["-c:v", "mpeg4"], "64x48"),
    "a.mkv": (["-c:v", "libx264"], "64x48"),
    "a.gif": ([], "64x48"),
    "varying.mp4": (["-vf", "setpts='(N+if(gt(N,12),(N-12)*3,0))/25/TB'", "-fps_mode", "vfr"], "64x48"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_form_reads_as_rgb(tmp_path, name):
    arguments, size = FORMATS[name]
    clip = clip_of(encode(tmp_path / name, *arguments, size=size))
    width, height = (int(n) for n in size.split("x"))
    assert read_frames(clip).shape == (25, height, width, 3)
    assert read_frames(clip, 4, 20).shape == (4, 20, 20, 3)
    frames = list(iter_frames(clip))
    assert len(frames) == probe(clip).frames == 25
    assert np.array_equal(np.stack(frames), read_frames(clip))


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("size", ["64x48", "100x80"])
def test_rotation_is_applied(tmp_path, degrees, size):
    plain = encode(tmp_path / "plain.mp4", "-pix_fmt", "yuv444p", "-crf", "1", size=size, seconds=0.2)
    clip = clip_of(turned(plain, tmp_path / "turned.mp4", degrees))
    expected = np.rot90(read_frames(clip_of(plain)), degrees // 90, axes=(1, 2))
    frames = read_frames(clip)
    assert frames.shape == expected.shape
    assert near(frames, expected) < 3
    assert near(np.stack(list(iter_frames(clip))), expected) < 3
    assert read_frames(clip, 2, 24).shape == (2, 24, 24, 3)


def test_one_frame_and_ten_thousand(tmp_path):
    one = clip_of(put_video(tmp_path / "one.mp4", 1))
    assert read_frames(one, 8).shape == (1, 16, 16, 3)
    long = encode(tmp_path / "long.mp4", "-preset", "ultrafast", size="32x32", seconds=400)
    frames = read_frames(clip_of(long), 8)
    assert probe(clip_of(long)).frames == 10_000
    assert frames.shape == (8, 32, 32, 3)


def test_size_takes_the_middle_square(tmp_path):
    frames = np.zeros((2, 32, 96, 3), np.uint8)
    frames[:, :, 32:64] = 255
    write_mp4(tmp_path / "wide.mp4", frames, 25.0, quality=1)
    assert read_frames(clip_of(tmp_path / "wide.mp4"), size=16)[:, 2:-2, 2:-2].min() > 240


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not a video, or cut short"),
        (mp4_bytes(10)[:400], "cut short"),
    ],
)
def test_broken_files_say_why(tmp_path, content, reason):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    for read in (probe, read_frames):
        with pytest.raises(UnreadableClip, match=reason):
            read(clip_of(path))


def test_damaged_middle_and_sound_only(tmp_path):
    whole = encode(tmp_path / "whole.mp4", "-movflags", "+faststart", "-pix_fmt", "yuv420p", seconds=4)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(UnreadableClip, match="damaged"):
        read_frames(clip_of(cut))
    sound = tmp_path / "sound.mp4"
    tone = ["-f", "lavfi", "-i", "sine=duration=1", str(sound)]
    subprocess.run([ffmpeg(), "-y", "-loglevel", "error", *tone], check=True)
    with pytest.raises(UnreadableClip, match="no video stream"):
        probe(clip_of(sound))


def test_missing_file_and_empty_folder(tmp_path):
    with pytest.raises(UnreadableClip, match="No such file"):
        read_frames(clip_of(tmp_path / "gone.mp4"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableClip, match="no images"):
        read_frames(clip_of(tmp_path / "empty", "frames"))
    with pytest.raises(UnreadableClip, match="No such file"):
        probe(clip_of(tmp_path / "gone", "frames"))


def test_frames_of_a_folder_come_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        shade = np.full((8, 8, 3), number * 20, np.uint8)
        (tmp_path / "f").mkdir(exist_ok=True)
        Image.fromarray(shade).save(tmp_path / "f" / f"{number}.png")
    (tmp_path / "f" / ".hidden.png").write_bytes(b"x")
    assert read_frames(clip_of(tmp_path / "f", "frames"))[:, 0, 0, 0].tolist() == [20, 40, 200]


def test_images_of_many_modes_become_rgb(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(folder / "0_grey.png")
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(folder / "1_sixteen_bit.png")
    Image.fromarray(np.full((8, 8, 4), (200, 200, 200, 128), np.uint8)).save(folder / "2_alpha.png")
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).quantize(4).save(folder / "3_palette.png")
    Image.fromarray(np.full((16, 8, 3), 100, np.uint8)).save(folder / "4_other_size.png")
    frames = read_frames(clip_of(folder, "frames"))
    assert frames.shape == (5, 8, 8, 3)
    assert np.abs(frames.astype(int) - 100).max() <= 1


def test_a_camera_turned_photograph_stands_upright(tmp_path):
    image = Image.fromarray(gradient(1, 8, 16)[0])
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    clip = clip_of(tmp_path / "a.png", "image")
    assert (probe(clip).height, probe(clip).width) == (16, 8)
    assert np.array_equal(read_frames(clip)[0], np.rot90(np.asarray(image), -1))


def test_an_image_that_is_none(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    with pytest.raises(UnreadableClip, match="not an image"):
        read_frames(clip_of(tmp_path / "a.jpg", "image"))
    whole = put_image(tmp_path / "b.jpg", 64).read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(UnreadableClip, match="damaged"):
        read_frames(clip_of(tmp_path / "b.jpg", "image"))


def test_an_enormous_image_is_refused_unread(tmp_path):
    header = b"P6\n60000 60000\n255\n"
    (tmp_path / "a.ppm").write_bytes(header)
    with pytest.raises(UnreadableClip, match=r"beyond|exceeds"):
        probe(clip_of(tmp_path / "a.ppm", "image"))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 200))
def test_spread_is_even_and_keeps_the_ends(frames, wanted):
    indices = spread(frames, wanted)
    assert len(indices) == min(frames, wanted)
    assert indices == sorted(set(indices))
    assert indices[0] == 0
    assert indices[-1] == (frames - 1 if len(indices) > 1 else 0)
    steps = np.diff(indices)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_fingerprints_follow_the_content(tmp_path):
    a, b = put_video(tmp_path / "a.mp4"), put_video(tmp_path / "b.mp4")
    assert fingerprint(clip_of(a)) == fingerprint(clip_of(b))
    put_video(b, seed=1)
    assert fingerprint(clip_of(a)) != fingerprint(clip_of(b))
    one, two = put_frames(tmp_path / "one"), put_frames(tmp_path / "two")
    assert fingerprint(clip_of(one, "frames")) == fingerprint(clip_of(two, "frames"))
    (two / "002.jpg").rename(two / "003.jpg")
    assert fingerprint(clip_of(one, "frames")) != fingerprint(clip_of(two, "frames"))


def test_quick_fingerprint_sees_an_edit(tmp_path):
    clip = clip_of(put_frames(tmp_path / "one"), "frames")
    before = quick_fingerprint(clip)
    assert quick_fingerprint(clip) == before
    os.utime(tmp_path / "one" / "001.jpg", ns=(1, 1))
    assert quick_fingerprint(clip) != before
