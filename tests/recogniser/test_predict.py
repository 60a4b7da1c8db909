"""Predictions, explanations and the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from argen.cli import main
from argen.errors import DatasetError, ModelUnavailable, UnreadableClip
from argen.recogniser.checkpoint import Trained, load_trained
from argen.recogniser.explain import draw, explain
from argen.recogniser.model import Recogniser
from argen.recogniser.predict import Predictions, predict
from argen.recogniser.training import train
from tests.recogniser.conftest import CLASSES, SMALL, make_clips, paint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, train_clips, cache):
    settings = replace(SMALL, steps=40, rate=5e-3, tower_rate=5e-3)
    return train(settings, train_clips, CLASSES, tmp_path_factory.mktemp("run"), cache=cache)


def test_probabilities_are_such_and_carry_ids_people_and_truth(checkpoint, test_clips, cache):
    found = predict(checkpoint, test_clips, cache)
    assert found.ids == tuple(clip.id for clip in test_clips)
    assert found.subjects == tuple(clip.subject for clip in test_clips)
    assert found.labels == tuple(clip.label for clip in test_clips)
    assert found.classes == CLASSES
    assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    without = predict(checkpoint, test_clips)  # decoded on the fly
    assert np.allclose(found.probabilities, without.probabilities, atol=1e-6)


def test_labels_are_copied_not_used(checkpoint, test_clips, cache):
    lied = [replace(clip, label="sad") for clip in test_clips]
    assert (
        predict(checkpoint, lied, cache).probabilities == predict(checkpoint, test_clips, cache).probabilities
    ).all()


def test_test_lists_that_mean_nothing_are_refused(checkpoint, train_clips, test_clips, cache):
    made = replace(test_clips[0], id="syn_1", extra={"synthetic": "true"})
    with pytest.raises(DatasetError, match=r"1 of the clips are synthetic \(syn_1"):
        predict(checkpoint, [*test_clips, made], cache)
    assert len(predict(checkpoint, [made], cache, allow_synthetic=True).ids) == 1
    known = replace(test_clips[0], subject=train_clips[0].subject)
    with pytest.raises(DatasetError, match=r"1 test clips show people .* \('train-0' in test/happy/0\)"):
        predict(checkpoint, [*test_clips[1:], known], cache)
    predict(checkpoint, train_clips[:2], cache)  # of the training split, and says so
    with pytest.raises(DatasetError, match="no clips"):
        predict(checkpoint, [], cache)


def test_a_clip_shorter_than_the_window_and_a_broken_one(checkpoint, tmp_path, test_clips, cache):
    short = make_clips(tmp_path, "test", 1, frames=1)
    found = predict(checkpoint, short, cache)
    assert np.isfinite(found.probabilities).all()
    with pytest.raises(UnreadableClip):
        predict(checkpoint, [replace(test_clips[0], path=tmp_path / "absent")], cache)


def test_folders_that_hold_no_recogniser_are_named(tmp_path, checkpoint, test_clips):
    with pytest.raises(ModelUnavailable, match="holds no recogniser; `argen recognise train`"):
        predict(tmp_path, test_clips)
    with pytest.raises(ModelUnavailable, match=r"you mean .*checkpoint"):
        predict(checkpoint.parent, test_clips)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in checkpoint.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    facts = json.loads((broken / "facts.json").read_text())
    facts["classes"] = [*facts["classes"], "fear"]  # a checkpoint of other classes
    (broken / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(ModelUnavailable, match="not those of its settings and classes"):
        predict(broken, test_clips)
    (broken / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ModelUnavailable, match="damaged"):
        predict(broken, test_clips)


def test_an_explanation_adds_up_and_its_picture_is_drawn(checkpoint, test_clips, cache, tmp_path):
    found = explain(load_trained(checkpoint), test_clips[0], cache)
    assert sum(found.parts.values()) == pytest.approx(found.margin, abs=1e-4)
    assert set(found.parts) == {"clip", "phases", "windows", "aggregator"}
    assert found.said in CLASSES
    assert found.margin >= 0
    assert len(found.frames) == SMALL.frames
    assert len(found.concepts) == 20
    said = predict(checkpoint, test_clips[:1], cache)
    assert found.confidence == pytest.approx(float(said.probabilities.max()), abs=1e-5)
    picture = Image.open(draw(found, tmp_path / "deep" / "x.png"))
    assert picture.width >= 760
    assert len(np.unique(np.asarray(picture))) > 10


def test_the_baseline_has_frames_to_explain_and_no_parts(test_clips, cache, tmp_path):
    settings = replace(SMALL, streams="baseline")
    found = explain(
        Trained(Recogniser(settings, CLASSES).eval(), settings, CLASSES, frozenset(), {}),
        test_clips[0],
        cache,
    )
    assert not found.parts
    assert not found.concepts
    assert np.abs(found.frames).max() > 0
    assert draw(found, tmp_path / "x.png").is_file()


def test_a_frame_that_is_as_its_neighbour_counts_for_nothing(checkpoint, test_clips, cache, tmp_path):
    paint(tmp_path / "still", "neutral", 3)
    found = explain(load_trained(checkpoint), replace(test_clips[0], path=tmp_path / "still"), cache)
    assert np.allclose(found.frames, 0, atol=1e-5)


def _argen(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["argen", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise


def test_the_commands_from_a_folder_to_scores(tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    rows = [*make_clips(data, "train", 4), *make_clips(data, "test", 2)]
    (data / "metadata.jsonl").write_text(
        "".join(
            json.dumps({"file_name": c.id, "label": c.label, "split": c.split, "subject": c.subject}) + "\n"
            for c in rows
        )
    )
    wanted = ("size", "frames", "width", "latents", "prompts", "steps", "batch", "validation", "device")
    small = [f"--set={key}={getattr(SMALL, key)}" for key in wanted]
    for name in ("a", "b"):
        _argen(monkeypatch, "recognise", "train", data, tmp_path / name, *small, "--set", f"seed={ord(name)}")
        folder = capsys.readouterr().out.strip()
        _argen(monkeypatch, "recognise", "predict", folder, data, tmp_path / f"{name}.csv")
        assert capsys.readouterr().out.strip() == str(tmp_path / f"{name}.csv")
    assert len(Predictions.read(tmp_path / "a.csv").ids) == 6
    _argen(
        monkeypatch, "recognise", "score", tmp_path / "a.csv", tmp_path / "b.csv", "--json", "--draws", 100
    )
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"tables", "uar_difference", "war_difference", "mcnemar"}
    _argen(monkeypatch, "recognise", "score", tmp_path / "a.csv")
    assert "recall (95 % Wilson)" in capsys.readouterr().out
    _argen(
        monkeypatch,
        "recognise",
        "explain",
        tmp_path / "a" / "checkpoint",
        data,
        tmp_path / "why",
        "--most",
        2,
    )
    assert len(list((tmp_path / "why").glob("*.png"))) == 2


def test_unknown_people_are_told_once(tmp_path, monkeypatch, capsys):
    make_clips(tmp_path / "data", "train", 2)
    make_clips(tmp_path / "data", "test", 1)
    wanted = ("size", "frames", "width", "latents", "prompts", "steps", "batch", "validation", "device")
    small = [f"--set={key}={getattr(SMALL, key)}" for key in wanted]
    _argen(monkeypatch, "recognise", "train", tmp_path / "data", tmp_path / "run", *small)
    assert capsys.readouterr().err.count("who is in which clip is unknown") == 1
    folder = tmp_path / "run" / "checkpoint"
    _argen(monkeypatch, "recognise", "predict", folder, tmp_path / "data", tmp_path / "p.csv")
    assert capsys.readouterr().err.count("who is in which clip is unknown") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "{data}", "{out}", "--set", "stpes=3"), "unknown key; did you mean 'steps'?"),
        (("train", "{data}", "{out}", "--set", "steps"), "write it as key=value"),
        (("predict", "{out}", "{data}", "{out}/p.csv", "--split", "tset"), "no clips of the split 'tset'"),
        (("score", "{out}/a.csv", "{out}/b.csv", "{out}/c.csv"), "one table, or two"),
    ],
)
def test_wrong_commands_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    make_clips(tmp_path / "data", "train", 1)
    filled = [text.format(data=tmp_path / "data", out=tmp_path / "out") for text in arguments]
    with pytest.raises(SystemExit) as stop:
        _argen(monkeypatch, "recognise", *filled)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
