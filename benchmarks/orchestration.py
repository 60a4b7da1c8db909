"""What the loop itself costs, beside the work it orders.

`augment.overhead`: share of a run's time that is not in one of its parts (describe, generate, measure,
judge, encode, report), on real faces with warp. `plan.*`: planning, and resuming a run of 100,000 recorded
jobs, in a process of its own. `retrieve.*`: exemplar retrieval from a million (see benchmarks.retrieval).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from argen import augmentation
from argen.config import Recipe, load_recipe
from argen.dataset.clip import Clip, Dataset
from argen.dataset.read import read_dataset
from argen.manifest import Ledger, Record
from argen.plan import Plan, make_plan
from argen.workshop import Workshop
from benchmarks import retrieval
from benchmarks.figures import Figure, bootstrap, main
from pipelines.demo_dataset import write_faces

JOBS = 100_000
SOURCES = 2_000
PARTS = ("__init__", "learn", "requests", "generate", "measure", "judge")
RESUME = "from benchmarks.orchestration import resume; resume({folder!r})"


def measure(quick: bool) -> Iterator[Figure]:
    """All figures."""
    yield overhead(20 if quick else 200, runs=2 if quick else 3)
    yield from planning(2 if quick else 5)
    yield from retrieval.measure(quick)


def overhead(clips: int, runs: int) -> Figure:
    """Time of the loop outside its parts, as a share of the parts."""
    shares = [_one_run(clips, seed) for seed in range(runs)]
    value, low, high = bootstrap(shares)
    return Figure("augment.overhead", value, low, high, clips * runs, "<= 0.03", tuple(range(runs)))


def _one_run(clips: int, seed: int) -> float:
    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            nonlocal spent
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent += time.perf_counter() - started

        return call

    with tempfile.TemporaryDirectory(prefix="argen-overhead-") as scratch, ExitStack() as patches:
        source = Path(scratch) / "demo"
        write_faces(source)
        settings: dict[str, Any] = {
            "plan": {"classes": ["disgust"], "count": clips, "tries": 1},
            "seed": seed,
        }
        recipe: Recipe = load_recipe(settings=settings)
        of_workshop = [(Workshop, name) for name in PARTS]
        for owner, name in [*of_workshop, (augmentation, "write_mp4"), (augmentation, "write_report")]:
            patches.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name))))
        dataset = read_dataset(source)
        started = time.perf_counter()
        for _ in augmentation.augment(dataset, recipe, Path(scratch) / "out"):
            pass
        return (time.perf_counter() - started - spent) / spent


def planning(repeats: int) -> Iterator[Figure]:
    """Seconds and peak memory of a fresh process that plans, and takes in a finished journal."""
    with tempfile.TemporaryDirectory(prefix="argen-plan-") as scratch:
        _write_journal(Path(scratch))
        command = [sys.executable, "-c", RESUME.format(folder=scratch)]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(repeats)]
        rows = [json.loads(run.stdout) for run in runs]
    for name, key, bar in (("plan.seconds", "seconds", "<= 5"), ("plan.megabytes", "megabytes", "<= 500")):
        value, low, high = bootstrap([row[key] for row in rows], np.median)
        yield Figure(name, value, low, high, repeats, bar)


def _plan() -> Plan:
    clips = tuple(
        Clip(f"train/neutral/{k:05d}", "neutral", "train", Path("none"), "video", f"s{k}")
        for k in range(SOURCES)
    )
    rare = tuple(
        replace(clip, id=clip.id.replace("neutral", "disgust"), label="disgust") for clip in clips[:100]
    )
    settings = {"plan": {"classes": ["disgust"], "count": JOBS}}
    return make_plan(Dataset(Path("none"), clips + rare, "folder", "clip"), load_recipe(settings=settings))


def _write_journal(folder: Path) -> None:
    plan, rng = _plan(), np.random.default_rng(0)
    with (folder / "000-of-001.jsonl").open("w", encoding="utf-8") as file:
        for index in range(JOBS):
            job = plan.job("disgust", index)
            file.write(_record(job.id, index, job.source, job.seed, rng).to_json() + "\n")


def _record(identifier: str, index: int, source: str, seed: int, rng: np.random.Generator) -> Record:
    units = tuple(rng.random(20).round(3).tolist())
    return Record(
        id=identifier,
        label="disgust",
        index=index,
        status="kept",
        reason="passed 8 checks",
        source=source,
        source_frame=3,
        subject=source,
        split="train",
        licence="unknown",
        redistributable=True,
        seed=seed,
        caption="a person grows distinctly repelled, as if smelling spoiled milk, to the end. " * 3,
        written_by="template",
        profile="prototype",
        exemplars=("a", "b", "c", "d"),
        file_name=f"train/disgust/syn_{identifier}.mp4",
        sha256="0" * 64,
        scores=dict.fromkeys(map(str, range(8)), 0.75),
        target=units,
        seen=units,
        fingerprint=rng.bytes(80).hex(),
        reader="mediapipe",
        made_by={"generator": "warp", "au_to_mesh": "0" * 64},
        recipe_hash="0" * 12,
        seconds=1.0,
    )


def resume(folder: str) -> None:
    """What a process does before its first job; prints seconds and peak memory. Run in a fresh process."""
    started = time.perf_counter()
    plan, ledger = _plan(), Ledger(Path(folder), distinct=0.02)
    ledger.refresh()
    left = plan.wave(ledger.settle()[0])
    seconds = time.perf_counter() - started
    # Not ru_maxrss: a child's starts at what its parent had.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    megabytes = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
    print(json.dumps({"seconds": seconds, "megabytes": megabytes, "left": len(left)}))


if __name__ == "__main__":
    main(measure, __doc__ or "")
