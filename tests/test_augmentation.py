"""The promises of the loop, on painted faces."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

import argen
from argen.augmentation import augment
from argen.dataset.exporting.names import folder_name
from argen.errors import RecipeError, UsageError
from argen.manifest import Ledger
from argen.output import read_summary
from tests import fakes

SETTINGS = {
    "plan": {"classes": ["disgust"], "count": 6},
    "generate": {"frames": 8, "size": 64},
    "gate": {"expression": 0.5, "distinct": 0.02},
    "affect": {"blinks": False},
}


@pytest.fixture
def generator(monkeypatch):
    return use(monkeypatch, fakes.PaintedGenerator())


def use(monkeypatch, generator):
    monkeypatch.setattr("argen.workshop.load_reader", lambda *_: fakes.PaintedReader())
    monkeypatch.setattr("argen.workshop.load_generator", lambda settings: generator)
    return generator


@pytest.fixture
def source(tmp_path):
    return fakes.painted_dataset(tmp_path / "source")


def recipe(**plan):
    return argen.load_recipe(settings={**SETTINGS, "plan": {**SETTINGS["plan"], **plan}})


def run(source, out, chosen=None, **options):
    return list(augment(argen.read_dataset(source), chosen or recipe(), out, **options))


def snapshot(out: Path) -> dict[str, bytes]:
    """Every file that belongs to the result; timings taken out."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and name.split("/")[0] in {"train", "val", "test", "dropped", "tracks"}:
            found[name] = path.read_bytes()
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    found["manifest.jsonl"] = json.dumps([{**row, "seconds": 0} for row in rows]).encode()
    return found


