"""Evaluation and the command line, end to end on a small synthetic set."""

import json
import shutil

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from argen.anomaly.detector import Scores
from argen.anomaly.evaluate import METRICS, draw_normals, evaluate, measure, truth_of
from argen.anomaly.extract import Extractor
from argen.anomaly.heatmap import overlay, write_heatmaps
from argen.anomaly.layouts import Category, read_layout
from argen.anomaly.parts import write_parts
from argen.anomaly.samples import make_sample
from argen.cli.anomaly import register
from argen.errors import ArgenError, DatasetError, UsageError


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    write_parts(root, train=3, good=2, per_size=0, kinds=("cover",))
    write_parts(root / "more", train=1, good=1, per_size=1, kinds=("cover",))
    foreign = root / "more" / "cover" / "test" / "foreign"
    foreign.rename(root / "cover" / "test" / "foreign")
    return root / "cover"


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def run(app, *arguments):
    result = CliRunner().invoke(app, ["anomaly", *map(str, arguments)])
    if isinstance(result.exception, ArgenError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_evaluation_on_the_command_line(app, parts, tmp_path):
    out = run(app, "evaluate", parts, "--seeds", 2, "--maps", tmp_path, "--json")
    found = json.loads(out)
    assert found["category"] == "cover"
    assert (found["k"], found["draws"]) == (1, 2)
    assert all(0 <= found[name] <= 1 for name in METRICS)
    assert found["p_auroc"] > 0.8
    pictures = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert "cover/test/foreign/000.png" in pictures
    assert np.asarray(Image.open(tmp_path / pictures[0])).shape == (224, 3 * 224, 3)


def test_fit_then_score(app, parts, tmp_path):
    said = run(app, "fit", parts, tmp_path / "d", "--layout", "mvtec3d", "--k", 2, "--points", "none")
    assert "learnt cover from train/good/" in said
    pictures = [parts / "test" / "good" / "rgb" / "000.png", parts / "test" / "foreign" / "rgb" / "002.png"]
    lines = run(app, "score", tmp_path / "d", *pictures, "--json", "--maps", tmp_path / "maps").splitlines()
    sound, strange = (json.loads(line)["score"] for line in lines)
    assert strange > sound
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 2


def test_maps_of_pictures_from_anywhere_lie_in_their_folder(app, parts, tmp_path, monkeypatch):
    run(app, "fit", parts, tmp_path / "d", "--layout", "mvtec3d", "--points", "none")
    work = tmp_path / "a" / "b"
    work.mkdir(parents=True)
    sound = (parts / "test" / "good" / "rgb" / "000.png").read_bytes()
    places = [
        work / "x.png",
        work.parent / "x.png",
        work / "1" / "rgb" / "0.png",
        work / "2" / "rgb" / "0.png",
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(sound)
    monkeypatch.chdir(work)
    run(app, "score", tmp_path / "d", "x.png", "../x.png", "1/rgb/0.png", "2/rgb/0.png", "--maps", "maps")
    names = [path.relative_to(work).as_posix() for path in work.rglob("maps/**/*.png")]
    assert sorted(names) == ["maps/1_x.png", "maps/2_x.png", "maps/3_0.png", "maps/4_0.png"]
    assert all(place.read_bytes() == sound for place in places)


def test_maps_replace_no_picture(app, tmp_path):
    with pytest.raises(UsageError, match=r"1_x\.png: a heat map would replace this picture"):
        run(app, "score", tmp_path / "d", tmp_path / "x.png", tmp_path / "1_x.png", "--maps", tmp_path)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x"])
def test_no_map_outside_its_folder(tmp_path, name):
    scores = Scores(torch.zeros(1), torch.zeros(1, 4, 4), torch.zeros(1, 1, 1))
    with pytest.raises(UsageError, match="would lie outside"):
        write_heatmaps(tmp_path / "maps", [make_sample(name, np.zeros((4, 4, 3), np.uint8))], scores)
    assert not (tmp_path / "x.png").exists()


def test_a_defective_sample_without_a_mask_says_nothing_of_pixels():
    black, mask = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool)
    hole = mask.copy()
    hole[0, 0] = True
    good, masked = make_sample("a", black, None, mask), make_sample("b", black, None, hole, "hole")
    unmasked = make_sample("c", black, None, None, "hole")
    heat = torch.zeros(3, 4, 4)
    heat[1, 0, 0] = 1
    heat[2] = 2  # hot all over, and nobody said where its defect is
    scores = Scores(torch.tensor([0.0, 1.0, 2.0]), heat, heat[None].flatten(2))
    found = measure(scores, truth_of([good, masked, unmasked]))
    assert found == dict.fromkeys(METRICS, pytest.approx(1.0))
    found = measure(scores, truth_of([good, unmasked, unmasked]))
    assert found["i_auroc"] == 1
    assert np.isnan(found["p_auroc"])


def test_an_evaluation_says_how_many_masks_are_missing(app, parts, tmp_path):
    root = shutil.copytree(parts, tmp_path / "cover")
    assert "without a mask" not in run(app, "evaluate", root, "--seeds", 1, "--points", "none")
    next((root / "test" / "foreign" / "gt").glob("*.png")).unlink()
    said = run(app, "evaluate", root, "--seeds", 1, "--points", "none")
    assert "(1 defective without a mask: not in p_auroc, aupro, p_ap)" in said
    assert json.loads(run(app, "evaluate", root, "--seeds", 1, "--points", "none", "--json"))["unmasked"] == 1


def test_draws_are_seeded_and_bounded(parts):
    (category,) = read_layout(parts, "mvtec3d")
    assert draw_normals(category.train, 2, 5) == draw_normals(category.train, 2, 5)
    assert len({draw_normals(category.train, 1, seed)[0].id for seed in range(20)}) == 3
    with pytest.raises(UsageError, match="there are 3 normal samples"):
        draw_normals(category.train, 4, 0)


def test_no_test_set(parts):
    (category,) = read_layout(parts, "mvtec3d")
    with pytest.raises(DatasetError, match="no test set"):
        evaluate(Category("cover", category.train, ()), Extractor.load())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "{parts}", "--preset", "releasd"), "did you mean 'released'"),
        (("evaluate", "{parts}", "--layout", "eyecandy"), "did you mean 'eyecandies'"),
        (("evaluate", "{parts}", "--fusion", "sum"), "did you mean 'z-sum'"),
        (("evaluate", "{parts}", "--k", "9"), "k = 9: there are 3 normal samples"),
        (("score", "{parts}", "x.png"), "argen anomaly fit"),
        (("fit", "{parts}/nowhere", "out"), "no such folder"),
        (("evaluate", "{parts}", "--device", "cuda:99"), "--device: cuda:99, but torch sees"),
        (("score", "{parts}", "x.png", "--device", "gpu"), "--device: no device 'gpu'"),
    ],
)
def test_mistakes_on_the_command_line(app, parts, arguments, message):
    with pytest.raises(ArgenError, match=message):
        run(app, *(argument.format(parts=parts) for argument in arguments))


def test_overlay_goes_from_blue_to_red():
    grey = np.full((1, 2, 3), 128, np.uint8)
    cold, hot = overlay(grey, np.array([[0.0, 1.0]]), 0.0, 1.0)[0].astype(int)
    assert hot[0] > hot[2]
    assert cold[2] > cold[0] - 5
