import json
import re
from pathlib import Path

import pytest

from argen.config import Recipe
from argen.dataset.fingerprint import file_hash
from argen.dataset.verify import verify_output
from argen.dataset.video import write_mp4
from argen.errors import DatasetError
from tests.dataset.makers import gradient, put_jsonl, put_text, put_video


def record(out: Path, name: str, status: str = "kept", **changes) -> dict:
    folder = "train" if status == "kept" else "dropped"
    file_name = "" if status == "failed" else f"{folder}/sad/syn_{name}.mp4"
    sha256 = ""
    if file_name:
        (out / folder / "sad").mkdir(parents=True, exist_ok=True)
        write_mp4(out / file_name, gradient(4, seed=len(name)), 16.0, comment="SYNTHETIC by ARGen")
        sha256 = file_hash(out / file_name)
    return {
        "id": name,
        "label": "sad",
        "index": 0,
        "status": status,
        "reason": "why",
        "source": "sad/a",
        "source_frame": 0,
        "subject": "p",
        "split": "train",
        "licence": "CC0",
        "redistributable": True,
        "seed": 5,
        "caption": "A sad face.",
        "file_name": file_name,
        "sha256": sha256,
        "reader": "mediapipe",
        "made_by": {"generator": "warp"},
        "recipe_hash": Recipe().hash,
    } | changes


@pytest.fixture
def out(tmp_path) -> Path:
    """A sound output: one kept, one dropped, one failed, one real clip in train and one in test."""
    root = tmp_path / "out"
    records = [record(root, "k1"), record(root, "d1", "dropped"), record(root, "f1", "failed")]
    put_jsonl(root / "manifest.jsonl", records)
    recipe = Recipe()
    run = {
        "recipe": recipe.deciding(),
        "recipe_hash": recipe.hash,
        "models": {"reader": {"weights": {"w.task": "ab"}}},
    }
    put_text(root / "run.json", json.dumps(run))
    put_text(
        root / "manifest" / "source.json", json.dumps({"sad/a": "sad|train|1|2", "sad/t": "sad|test|1|2"})
    )
    put_video(root / "train" / "sad" / "a.mp4")
    put_video(root / "test" / "sad" / "t.mp4")
    train = [
        {"file_name": "sad/a.mp4", "label": "sad", "synthetic": False},
        {"file_name": "sad/syn_k1.mp4", "label": "sad", "synthetic": True},
    ]
    put_jsonl(root / "train" / "metadata.jsonl", train)
    put_jsonl(
        root / "test" / "metadata.jsonl", [{"file_name": "sad/t.mp4", "label": "sad", "synthetic": False}]
    )
    return root


def test_a_sound_output_has_no_problems(out):
    assert verify_output(out) == []


def edit_record(out: Path, index: int, **changes) -> None:
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    rows[index] |= changes
    put_jsonl(out / "manifest.jsonl", rows)


def edit_run(out: Path, **changes) -> None:
    put_text(out / "run.json", json.dumps(json.loads((out / "run.json").read_text()) | changes))


def add_row(out: Path, split: str, **row) -> None:
    with (out / split / "metadata.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def damage(out: Path) -> None:
    path = out / "train" / "sad" / "syn_k1.mp4"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2) + b"SYNTHETIC")
    edit_record(out, 0, sha256=file_hash(path))


def unmarked(out: Path) -> None:
    path = out / "train" / "sad" / "syn_k1.mp4"
    write_mp4(path, gradient(4), 16.0)
    edit_record(out, 0, sha256=file_hash(path))


def held_out(out: Path) -> None:
    (out / "test" / "sad" / "syn_k9.mp4").write_bytes((out / "train" / "sad" / "syn_k1.mp4").read_bytes())


