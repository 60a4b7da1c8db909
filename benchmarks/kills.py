"""What SIGKILL costs: runs killed at random moments, run on, and compared with an unbroken run.

Real processes of the real loop on real faces (the demo dataset, warp at a small size). A run is equal
when the merged manifest and every clip are, byte for byte apart from timings. One figure:
`kills.equal`, the share of equal runs over 1, 2 and 3 processes.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from argen.augmentation import augment
from argen.config import load_recipe
from argen.dataset.read import read_dataset
from benchmarks.figures import Figure, main
from pipelines.demo_dataset import write_faces

WORLDS = (1, 2, 3)
SETTINGS = ("generate.frames=6", "generate.size=96", "gate.requested=0", "gate.expression=0", "gate.alive=0")
RESULT = ("train", "val", "test", "dropped", "tracks")
PATIENCE = 60  # starts after which a run that never ends is a failure
WAIT = 900  # seconds after which a process that still runs hangs


def measure(quick: bool) -> Iterator[Figure]:
    """Kill until the wanted number of kills is reached; every finished run is compared."""
    kills, count = (6, 4) if quick else (100, 10)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="argen-kills-") as scratch:
        root = Path(scratch)
        source = root / "demo"
        write_faces(source)
        started = time.monotonic()
        finish_run(source, root / "whole", count=count, world=1, rng=rng, kills=0, seconds=0.0)
        unbroken = time.monotonic() - started
        wanted = snapshot(root / "whole")
        done, equal, runs = 0, 0, 0
        while done < kills:
            out = root / "broken"
            world = WORLDS[runs % len(WORLDS)]
            left = min(5, kills - done)
            done += finish_run(source, out, count=count, world=world, rng=rng, kills=left, seconds=unbroken)
            equal += snapshot(out) == wanted
            runs += 1
            shutil.rmtree(out)
    low = equal / runs if equal < runs else 1 - 3 / (runs + 2)  # rule of three for no failure seen
    yield Figure("kills.equal", equal / runs, low, 1.0, done, "== 1", (0,))


def finish_run(
    source: Path, out: Path, *, count: int, world: int, rng: np.random.Generator, kills: int, seconds: float
) -> int:
    """Run to the end with `world` processes, killing one process at a random moment `kills` times."""
    done = 0
    for _ in range(PATIENCE):
        workers = [start(source, out, count, rank, world) for rank in range(world)]
        if done < kills:
            time.sleep(float(rng.uniform(0.2, 1.0)) * max(seconds, 1.0))
            victim = workers[int(rng.integers(world))]
            if victim.is_alive():
                victim.kill()
                done += 1
        for worker in workers:
            worker.join(WAIT)
            if worker.exitcode is None:
                raise RuntimeError(f"{out}: a process hangs: it neither ended nor was killed in {WAIT} s")
        if all(worker.exitcode == 0 for worker in workers) and complete(out):
            return done
    raise RuntimeError(f"{out}: not complete after {PATIENCE} starts")


def start(source: Path, out: Path, count: int, rank: int, world: int) -> BaseProcess:
    """One process of a run, forked from this one so that a start costs no imports."""
    worker = multiprocessing.get_context("fork").Process(
        target=work, args=(source, out, count, (rank, world))
    )
    worker.start()
    return worker


def work(source: Path, out: Path, count: int, shard: tuple[int, int]) -> None:
    """What `argen-augment --shard r/n` does."""
    settings = {"plan": {"classes": ["disgust"], "count": count}}
    for _ in augment(
        read_dataset(source), load_recipe(overrides=SETTINGS, settings=settings), out, shard=shard
    ):
        pass


def complete(out: Path) -> bool:
    """Whether nothing is left to do."""
    path = out / "summary.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["left"] == 0


def snapshot(out: Path) -> dict[str, bytes]:
    """Every file of the result, and the manifest without its timings."""
    files = (p for name in RESULT for p in (out / name).rglob("*") if p.is_file())
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in files}
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    found["manifest.jsonl"] = json.dumps([{**row, "seconds": 0} for row in rows]).encode()
    return found


if __name__ == "__main__":
    main(measure, __doc__ or "")
