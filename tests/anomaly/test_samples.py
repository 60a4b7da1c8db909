"""Samples, foreground, layouts: what is read, and what is refused in one clear line."""

import json

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from argen.anomaly.extract import Extractor
from argen.anomaly.layouts import load, off_table, read_layout
from argen.anomaly.parts import CAMERA, DEFECTS, KINDS, PIXEL, make_part, write_parts
from argen.anomaly.samples import foreground, make_sample, on_grid, resize
from argen.errors import DatasetError


def grey(size=32):
    return np.full((size, size, 3), 90, np.uint8)


def table(size=32, tilt=0.02):
    rows, columns = np.indices((size, size)) / size
    return np.stack([columns, rows, 0.5 + tilt * columns + 0.01 * rows], axis=2).astype(np.float32)


def test_foreground_is_what_rises_from_the_table():
    xyz = table()
    assert not foreground(xyz).any()
    xyz[10:20, 12:22, 2] -= 0.02
    xyz[3:5, 3:5] = 0  # a gap in the measurement is no object
    expected = np.zeros((32, 32), bool)
    expected[10:20, 12:22] = True
    np.testing.assert_array_equal(foreground(xyz), expected)


def test_foreground_where_the_table_was_cut_away():
    xyz = np.zeros((32, 32, 3), np.float32)
    xyz[10:20, 12:22] = 0.4
    np.testing.assert_array_equal(foreground(xyz), xyz[..., 2] > 0)


def test_grid_needs_half_a_patch():
    mask = np.zeros((16, 16), bool)
    mask[:8, :8] = True
    np.testing.assert_array_equal(on_grid(mask, (2, 2)), [[True, False], [False, False]])


def test_resizing_invents_no_points():
    xyz = np.zeros((40, 40, 3), np.float32)
    xyz[10:30, 10:30] = 0.5
    small = resize(make_sample("a", grey(40), xyz, np.zeros((40, 40), bool)), 17)
    assert set(np.unique(small.xyz)) == {0.0, 0.5}
    assert small.rgb.shape == (17, 17, 3)


def test_points_that_are_not_numbers_count_as_not_measured():
    xyz = table()
    xyz[4, 5, 1] = np.nan
    xyz[6, 7, 2] = np.inf
    sample = make_sample("a", grey(), xyz)
    assert (sample.xyz[[4, 6], [5, 7]] == 0).all()
    assert Extractor.load()([sample]).modalities[1].isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: make_sample("a", grey(), table(16)), "match pixel by pixel"),
        (lambda: make_sample("a", grey(), np.zeros((1024, 3), np.float32)), "not an organised cloud"),
        (lambda: make_sample("a", np.zeros((4, 4), np.uint8)), "not a colour picture"),
        (lambda: make_sample("a", grey(), None, np.zeros((3, 3), bool)), "the truth is"),
        (lambda: Extractor.load()([make_sample("a", grey())]), "has no points"),
        (lambda: Extractor.load()([make_sample("a", grey(), table() * np.nan)]), "no point was measured"),
        (lambda: Extractor.load()([]), "no samples"),
    ],
)
def test_bad_samples(change, message):
    with pytest.raises(DatasetError, match=message):
        change()


def test_colour_alone_is_all_foreground():
    patches = Extractor.load(points="none")([make_sample("a", grey())])
    assert len(patches.modalities) == 1
    assert patches.foreground.all()


