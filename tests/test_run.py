"""Who may begin work in an output folder, and what others find there while it is at work."""

from __future__ import annotations

import threading

import pytest
from filelock import FileLock, Timeout

import argen
from argen.augmentation import augment
from argen.errors import UsageError
from argen.manifest import Journal
from argen.run import LOCK, check_place
from tests import fakes
from tests.test_augmentation import recipe, run, snapshot, use


@pytest.fixture
def source(monkeypatch, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=3))
    return fakes.painted_dataset(tmp_path / "source")


def begin(source, out, **options):
    """A run that has made its first clip and is still going."""
    going = augment(argen.read_dataset(source), recipe(), out, **options)
    next(going)
    return going


@pytest.mark.parametrize("shard", [(0, 1), (1, 3)])
def test_starting_over_is_refused_while_a_process_is_at_work(source, tmp_path, shard):
    going = begin(source, tmp_path / "out", shard=shard)
    clips = set((tmp_path / "out").rglob("syn_*.mp4"))
    with pytest.raises(
        UsageError, match=rf"shard {shard[0]}/{shard[1]} is at work .* wait for it or stop it"
    ):
        run(source, tmp_path / "out", recipe(count=2), fresh=True)
    assert set((tmp_path / "out").rglob("syn_*.mp4")) == clips
    going.close()
    assert run(source, tmp_path / "out", recipe(count=2), fresh=True)


def test_a_process_that_began_while_another_was_about_to_start_over_is_seen(source, tmp_path, monkeypatch):
    """Between the first look and the emptying the models are loaded: minutes."""
    run(source, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    looks = []

    def check(*arguments):
        check_place(*arguments)
        if not looks:
            looks.append(Journal(tmp_path / "out/manifest", (1, 2)))

    monkeypatch.setattr("argen.run.check_place", check)
    with pytest.raises(UsageError, match="shard 1/2 is at work"):
        run(source, tmp_path / "out", fresh=True)
    looks[0].__exit__(None, None, None)
    assert snapshot(tmp_path / "out") == before


def test_of_several_shards_none_may_start_over(source, tmp_path):
    run(source, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    with pytest.raises(UsageError, match=r"shard 0/2; remove the folder once, .* without --fresh"):
        run(source, tmp_path / "out", shard=(0, 2), fresh=True)
    assert snapshot(tmp_path / "out") == before


def test_another_division_of_the_jobs_waits_until_the_first_is_over(source, tmp_path):
    going = begin(source, tmp_path / "out", shard=(1, 3))
    with pytest.raises(UsageError, match=r"shard 1/3 is at work in it, and this is 0/2, another division"):
        run(source, tmp_path / "out", shard=(0, 2))
    begin(source, tmp_path / "out", shard=(0, 3)).close()
    going.close()
    assert run(source, tmp_path / "out")


def test_a_process_that_only_asks_for_a_lock_keeps_no_shard_from_starting(source, tmp_path):
    run(source, tmp_path / "out")
    asking = FileLock(tmp_path / "out/manifest/000-of-001.lock", thread_local=False)
    asking.acquire()
    timer = threading.Timer(0.2, asking.release)
    timer.start()
    with Journal(tmp_path / "out/manifest", (0, 1)):
        timer.join()


def test_a_start_is_seen_before_the_next_can_begin(source, tmp_path, monkeypatch):
    """The folder's lock is let go when the shard's own is held, not before."""
    held = []

    def journal(folder, shard):
        with pytest.raises(Timeout):
            FileLock(tmp_path / "out" / LOCK).acquire(timeout=0)
        held.append(shard)
        return Journal(folder, shard)

    monkeypatch.setattr("argen.run.Journal", journal)
    run(source, tmp_path / "out")
    assert held == [(0, 1)]


def test_a_folder_that_was_emptied_by_half_says_so(source, tmp_path):
    run(source, tmp_path / "out")
    (tmp_path / "out/manifest/source.json").unlink()
    with pytest.raises(UsageError, match="start over with --fresh"):
        run(source, tmp_path / "out")
    assert run(source, tmp_path / "out", fresh=True)
