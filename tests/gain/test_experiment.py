"""Whole experiments on painted faces: made once, gone on with, equal numbers, and a page at the end."""

import json
import shutil
import sys
import threading

import pytest
from filelock import FileLock

from argen.config import load_recipe
from argen.errors import DatasetError, UsageError
from argen.gain.arms import arms_of, every_arm
from argen.gain.folder import Experiment, read_json, write_json
from argen.gain.pools import eligible, read_records
from argen.gain.runs import do_run
from argen.gain.settings import GainRecipe
from argen.gain.work import Unit, units_of, work
from argen.gain.worlds import make_world, read_world
from argen.recogniser.predict import Predictions
from pipelines import measure_gain
from tests import fakes
from tests.gain.conftest import COUNTS, SETTINGS, experiment, guessed

NAMES = ("real_only", "oversampling", "ungated", "gated", "synthetic_only", "ceiling")


def measure(this, arms=None, seeds=None, report_only=False):
    return measure_gain.measure_gain(this, arms, seeds, 1, report_only)


def result(this, name, seed=0):
    return read_json(this.run(every_arm(this.gain)[name], seed).result)


def test_a_whole_experiment(trained, tmp_path):
    this = experiment(tmp_path / "out")
    tree = measure(this)
    # seeds outside, so that an interrupted experiment has whole rounds
    assert trained[:3] == ["real_only/0", "oversampling/0", "ungated/0"]
    assert len(trained) == 2 * (len(NAMES) + 1)  # and the sweep's third share
    assert set(tree["arms"]) == {*NAMES, "gated@1"}
    assert "no adapter" in tree["not_run"]["tuned"]
    assert [point["share"] for point in tree["sweep"]] == [0, 0.5, 1]
    written = json.loads((tmp_path / "out/gain.json").read_text(), parse_constant=pytest.fail)
    assert {"gain.closed", "gain.over_oversampling", "gain.war_cost", "verdict"} <= set(written)
    assert "Without any clips, oversampling" in written["verdict"]  # whatever else is said
    assert written["arms"]["gated"]["uar"]["low"] <= written["arms"]["gated"]["uar"]["value"]
    # every arm of a share adds as many clips of each class
    added = [result(this, name)["added"] for name in ("ungated", "gated", "ceiling")]
    assert added == [{"disgust": 4, "happy": 2}] * 3
    assert result(this, "synthetic_only")["trained_on"] == {"disgust": 2, "happy": 2, "neutral": 2}
    # what is finished is never repeated
    measure(this)
    assert len(trained) == 2 * (len(NAMES) + 1)


