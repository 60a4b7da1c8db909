"""The finished folder loads where users load it, and its real clips keep their names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock, Timeout

import argen
from argen.config import OutputSettings
from argen.dataset.clip import Clip, Dataset
from argen.dataset.fingerprint import file_hash
from argen.dataset.verify import verify_output
from argen.dataset.video import write_mp4
from argen.manifest import Journal, Record
from argen.output import _slim, finish, link_real, real_names
from argen.plan import make_plan
from argen.report.page import write_report
from argen.run import LOCK, open_run
from tests import fakes
from tests.test_augmentation import recipe, run, use


@pytest.fixture
def out(monkeypatch, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator())
    source = fakes.painted_dataset(tmp_path / "source")
    for split in ("train", "test"):
        frames = fakes.paint(np.full((4, 20), 0.02), 0.4)
        write_mp4(source / split / "happy" / f"{split}-video.mp4", frames, 24.0)
    run(source, tmp_path / "out", recipe(count=3))
    return tmp_path / "out"


@pytest.mark.slow
def test_it_loads_with_the_line_that_is_printed(out, tmp_path):
    code = (
        "import datasets, json\n"
        f"found = datasets.load_dataset('videofolder', data_dir={str(out)!r})\n"
        "rows = {name: split.cast_column('video', datasets.Video(decode=False)).to_list()\n"
        "        for name, split in found.items()}\n"
        "print(json.dumps({name: [[r['label'], r['synthetic'], r['source'], r['subject']] for r in part]\n"
        "                  for name, part in rows.items()}))"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    assert sorted(row[1] for row in rows["train"]) == [False, True, True, True]
    assert [row[:2] for row in rows["test"]] == [["happy", False]]


def test_it_is_itself_a_dataset_whose_synthetic_clips_are_never_sources(out):
    from argen.dataset.read import read_dataset
    from argen.plan import source_pool

    dataset = read_dataset(out)
    synthetic = {clip.id for clip in dataset.clips if clip.extra.get("synthetic") == "true"}
    assert len(synthetic) == 3
    assert not synthetic & set(source_pool(dataset.train, "disgust", recipe().plan, 0))


def test_verify_finds_nothing_wrong_and_finds_what_is(out):
    assert verify_output(out) == []
    clip = next((out / "train/disgust").glob("syn_*.mp4"))
    clip.write_bytes(clip.read_bytes()[:-20])
    assert any(clip.name in problem.where or clip.name in problem.what for problem in verify_output(out))


def test_real_clips_keep_their_names_unless_two_would_collide():
    def clip(name: str, path: str) -> Clip:
        return Clip(name, "happy", "train", Path(path), "video", name)

    clips = (clip("a/x/1", "a/x/1.mp4"), clip("a/y/1", "a/y/1.mp4"), clip("a/y/2", "a/y/2.mp4"))
    names = real_names(Dataset(Path(), clips, "folder", "clip"))
    assert names == {
        "a/x/1": "train/happy/a_x_1.mp4",
        "a/y/1": "train/happy/a_y_1.mp4",
        "a/y/2": "train/happy/2.mp4",
    }


LIKE_A_CHAIN = {"A": "00", "B": "08", "C": "10"}
"""Fingerprints: B is too like A and C is too like B, but C is not like A."""


def by_hand(tmp_path, done, *, dropped=True, failed=(), **options):
    """The folder after some of the jobs A, B, C, of one source, were recorded by a process of their own."""
    source, out = tmp_path / "source", tmp_path / "out"
    if not source.exists():
        fakes.painted_dataset(source)
    dataset = argen.read_dataset(source)
    settings = {"plan": {"classes": ["disgust"], "count": 3, "tries": 1}}
    settings |= {"gate": {"distinct": 0.5}, "output": {"dropped": dropped}}
    chosen = argen.load_recipe(settings=settings)
    plan = make_plan(dataset, chosen)
    models = {"generator": {"generator": "hand"}, "reader": {"name": "none", "weights": {}}}
    with open_run(out, dataset, plan, chosen, models=models, **options) as run:
        for letter in done:
            job = plan.job("disgust", "ABC".index(letter))
            name = "" if letter in failed else run.clip_name(job, kept=True)
            if name:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_bytes(b"SYNTHETIC " + letter.encode())
            run.write(
                Record(
                    *(job.id, "disgust", job.index, "kept" if name else "failed", "as it was asked"),
                    *(dataset.train[0].id, 0, "someone", "train", "none", True, job.seed, "calm", "template"),
                    file_name=name,
                    sha256=file_hash(out / name) if name else "",
                    target=(0.1,) * 20,
                    fingerprint=LIKE_A_CHAIN[letter],
                    reader="none",
                    made_by={"generator": "hand"},
                    recipe_hash=chosen.hash,
                )
            )
        finish(run, dataset)
    return out


def stored(out):
    """Which clips are where, by their letters."""
    return {p.read_bytes()[-1:].decode(): p.relative_to(out).parts[0] for p in out.rglob("syn_*.mp4")}


@pytest.mark.parametrize("dropped", [True, False])
@pytest.mark.parametrize("order", list(permutations("ABC")))
def test_a_clip_that_is_no_near_duplicate_after_all_comes_back(tmp_path, order, dropped):
    """C repeats B until A is there; then B repeats A, and C is kept again."""
    for letter in order:
        out = by_hand(tmp_path, letter, dropped=dropped)
        assert verify_output(out, decode=False) == []
        write_report(out)
    assert stored(out) == {"A": "train", "C": "train"} | ({"B": "dropped"} if dropped else {})
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["kept", "dropped", "kept"]
    assert bool(rows[1]["file_name"]) == dropped


def test_a_near_duplicate_is_not_thrown_away_while_a_failed_job_may_be_tried_again(tmp_path):
    out = by_hand(tmp_path, "ABC", dropped=False, failed="A")
    assert stored(out) == {"B": "train", "C": "dropped"}
    assert verify_output(out, decode=False) == []
    by_hand(tmp_path, "A", dropped=False, retry_failed=True)
    assert stored(out) == {"A": "train", "C": "train"}
    assert verify_output(out, decode=False) == []


def test_a_clip_recorded_while_another_process_finishes_is_not_left_over(tmp_path, monkeypatch):
    """The other one ends after the records were read and before leftovers are removed."""
    by_hand(tmp_path, "A")
    other = Journal(tmp_path / "out/manifest", (1, 2))
    clip = tmp_path / "out/train/disgust/syn_other.mp4"
    clip.write_bytes(b"SYNTHETIC")

    def slim(run):
        yield from _slim(run)
        other.write(replace(next(run.ledger.records()), id="other", index=1, file_name=clip.name))
        other.__exit__()

    monkeypatch.setattr("argen.output._slim", slim)
    by_hand(tmp_path, "", shard=(0, 2))
    assert clip.exists()


def test_no_process_begins_while_leftovers_are_removed(tmp_path, monkeypatch):
    """It would write clips that the records, as they were read, do not name."""

    def remove(out, named):
        with pytest.raises(Timeout):
            FileLock(out / LOCK).acquire(timeout=0)
        removed.append(named)

    removed: list[set[str]] = []
    monkeypatch.setattr("argen.output._remove_leftovers", remove)
    by_hand(tmp_path, "A")
    assert len(removed) == 1


@pytest.mark.parametrize("real", ["link", "copy"])
def test_symlinked_sources_are_files_of_their_own_in_the_output(tmp_path, real):
    """Datasets are often trees of relative links into a store; they would lead nowhere from OUT."""
    store, source, out = tmp_path / "store", tmp_path / "source/train/happy", tmp_path / "out"
    (store / "frames").mkdir(parents=True)
    source.mkdir(parents=True)
    for name in ("a.mp4", "frames/0.png", "1.png"):
        (store / name).write_text(name)
    (store / "frames/1.png").symlink_to("../1.png")
    (source / "a.mp4").symlink_to("../../../store/a.mp4")
    (source / "b").symlink_to("../../../store/frames")
    (source / "c").mkdir()
    (source / "c/0.png").symlink_to("../../../../store/frames/0.png")
    kinds = {"a.mp4": "video", "b": "frames", "c": "frames"}
    clips = tuple(Clip(n, "happy", "train", source / n, kind, n) for n, kind in kinds.items())
    link_real(out, Dataset(tmp_path / "source", clips, "folder", "clip"), OutputSettings(real=real))
    shutil.rmtree(tmp_path / "source")
    made = {path.relative_to(out / "train/happy").as_posix(): path for path in out.rglob("*.*")}
    assert set(made) == {"a.mp4", "b/0.png", "b/1.png", "c/0.png"}
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert made["a.mp4"].read_text() == "a.mp4"
    assert made["b/1.png"].read_text() == "1.png"
    assert made["c/0.png"].read_text() == "frames/0.png"
    assert made["a.mp4"].samefile(store / "a.mp4") == (real == "link")


@pytest.mark.slow
def test_launched_processes_share_the_work(tmp_path):
    """What `accelerate launch` runs for several devices is torchrun; on a CPU it is called as such."""
    from pipelines.demo_dataset import write_faces

    write_faces(tmp_path / "demo")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "argen.cli.launch",
    ]
    command += [str(tmp_path / "demo"), str(tmp_path / "out"), "--class", "fear", "--count", "4"]
    command += ["--set", "generate.frames=6", "--set", "generate.size=64", "--set", "plan.tries=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    journals = sorted((tmp_path / "out/manifest").glob("*-of-002.jsonl"))
    assert len(journals) == 2, done.stderr[-2000:]
    assert all(journal.stat().st_size for journal in journals)
    assert len((tmp_path / "out/manifest.jsonl").read_text().splitlines()) == 4
