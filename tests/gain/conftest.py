"""A small experiment on painted faces, with a recogniser that is right as often as a test wants."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from argen.config import load_recipe
from argen.gain.folder import Experiment
from argen.gain.settings import GainRecipe
from argen.recogniser.predict import Predictions
from tests import fakes

SETTINGS = {
    "generate": {"frames": 8, "size": 64},
    "gate": {"expression": 0.0, "requested": 0.3, "distinct": 0.0},
    "affect": {"blinks": False},
    "plan": {"tries": 20},
    "gain": {
        "world": {"scale": 1.0, "test_per_class": 8},
        "seeds": [0, 1],
        "share": 0.5,
        "recogniser": {"validation": 0, "steps": 2, "batch": 2},
        "pools": {"made": {}, "tuned": {"adapter": True}},
        "arms": {
            "real_only": {},
            "oversampling": {"recogniser": {"balance": "oversample"}},
            "ungated": {"pool": "made", "gated": False},
            "gated": {"pool": "made"},
            "tuned": {"pool": "tuned"},
            "synthetic_only": {"pool": "made", "real": False, "per_class": 2},
            "ceiling": {"pool": "real"},
        },
        "sweep": {"arms": ["tuned", "gated"], "shares": [0, 0.5, 1]},
        "verdict": {"rivals": ["oversampling"], "candidates": ["tuned", "gated"]},
    },
}
COUNTS = {"neutral": 9, "disgust": 1, "happy": 5}
SKILL = {"real_only": 0.4, "oversampling": 0.5, "ungated": 0.6, "gated": 0.8, "ceiling": 0.95}


def changed(**gain):
    """The settings with another gain section, key by key."""
    return {**SETTINGS, "gain": {**SETTINGS["gain"], **gain}}


@pytest.fixture
def trained(monkeypatch):
    """Painted faces all the way; names of the runs that were trained, in order."""
    runs: list[str] = []

    def write_dataset(out, counts, seed, **_):
        if isinstance(counts, str):
            fakes.painted_dataset(out, COUNTS, held_out=8)
        else:
            fakes.painted_dataset(out, {label: train for label, (train, _) in counts.items()}, held_out=1)

    def train(settings, clips, classes, out, *, cache):
        runs.append(f"{out.parent.parent.name}/{settings.seed}")
        (out / "checkpoint").mkdir(parents=True)
        note = {"arm": out.parent.parent.name, "seed": settings.seed, "classes": list(classes)}
        note["synthetic"] = sorted(clip.id for clip in clips if clip.synthetic)
        (out / "checkpoint" / "note.json").write_text(json.dumps(note))
        return out / "checkpoint"

    def predict(checkpoint, clips, cache, *, device):
        note = json.loads((checkpoint / "note.json").read_text())
        return guessed(clips, note["classes"], SKILL.get(note["arm"], 0.7), note["seed"])

    monkeypatch.setattr("argen.workshop.load_reader", lambda *_: fakes.PaintedReader())
    monkeypatch.setattr("argen.workshop.load_generator", lambda settings: fakes.PaintedGenerator(spoil=3))
    monkeypatch.setattr("argen.puppets.world.write_dataset", write_dataset)
    monkeypatch.setattr("argen.gain.runs.train", train)
    monkeypatch.setattr("argen.gain.runs.predict", predict)
    monkeypatch.setattr("argen.gain.work.POLL_SECONDS", 0.01)
    return runs


def guessed(clips, classes, skill, seed):
    """Right with the chance `skill`, the same clips for the same seed."""
    rows = np.full((len(clips), len(classes)), 0.1, np.float32)
    for row, clip in enumerate(clips):
        luck = zlib.crc32(f"{seed} {clip.id}".encode()) / 2**32
        said = classes.index(clip.label) + (0 if luck < skill else 1)
        rows[row, said % len(classes)] = 0.8
    ids, labels = tuple(clip.id for clip in clips), tuple(clip.label for clip in clips)
    return Predictions(ids, tuple(clip.subject for clip in clips), labels, rows, tuple(classes))


def experiment(out: Path, **gain) -> Experiment:
    return Experiment(out, load_recipe(settings=changed(**gain), kind=GainRecipe))
