import json
import os
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from argen.config import DatasetSettings
from argen.dataset.notes import FLAT, perceptual_hash
from argen.dataset.scan import scan
from argen.dataset.scan_page import as_html, as_text
from argen.dataset.video import read_frames, write_mp4
from argen.errors import DatasetError
from tests.dataset import released
from tests.dataset.makers import clip_of, gradient, put_frames, put_jsonl, put_text, put_video


def scene(seed: int, size: int = 64) -> np.ndarray:
    """A picture with structure of its own, as a photograph has."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


def put_scene(path, seed: int, size: int = 64, quality: int = 23) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, np.stack([scene(seed, size)] * 3), 25.0, quality=quality)


def test_counts_balance_lengths_sizes_and_rates(tmp_path):
    for i in range(4):
        put_frames(tmp_path / "train" / "happy" / f"{i}", [f"{n:03d}.jpg" for n in range(4 + i)], 24)
    put_frames(tmp_path / "train" / "sad" / "0", [f"{n:03d}.jpg" for n in range(20)])
    put_video(tmp_path / "test" / "sad" / "1.mp4", 6)
    found = scan(tmp_path)
    assert found.clips == {"train": {"happy": 4, "sad": 1}, "test": {"sad": 1}}
    assert found.imbalance == 4
    assert found.kinds == {"frames": 5, "video": 1}
    assert (found.lengths.least, found.lengths.median, found.lengths.most) == (4, 6, 20)
    assert found.short == 5
    assert found.sizes == {"24 x 24": 4, "16 x 16": 2}
    assert found.rates == {"25": 1}
    assert found.leak.near_duplicates is None
    assert found.leak.same_subject is None


def test_unreadable_clips_are_named_not_raised(tmp_path):
    put_video(tmp_path / "happy" / "good.mp4")
    put_text(tmp_path / "happy" / "bad.mp4", "not a video")
    put_frames(tmp_path / "happy" / "frames")
    (tmp_path / "happy" / "frames" / "000.jpg").write_bytes(b"not a picture")
    assert {(p.where, p.what.partition(": ")[2] or p.what) for p in scan(tmp_path).unreadable} == {
        ("happy/bad", "not a video, or cut short"),
        ("happy/frames", "not an image, or cut short"),
    }


def test_a_second_scan_looks_only_at_what_changed(tmp_path, monkeypatch):
    root, cache = tmp_path / "data", tmp_path / "cache"
    put_frames(root / "happy" / "a")
    put_frames(root / "happy" / "b")
    put_video(root / "happy" / "c.mp4")
    first = scan(root, cache=cache)
    looked = []
    from argen.dataset import notes

    look = notes._look
    monkeypatch.setattr(notes, "_look", lambda clip, *a, **k: looked.append(clip.id) or look(clip, *a, **k))
    second = scan(root, cache=cache)
    assert looked == []
    assert {**second.as_dict(), "seconds": 0} == {**first.as_dict(), "seconds": 0}
    (root / "happy" / "b" / "002.jpg").unlink()
    os.utime(root / "happy" / "b", ns=(1, 1))
    third = scan(root, cache=cache)
    assert looked == ["happy/b"]
    assert third.lengths.least == 2


def test_a_spoilt_or_unwritable_cache_is_no_error(tmp_path):
    put_video(tmp_path / "data" / "happy" / "a.mp4")
    for spoilt in ("{", "[]", '{"version": 1, "notes": {"happy/a": [1]}}', '{"version": 0, "notes": {}}'):
        scan(tmp_path / "data", cache=tmp_path / "cache")
        (file,) = (tmp_path / "cache").iterdir()
        file.write_text(spoilt)
        assert scan(tmp_path / "data", cache=tmp_path / "cache").looked_at == 1
    assert scan(tmp_path / "data", cache=tmp_path / "data" / "happy" / "a.mp4").looked_at == 1


def test_scanning_leaves_the_folder_as_it_was(tmp_path):
    put_video(tmp_path / "data" / "happy" / "a.mp4")
    before = sorted((str(p), p.stat().st_mtime_ns) for p in (tmp_path / "data").rglob("*"))
    scan(tmp_path / "data", deep=True, cache=tmp_path / "cache")
    assert sorted((str(p), p.stat().st_mtime_ns) for p in (tmp_path / "data").rglob("*")) == before


def test_near_duplicates_across_splits_survive_scaling_and_recoding(tmp_path):
    for seed in range(8):
        put_scene(tmp_path / "train" / "happy" / f"{seed}.mp4", seed)
    put_scene(tmp_path / "test" / "happy" / "copy.mp4", 3, size=96, quality=30)
    put_scene(tmp_path / "test" / "happy" / "new.mp4", 99)
    found = scan(tmp_path, deep=True)
    assert [(t.clip, t.other, t.splits) for t in found.twins] == [
        ("train/happy/3", "test/happy/copy", ("train", "test"))
    ]
    assert found.leak.near_duplicates == 0.5
    assert "near-duplicates (1)" in as_text(found)


def test_identity_refutes_what_only_looks_alike(tmp_path):
    put_scene(tmp_path / "train" / "happy" / "a.mp4", 1)
    put_scene(tmp_path / "test" / "happy" / "b.mp4", 1)
    people = {"a": np.array([1, 0], np.float32), "b": np.array([0, 1], np.float32)}
    found = scan(tmp_path, deep=True, embed=lambda clip: people[clip.id[-1]], same_person=0.6)
    (twin,) = found.twins
    assert twin.refuted
    assert twin.distance == pytest.approx(2**0.5)
    assert found.leak.near_duplicates == 0
    same = scan(tmp_path, deep=True, embed=lambda clip: people["a"])
    assert not same.twins[0].refuted
    assert same.leak.near_duplicates == 1


def test_black_frames_are_nobodys_twins(tmp_path):
    black = np.zeros((3, 32, 32, 3), np.uint8)
    assert perceptual_hash(black[0]) == FLAT
    for split in ("train", "test"):
        (tmp_path / split / "happy").mkdir(parents=True)
        write_mp4(tmp_path / split / "happy" / "a.mp4", black, 25.0)
    assert scan(tmp_path, deep=True).twins == ()


def test_hash_tells_scenes_apart_and_recodings_together():
    def bits(a, b):
        return bin(int(perceptual_hash(a), 16) ^ int(perceptual_hash(b), 16)).count("1")

    scenes = [scene(seed) for seed in range(12)]
    apart = [bits(a, b) for i, a in enumerate(scenes) for b in scenes[:i]]
    together = [bits(s, np.asarray(Image.fromarray(s).resize((40, 40)))) for s in scenes]
    assert max(together) < 20 < 60 < min(apart)


def test_faces_are_counted_in_a_sample(tmp_path):
    for i in range(5):
        put_video(tmp_path / "happy" / f"{i}.mp4", seed=i)
    answers = iter([[1, 1, 1], [1, 0, 1], [0, 0, 0], [2, 3, 2], [1, 1, 1]])
    found = scan(tmp_path, count_faces=lambda frames: next(answers))
    faces = found.faces
    assert (faces.clips, faces.with_one_face, faces.with_none, faces.with_several) == (5, 3, 1, 1)
    assert "3 of 5 sampled clips show one face, 1 none, 1 several" in as_text(found)


def test_neighbouring_ids_across_the_split(tmp_path):
    root = released.dfew(tmp_path / "d")  # test is 1 to 14 in fold 1, 29 to 42 in fold 3
    assert scan(root).leak.neighbours == 0  # the validation block lies between
    found = scan(root, DatasetSettings(fold=3))
    assert found.leak.neighbours == pytest.approx(10 / 14)  # train ends at 28
    assert "within ten ids of a training clip" in as_text(found)


def test_subjects_in_two_splits_count_as_leakage(tmp_path):
    put_frames(tmp_path / "train" / "sad" / "a")
    put_frames(tmp_path / "test" / "sad" / "b")
    with pytest.raises(DatasetError, match="are in two splits"):
        scan(tmp_path, DatasetSettings(subjects="(?P<subject>sad)"))


def test_what_may_be_done_with_a_dataset_is_said_once(tmp_path):
    found = scan(released.mafw(tmp_path / "m"))
    text = as_text(found)
    assert text.count("MAFW: A Large-scale") == 1
    assert text.count("no redistribution of any portion of derived data") == 1
    assert "derived data   not redistributable (55 clips)" in text


def test_json_is_plain_and_html_is_whole_and_escaped(tmp_path):
    put_video(tmp_path / "a.mp4")
    put_text(tmp_path / "b&b.txt", "x")
    rows = [{"file_name": "a.mp4", "label": "<script>alert(1)</script>"}]
    put_jsonl(tmp_path / "metadata.jsonl", [*rows, {"file_name": "gone<b>.mp4", "label": "x"}])
    found = scan(tmp_path, deep=True)
    again = json.loads(json.dumps(found.as_dict()))
    assert again["clips"] == {"train": {"<script>alert(1)</script>": 1}}
    page = as_html(found)
    assert "<script>" not in page
    assert "gone&lt;b&gt;.mp4" in page

    class Balance(HTMLParser):
        depth = 0

        def handle_starttag(self, tag, attrs):
            self.depth += 1

        def handle_endtag(self, tag):
            self.depth -= 1

    parser = Balance()
    parser.feed(page)
    assert parser.depth == 0


def test_a_video_of_one_frame_is_looked_at_too(tmp_path):
    (tmp_path / "happy").mkdir()
    write_mp4(tmp_path / "happy" / "a.mp4", gradient(1), 25.0)
    assert read_frames(clip_of(tmp_path / "happy" / "a.mp4")).shape[0] == 1
    assert scan(tmp_path, deep=True).lengths.most == 1