@pytest.fixture(scope="module")
def mvtec(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    write_parts(root, train=2, good=1, per_size=1, kinds=("washer",))
    return root


def test_mvtec3d(mvtec):
    for root in (mvtec, mvtec / "washer"):
        (category,) = read_layout(root, "mvtec3d")
        assert category.name == "washer"
        assert [s.id for s in category.train] == ["train/good/000", "train/good/001"]
        assert len(category.test) == 1 + 3 * len(DEFECTS)
    sample = load(category.test[0])
    assert sample.defect == "bump"
    assert sample.mask.any()
    assert sample.xyz.shape == sample.rgb.shape
    assert not load(category.train[0]).mask.any()


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_what_they_say(kind):
    good = make_part(kind, seed=3)
    np.testing.assert_array_equal(good.rgb, make_part(kind, seed=3).rgb)
    part = foreground(good.xyz)
    assert 0.15 < part.mean() < 0.6
    for defect in DEFECTS:
        sizes = [make_part(kind, defect, size, seed=3).mask.sum() for size in range(3)]
        assert 0 < sizes[0] < sizes[1] < sizes[2]
    off = make_part(kind, "foreign", 2, seed=3).mask
    assert not (off & part).any()
    bump = make_part(kind, "bump", 2, seed=3)
    assert (good.xyz[bump.mask] - bump.xyz[bump.mask])[:, 2].max() > 0.002  # metres nearer to the camera
    spot = make_part(kind, "colour", 2, seed=3)
    np.testing.assert_array_equal(spot.xyz, good.xyz)
    assert abs(np.abs(good.xyz[100, 224 // 2 - 50, 0]) - 50 * PIXEL) < 0.1 * 50 * PIXEL < CAMERA


def write_eyecandies(root, strange=True):
    """Two shots of the raw layout: a box on an oblique table."""
    for split, number in (("train", "000"), ("test_public", "00")):
        folder = root / "Candy" / split / "data"
        folder.mkdir(parents=True)
        rows, _ = np.indices((64, 64))
        depth = 1.0 + 0.5 * rows / 64 / (1.5 - rows / 64)  # some oblique surface; the box stands out of it
        plane = 1 / (1.0 - 0.004 * rows)  # depth of a true plane is the inverse of something linear
        depth = plane.copy()
        depth[20:40, 20:40] -= 0.1
        low, high = float(depth.min()), float(depth.max())
        coded = np.round((depth - low) / (high - low) * 65535).astype(np.uint16)
        Image.fromarray(grey(64)).save(folder / f"{number}_image_4.png")
        Image.fromarray(coded).save(folder / f"{number}_depth.png")
        info = {"normalization": {"min": low, "max": high}}
        (folder / f"{number}_info_depth.yaml").write_text(yaml.safe_dump(info))
        mask = np.zeros((64, 64), np.uint8)
        mask[25:30, 25:30] = 255 * strange
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
    (folder / "00_metadata.yaml").write_text(yaml.safe_dump({"anomalous": int(strange)}))


@pytest.mark.parametrize("strange", [True, False])
def test_eyecandies_raw(tmp_path, strange):
    write_eyecandies(tmp_path, strange)
    (category,) = read_layout(tmp_path, "eyecandies")
    train, test = load(category.train[0]), load(category.test[0])
    assert (train.defect, test.defect) == ("good", "bad" if strange else "good")
    assert test.mask.sum() == 25 * strange
    box = np.zeros((64, 64), bool)
    box[20:40, 20:40] = True
    np.testing.assert_array_equal(foreground(train.xyz), box)
    z = train.xyz[30, 30, 2]
    np.testing.assert_allclose(z, 1 / (1 - 0.004 * 30) - 0.1, atol=1e-4)
    np.testing.assert_allclose(train.xyz[30, 30, 0], (30 - 32) * z / (711.11 / 8), rtol=1e-4)


def test_eyecandies_preprocessed_is_read_as_mvtec3d(mvtec):
    assert read_layout(mvtec, "eyecandies") == read_layout(mvtec, "mvtec3d")


def test_table_is_cut_by_its_plane():
    xyz = table(tilt=0.3)
    xyz[10:20, 12:22, 2] -= 0.05
    cut = off_table(xyz)
    assert (cut[10:20, 12:22] != 0).all()
    assert (cut[..., 2] != 0).sum() == 100


def put_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey()).save(path)


def test_plain_folder(tmp_path):
    for name in ("train/a.png", "train/b.png", "test/good/c.png", "test/torn/d.png", "test/torn/d_mask.png"):
        put_picture(tmp_path / name)
    tifffile.imwrite(tmp_path / "train" / "a.tiff", table(), photometric="rgb")
    (category,) = read_layout(tmp_path, "folder")
    assert [s.defect for s in category.test] == ["good", "torn"]
    assert category.train[0].points is not None
    assert category.train[1].points is None
    assert load(category.test[1]).mask.all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "washer/train/good/xyz/000.tiff").unlink(), "000.tiff is missing"),
        (lambda root: (root / "washer/train/good/rgb/000.png").write_bytes(b"x"), "not a picture"),
        (lambda root: (root / "washer/train/good/xyz/000.tiff").write_bytes(b"x"), "not a TIFF"),
    ],
)
def test_spoilt_mvtec3d(tmp_path, spoil, message):
    write_parts(tmp_path, train=1, good=1, per_size=0, kinds=("washer",))
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=message):
        load(read_layout(tmp_path, "mvtec3d")[0].train[0])


def test_two_pictures_of_one_name_are_refused(tmp_path):
    for name in ("train/a.png", "test/torn/d.png", "test/torn/d.jpg"):
        put_picture(tmp_path / name)
    with pytest.raises(DatasetError, match=r"d\.png: d\.jpg has the same name"):
        read_layout(tmp_path, "folder")


@pytest.mark.parametrize(
    ("layout", "names", "message"),
    [
        ("mvtec", (), "did you mean 'mvtec3d'"),
        ("mvtec3d", ("wascher",), "did you mean 'washer'"),
        ("folder", (), "nothing laid out as folder"),
    ],
)
def test_wrong_names(mvtec, layout, names, message):
    with pytest.raises(DatasetError, match=message):
        read_layout(mvtec, layout, names)


def test_eyecandies_without_limits(tmp_path):
    write_eyecandies(tmp_path)
    (tmp_path / "Candy/train/data/000_info_depth.yaml").write_text(json.dumps({}))
    with pytest.raises(DatasetError, match=r"normalization\.min"):
        load(read_layout(tmp_path, "eyecandies")[0].train[0])