WRONG = {
    "kept file gone": (lambda o: (o / "train/sad/syn_k1.mp4").unlink(), "kept, but the file is missing"),
    "dropped file gone": (
        lambda o: (o / "dropped/sad/syn_d1.mp4").unlink(),
        "dropped, but the file is missing",
    ),
    "bytes changed": (
        lambda o: append(o / "train/sad/syn_k1.mp4", b"x"),
        "its bytes are not those that were recorded",
    ),
    "damaged from the start": (damage, "damaged|cut short|not a video"),
    "does not say that it is synthetic": (unmarked, "does not say in its own metadata"),
    "kept without a file name": (lambda o: edit_record(o, 0, file_name=""), "its record names no file"),
    "path leads out": (lambda o: edit_record(o, 0, file_name="../x.mp4"), "leads out of the output"),
    "file without a record": (
        lambda o: put_video(o / "train/sad/syn_zz.mp4"),
        "a synthetic clip without a record",
    ),
    "dropped file without a record": (
        lambda o: put_video(o / "dropped/sad/syn_zz.mp4"),
        "a synthetic clip without a record",
    ),
    "synthetic file in test": (held_out, "a synthetic clip outside train"),
    "synthetic row in test": (
        lambda o: add_row(o, "test", file_name="sad/t.mp4", label="sad", synthetic=True),
        "a synthetic clip outside train",
    ),
    "record of the test split": (
        lambda o: edit_record(o, 0, split="test"),
        "a synthetic clip of the test split",
    ),
    "source held out": (lambda o: edit_record(o, 0, source="sad/t"), "its source 'sad/t' was a test clip"),
    "source unknown": (
        lambda o: edit_record(o, 0, source="sad/q"),
        "its source 'sad/q' was not in the dataset",
    ),
    "no seed": (lambda o: edit_record(o, 0, seed=None), "its record lacks seed"),
    "no caption and no model": (
        lambda o: edit_record(o, 0, caption="", made_by={}),
        "lacks made_by, caption",
    ),
    "dropped without a reason": (lambda o: edit_record(o, 1, reason=""), "dropped without a reason"),
    "another recipe's clip": (
        lambda o: edit_record(o, 0, recipe_hash="0" * 12),
        "made by recipe 000000000000",
    ),
    "two records of one job": (lambda o: edit_record(o, 1, id="k1"), "2 records of one job"),
    "not in the table": (
        lambda o: put_jsonl(o / "train/metadata.jsonl", [{"file_name": "sad/a.mp4", "label": "sad"}]),
        "kept, but not in train/metadata.jsonl",
    ),
    "table keeps what was dropped": (
        lambda o: add_row(o, "train", file_name="sad/syn_d1.mp4", label="sad", synthetic=True),
        "as synthetic, but no record keeps it",
    ),
    "two labels": (lambda o: edit_record(o, 0, label="joy"), "has one label in its record and another"),
    "listed but missing": (
        lambda o: add_row(o, "train", file_name="sad/b.mp4", label="sad", synthetic=False),
        "listed in metadata.jsonl, but missing",
    ),
    "listed twice": (
        lambda o: add_row(o, "test", file_name="sad/t.mp4", label="sad", synthetic=False),
        "listed twice in metadata.jsonl",
    ),
    "no manifest": (lambda o: (o / "manifest.jsonl").unlink(), "missing; run the same command again"),
    "manifest that is no text": (
        lambda o: append(o / "manifest.jsonl", b"\xff\n"),
        "out/manifest.jsonl: cannot be read: 'utf-8' codec",
    ),
    "manifest cut short": (lambda o: append(o / "manifest.jsonl", b'{"id": '), "not JSON"),
    "no listing of the source": (
        lambda o: (o / "manifest/source.json").unlink(),
        "which clips were for training is not known",
    ),
    "a recipe of another version": (
        lambda o: edit_run(o, recipe={"generate": {"steps": "many"}}),
        "its recipe is no longer valid",
    ),
    "a recipe that was edited": (lambda o: edit_run(o, recipe_hash="1" * 12), "its recipe was edited"),
    "an adapter that is gone": (
        lambda o: edit_run(o, recipe={"generate": {"adapter": "/nowhere/a.safetensors"}}),
        "named by the recipe, but no longer there",
    ),
    "run.json cut short": (lambda o: put_text(o / "run.json", '{"recipe": '), "run.json: cannot be read"),
    "left over": (lambda o: put_text(o / "train/sad/syn_x.mp4.part", "x"), "left over"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_found(out, case):
    spoil, message = WRONG[case]
    spoil(out)
    told = "\n".join(f"{p.where}: {p.what}" for p in verify_output(out))
    assert re.search(message, told), told
    assert all("\n" not in p.what for p in verify_output(out))


def test_weights_that_are_gone_are_found(out):
    asked = []
    found = verify_output(out, find_weights=lambda name, sha: asked.append((name, sha)) or False)
    assert asked == [("w.task", "ab")]
    assert "the weights of this run are not at hand" in found[0].what
    assert verify_output(out, find_weights=lambda name, sha: True) == []


def test_without_decoding_damage_is_not_looked_for(out):
    damage(out)
    assert verify_output(out, decode=False) == []


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"no run.json in it, so it is no output of ARGen"):
        verify_output(tmp_path)