def test_a_run_gives_the_wanted_clips_and_a_folder_that_says_so(generator, source, tmp_path):
    records = run(source, tmp_path / "out")
    assert [r.status for r in records] == ["kept"] * 6
    rows = [json.loads(line) for line in (tmp_path / "out/train/metadata.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert all(row["synthetic"] and row["label"] == "disgust" for row in rows)
    assert all((tmp_path / "out/train" / row["file_name"]).is_file() for row in rows)
    assert read_summary(tmp_path / "out").short == {}
    assert (tmp_path / "out/report/index.html").stat().st_size < 1_000_000
    assert "synthetic" in (tmp_path / "out/README.md").read_text()


def test_real_clips_are_beside_the_synthetic_ones_and_the_source_is_untouched(generator, source, tmp_path):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in source.rglob("*.png")}
    run(source, tmp_path / "out")
    for path, (content, changed) in before.items():
        assert (tmp_path / "out" / path.relative_to(source)).read_bytes() == content
        assert path.stat().st_mtime_ns == changed
    assert {p for p in source.rglob("*") if p.is_file()} == set(before)
    assert not list((tmp_path / "out/test").rglob("syn_*"))


def test_running_again_does_nothing_and_says_what_is_there(generator, source, tmp_path):
    run(source, tmp_path / "out")
    first, calls = snapshot(tmp_path / "out"), len(generator.calls)
    assert run(source, tmp_path / "out") == []
    assert len(generator.calls) == calls
    assert snapshot(tmp_path / "out") == first


@pytest.mark.parametrize("after", [1, 2, 4, 5])
def test_a_run_that_stopped_anywhere_ends_as_one_that_did_not(monkeypatch, source, tmp_path, after):
    use(monkeypatch, fakes.PaintedGenerator(spoil=3))
    run(source, tmp_path / "whole")
    stopped = augment(argen.read_dataset(source), recipe(), tmp_path / "out")
    for _ in range(after):
        next(stopped)
    stopped.close()
    (tmp_path / "out/train/disgust").mkdir(parents=True, exist_ok=True)
    (tmp_path / "out/train/disgust/syn_half.mp4.part").write_bytes(b"half a clip")
    with (tmp_path / "out/manifest").joinpath("000-of-001.jsonl").open("ab") as file:
        file.write(b'{"id": "torn')
    run(source, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


@pytest.mark.parametrize("world", [2, 3])
def test_shards_one_after_the_other_meet_in_the_same_result(monkeypatch, source, tmp_path, world):
    use(monkeypatch, fakes.PaintedGenerator(spoil=3))
    run(source, tmp_path / "whole")
    for rank in range(world):
        records = run(source, tmp_path / "out", shard=(rank, world))
        assert records
    assert read_summary(tmp_path / "out").left == 0
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def _shard(source, out, rank, world, barrier, dies):
    with pytest.MonkeyPatch.context() as patch:
        use(patch, fakes.PaintedGenerator(spoil=3))
        barrier.wait()
        for _ in augment(argen.read_dataset(source), recipe(), out, shard=(rank, world)):
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)


def _together(source, out, world, dying=()):
    """Exit codes of that many processes at work on one run at once; None for one that never ends."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(world)
    workers = [
        context.Process(target=_shard, args=(source, out, rank, world, barrier, rank in dying))
        for rank in range(world)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    codes = [worker.exitcode for worker in workers]
    for worker in workers:
        worker.kill()
    return codes


def test_shards_at_the_same_time_meet_in_the_same_result(monkeypatch, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=3))
    run(source, tmp_path / "whole")
    assert _together(source, tmp_path / "out", 3) == [0, 0, 0]
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def test_two_processes_do_not_wait_for_a_third_that_was_killed(monkeypatch, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=3))
    run(source, tmp_path / "whole")
    assert _together(source, tmp_path / "out", 3, dying={2}) == [0, 0, -signal.SIGKILL]
    assert read_summary(tmp_path / "out").left > 0
    run(source, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def test_a_run_that_was_killed_while_it_began_goes_on(monkeypatch, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=3))
    run(source, tmp_path / "whole")
    run(source, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        if path.name not in {".argen.lock", "manifest"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (tmp_path / "out/manifest").glob("*-of-*"):
        path.unlink()
    run(source, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def test_the_number_of_processes_may_change_between_runs(monkeypatch, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=3))
    run(source, tmp_path / "whole")
    run(source, tmp_path / "out", shard=(1, 3))
    run(source, tmp_path / "out", shard=(0, 2))
    run(source, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def test_two_processes_cannot_be_the_same_shard(generator, source, tmp_path):
    first = augment(argen.read_dataset(source), recipe(), tmp_path / "out")
    next(first)
    with pytest.raises(UsageError, match="another process is at work on shard 0/1"):
        run(source, tmp_path / "out")
    first.close()


def test_dropped_clips_are_made_up_for_and_say_why(monkeypatch, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=2))
    records = run(source, tmp_path / "out")
    dropped = [record for record in records if record.status == "dropped"]
    assert dropped
    assert sum(record.kept for record in records) == 6
    assert all("it hardly moves" in record.reason for record in dropped)
    assert all((tmp_path / "out" / record.file_name).exists() for record in dropped)


def test_a_class_that_never_passes_ends_short_at_its_limit(monkeypatch, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=1))
    records = run(source, tmp_path / "out", recipe(tries=2))
    assert len(records) == 12
    assert read_summary(tmp_path / "out").short == {"disgust": 6}


def test_near_duplicates_are_dropped_the_later_one_always(generator, source, tmp_path):
    picky = argen.load_recipe(settings=SETTINGS, overrides=["gate.distinct=1.0", "plan.max_per_source=3"])
    run(source, tmp_path / "out", picky)
    rows = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["status"] == "kept"]
    assert len({row["source"] for row in kept}) == len(kept)
    for row in rows:
        if row["status"] == "dropped":
            original = next(other for other in rows if other["id"] in row["reason"])
            assert original["index"] < row["index"]
            assert original["source"] == row["source"]
            assert (tmp_path / "out" / row["file_name"]).exists()


def test_a_source_without_a_face_fails_its_job_and_no_other(generator, source, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(source / "train/neutral/black.png")
    records = run(source, tmp_path / "out", recipe(count=8))
    failed = [record for record in records if record.status == "failed"]
    assert {record.source for record in failed} == {"train/neutral/black"}
    assert "no face in every frame" in failed[0].reason
    assert sum(record.kept for record in records) == 8


def test_a_clip_that_cannot_be_made_fails_alone_and_not_its_batch(monkeypatch, source, tmp_path):
    from argen.errors import JobError

    class Fragile(fakes.PaintedGenerator):
        def __call__(self, requests):
            if any(request.seed % 2 for request in requests):
                raise JobError("the pipeline failed")
            return super().__call__(requests)

    use(monkeypatch, Fragile())
    records = run(source, tmp_path / "out")
    failed = [record for record in records if record.status == "failed"]
    assert failed
    assert all(record.seed % 2 and record.reason == "the pipeline failed" for record in failed)
    assert sum(record.kept for record in records) == 6


def test_failed_jobs_are_tried_again_when_asked(generator, source, tmp_path, monkeypatch):
    from argen.errors import NoFaceFound
    from argen.workshop import Workshop

    find = Workshop._find_source

    def broken(self, clip):
        if clip.id.endswith("neutral-0"):
            raise NoFaceFound("a passing fault")
        return find(self, clip)

    monkeypatch.setattr(Workshop, "_find_source", broken)
    first = run(source, tmp_path / "out")
    failed = {record.id for record in first if record.status == "failed"}
    assert failed
    monkeypatch.setattr(Workshop, "_find_source", find)
    assert run(source, tmp_path / "out") == []
    again = run(source, tmp_path / "out", retry_failed=True)
    assert {record.id for record in again} == failed
    assert all(record.kept for record in again)


def test_every_record_can_be_traced_and_is_a_training_clip(generator, source, tmp_path):
    for record in run(source, tmp_path / "out"):
        assert record.split == "train"
        assert record.source.startswith("train/")
        assert record.recipe_hash == recipe().hash
        assert record.made_by == {"generator": "painted", "model": "paint"}
        assert not any("test/" in name for name in record.exemplars)
        assert len(record.sha256) == 64


def test_a_changed_recipe_is_refused_with_the_keys_that_differ(generator, source, tmp_path):
    run(source, tmp_path / "out")
    with pytest.raises(RecipeError, match=r"plan\.count: 6 -> 7"):
        run(source, tmp_path / "out", recipe(count=7))
    assert run(source, tmp_path / "out", recipe(count=7), fresh=True)


def test_an_edited_source_is_refused_by_name(generator, source, tmp_path):
    run(source, tmp_path / "out")
    (source / "train/neutral/train-neutral-0.png").unlink()
    with pytest.raises(UsageError, match=r"edited since .* 1 gone \(first: train/neutral/train-neutral-0\)"):
        run(source, tmp_path / "out")


def test_fresh_removes_only_what_argen_made(generator, source, tmp_path):
    run(source, tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("mine")
    run(source, tmp_path / "out", recipe(count=2), fresh=True)
    assert (tmp_path / "out/notes.txt").read_text() == "mine"
    assert len(list((tmp_path / "out/train").rglob("syn_*"))) == 2


def test_the_ledger_reads_only_complete_lines(generator, source, tmp_path):
    run(source, tmp_path / "out")
    ledger = Ledger(tmp_path / "out/manifest")
    path = tmp_path / "out/manifest/000-of-001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:-5])
    ledger.refresh()
    assert len(ledger.entries) == 3
    path.write_bytes(b"".join(lines))
    ledger.refresh()
    assert len(ledger.entries) == len(lines)


@pytest.mark.parametrize(
    "label", ["happy", "very happy", "a/b", "..", ".hidden", "Ekel über", "笑", 'q"?*', "end. "]
)
def test_any_label_becomes_one_folder_name(label, tmp_path):
    name = folder_name(label)
    (tmp_path / name).mkdir()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert not name.startswith(".")