def test_the_page_stands_alone(trained, tmp_path):
    measure(experiment(tmp_path), ["real_only", "gated", "ceiling"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page) < 300_000
    assert "http" not in page
    assert "<script" not in page
    for words in (
        "So far:",
        "The rule",
        "prefers-color-scheme: dark",
        "width=device-width",
        "not finished yet",
    ):
        assert words in page


def test_where_people_are_unknown_the_page_says_so_and_counts_none(trained, tmp_path):
    unknown = experiment(tmp_path / "a")  # a folder tree names nobody
    assert measure(unknown, ["real_only"])["test"]["people"] is None
    page = (tmp_path / "a/report.html").read_text(encoding="utf-8")
    assert "Who is in the clips is unknown: a person may be in training and in test." in page
    assert "taken as independent, and seeds" in page
    assert " people" not in page.split("The rule")[0]
    settings = {**SETTINGS, "dataset": {"subjects": "(?P<subject>.+)"}}
    known = Experiment(tmp_path / "b", load_recipe(settings=settings, kind=GainRecipe))
    assert measure(known, ["real_only"])["test"]["people"] == 24
    page = (tmp_path / "b/report.html").read_text(encoding="utf-8")
    assert "24 real clips of 24 people who are in no training set" in page
    assert "unknown" not in page


def test_gated_and_ungated_take_from_one_stream(trained, tmp_path):
    this = experiment(tmp_path)
    measure(this, ["ungated", "gated"], [0])
    (folder,) = (tmp_path / "pools").iterdir()
    records = read_records(folder)
    first = [record for record in records if record.label == "disgust" and record.file_name]
    assert any(not record.kept for record in first)
    ungated, gated = (eligible(records, "disgust", kept, 8) for kept in (False, True))
    assert [record.index for record in ungated] == list(range(8))  # as they came
    assert len(gated) == 8
    assert all(record.kept for record in gated)


def test_a_seed_draws_its_own_clips_where_there_are_more(trained, tmp_path):
    this = experiment(tmp_path, seeds=[1, 2])  # 0 and 1 happen to draw the same of these few
    measure(this, ["gated"])
    digests = {result(this, "gated", seed)["training_clips"] for seed in (1, 2)}
    assert len(digests) == 2


def test_any_arm_alone_and_again(trained, tmp_path):
    this = experiment(tmp_path)
    measure(this, ["gated"], [1])
    assert trained == ["gated/1"]
    first = this.run(arms_of(this.gain)["gated"], 1)
    before = first.predictions.read_bytes()
    shutil.rmtree(first.folder)
    measure(this, ["gated"], [1])
    assert first.predictions.read_bytes() == before


@pytest.mark.parametrize(("wish", "device"), [("auto", "cuda:1"), ("cpu", "cpu")])
def test_a_recogniser_predicts_where_it_was_trained(trained, tmp_path, monkeypatch, wish, device):
    asked = []

    def predict(checkpoint, clips, cache, *, device):
        asked.append(device)
        return guessed(clips, json.loads((checkpoint / "note.json").read_text())["classes"], 0.5, 0)

    monkeypatch.setattr("argen.gain.runs.predict", predict)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    recogniser = {"validation": 0, "steps": 2, "batch": 2, "device": wish}
    this = experiment(tmp_path, recogniser=recogniser)
    make_world(this)
    do_run(this, this.run(arms_of(this.gain)["real_only"], 0))
    assert asked == [device]


def test_an_interrupted_run_goes_on(trained, tmp_path, monkeypatch):
    this = experiment(tmp_path)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("argen.gain.runs.predict", stop)
        with pytest.raises(KeyboardInterrupt):
            measure(this, ["real_only"], [0])
    run = this.run(arms_of(this.gain)["real_only"], 0)
    assert run.begun.is_file()
    assert not run.done
    shutil.rmtree(run.folder / "training")
    measure(this, ["real_only"], [0])
    assert run.done


def test_a_run_begun_otherwise_is_refused(trained, tmp_path):
    measure(experiment(tmp_path), ["real_only"], [0])
    other = experiment(tmp_path, recogniser={"validation": 0, "steps": 3, "batch": 2})
    with pytest.raises(UsageError, match=r"real_only, seed 0: was begun with other settings .*steps: 2 -> 3"):
        measure(other, ["real_only"], [0])
    world = experiment(tmp_path, world={"scale": 2.0, "test_per_class": 8})
    with pytest.raises(UsageError, match=r"scale: 1\.0 -> 2\.0"):
        measure(world, ["ungated"], [0])


@pytest.mark.parametrize(
    ("arm", "change", "words"),
    [
        ("real_only", {"dataset": {"fold": 2}}, r"dataset\.fold: 1 -> 2"),
        ("gated", {"seed": 1}, r"made\.seed: 0 -> 1"),
        ("gated", {"plan": {"tries": 20, "sources": "any"}}, r"made\.plan\.sources: calm -> any"),
        ("gated", {"output": {"quality": 30}}, r"made\.output\.quality: 18 -> 30"),
    ],
)
def test_a_run_of_another_recipe_is_refused(trained, tmp_path, arm, change, words):
    first = experiment(tmp_path)
    measure(first, [arm], [0])
    other = Experiment(tmp_path, load_recipe(settings={**SETTINGS, **change}, kind=GainRecipe))
    with pytest.raises(UsageError, match=f"{arm}, seed 0: was begun with other settings .*{words}"):
        do_run(other, other.run(arms_of(other.gain)[arm], 0))
    free = load_recipe(settings={**SETTINGS, "output": {"real": "copy"}}, kind=GainRecipe)
    do_run(Experiment(tmp_path, free), first.run(arms_of(first.gain)[arm], 0))  # decides no clip


def test_seeds_that_had_other_real_clips_are_refused(trained, tmp_path):
    this = experiment(tmp_path)
    measure(this, ["real_only", "gated"])
    run = this.run(arms_of(this.gain)["real_only"], 1)
    write_json(run.result, {**read_json(run.result), "training_clips": "of another day"})
    with pytest.raises(UsageError, match="real_only, seed 0 and real_only, seed 1 were trained on different"):
        measure(this, report_only=True)


def test_predictions_in_another_order_of_labels_are_refused(trained, tmp_path):
    this = experiment(tmp_path)
    measure(this, ["real_only", "gated"], [0])
    run = this.run(arms_of(this.gain)["gated"], 0)
    found = Predictions.read(run.predictions)
    found.reordered(found.classes[::-1]).save(run.predictions)
    with pytest.raises(UsageError, match="order of labels differs"):
        measure(this, report_only=True)


def test_a_folder_of_ones_own_has_no_ceiling(trained, tmp_path):
    measure(experiment(tmp_path / "a"), ["real_only"], [0])
    this = experiment(tmp_path / "b", world={"data": str(tmp_path / "a/world")}, seeds=[0, 1, 2])
    tree = measure(this)
    assert "no further real clips" in tree["not_run"]["ceiling"]
    assert (tree["word"], tree["provisional"]) == ("partly", False)
    assert "There is no ceiling" in tree["verdict"]
    assert not (tmp_path / "b/world").exists()


def test_in_an_output_of_argen_only_real_clips_are_counted(trained, tmp_path):
    root = fakes.painted_dataset(tmp_path / "expanded", COUNTS, held_out=2)
    (root / "run.json").write_text("{}")
    (root / "manifest").mkdir()
    for number in range(8):  # disgust has one real clip
        shutil.copy(root / "train/disgust/train-disgust-0.png", root / f"train/disgust/syn_{number}.png")
    this = experiment(tmp_path / "out", world={"data": str(root)})
    assert sum(clip.synthetic for clip in read_world(this).train) == 8
    measure(this, ["real_only", "gated"], [0])
    assert result(this, "real_only")["trained_on"] == COUNTS
    assert result(this, "gated")["added"] == {"disgust": 4, "happy": 2}
    assert result(this, "gated")["short"] == {}
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert 'disgust<br><span class="soft">1 real</span>' in page
    assert "Training: 15 clips" in page


def test_a_class_without_test_clips_has_no_recall_and_is_told(trained, tmp_path):
    root = fakes.painted_dataset(tmp_path / "own", COUNTS, held_out=2)
    shutil.rmtree(root / "test/disgust")
    measure(experiment(tmp_path / "out", world={"data": str(root)}), ["real_only"], [0])
    written = json.loads((tmp_path / "out/gain.json").read_text(), parse_constant=pytest.fail)
    recalls = written["arms"]["real_only"]["recalls"]
    assert recalls["disgust"] == {"value": None, "low": None, "high": None, "n": 0}
    assert recalls["happy"]["n"] == 2
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Fewer than 100 test clips of disgust, happy, neutral." in page
    assert "no clips</td>" in page
    assert "nan" not in page.split("<body>")[1]


def test_nothing_finished_is_no_report(tmp_path):
    with pytest.raises(UsageError, match="no run is finished"):
        measure(experiment(tmp_path), report_only=True)


def test_units_are_shared_by_all_who_come(tmp_path):
    made, lock = [], threading.Lock()

    def unit(name, *needs):
        def do():
            assert all((tmp_path / need).exists() for need in needs)
            with lock:
                made.append(name)
            (tmp_path / name).touch()

        return Unit(name, (tmp_path / name).exists, do, needs)

    units = [unit("world"), *(unit(f"run-{i}", "world") for i in range(12))]
    workers = [threading.Thread(target=work, args=(units, tmp_path / "locks")) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(made) == sorted(unit.name for unit in units)  # each once


def test_a_unit_that_fails_takes_only_those_that_need_it(tmp_path):
    def fail():
        raise DatasetError("broken")

    done = set()
    units = [
        Unit("pool", lambda: False, fail),
        Unit("needs it", lambda: False, fail, ("pool",)),
        Unit("other", lambda: "other" in done, lambda: done.add("other")),
    ]
    with pytest.raises(DatasetError, match="broken"):
        work(units, tmp_path)
    assert done == {"other"}


def test_a_unit_in_other_hands_is_waited_for(tmp_path):
    held = FileLock(tmp_path / "x.lock")
    held.acquire()
    finished = threading.Event()
    unit = Unit("x", finished.is_set, finished.set)
    worker = threading.Thread(target=work, args=([unit], tmp_path))
    worker.start()
    worker.join(0.2)
    assert worker.is_alive()
    held.release()
    worker.join(30)
    assert finished.is_set()


def test_units_name_what_they_need(trained, tmp_path):
    this = experiment(tmp_path)
    units = {unit.name: unit for unit in units_of(this, every_arm(this.gain), [0])}
    assert units["gated-0"].needs == ("world", "pool-made")
    assert units["ceiling-0"].needs == ("world", "extra")
    assert units["real_only-0"].needs == ("world",)
    assert not [name for name in units if name.startswith("tuned")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "gain.sed=1"], "did you mean 'seeds'"),
        (["--quick", "--arms", "gatd"], "did you mean 'gated'"),
        (["--quick", "--seeds", "7"], "none of gain.seeds"),
        (["--quick", "--seeds", "0,a"], "--seeds: '0,a' is no list of numbers"),
        (["--set", "gain.adapter=/nowhere/x"], "no such file"),
        (["--set", "gain.arms={}", "--set", "gain.sweep={}"], "names no arms"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_made(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.setattr(sys, "argv", ["measure_gain", str(tmp_path / "out"), *options])
    assert measure_gain.main() == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert words in said[-1]
    assert not (tmp_path / "out").exists()


def test_figures_are_one_object_a_line(trained, tmp_path, monkeypatch, capsys):
    path = tmp_path / "gain.yaml"
    path.write_text(json.dumps(SETTINGS))
    monkeypatch.setattr(sys, "argv", ["measure_gain", str(tmp_path / "out"), "--config", str(path), "--json"])
    assert measure_gain.main() == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"gain.closed", "gain.over_oversampling", "gain.war_cost"} == {row["name"] for row in rows}
    assert all({"name", "value", "low", "high", "n", "bar"} <= set(row) for row in rows)
    assert load_recipe(path, kind=GainRecipe) == experiment(tmp_path).recipe
    assert Experiment(tmp_path, experiment(tmp_path).recipe).world == tmp_path / "world"
