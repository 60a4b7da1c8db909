"""The program from recipe to adapter, in one process and in two, which must come to the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.fakes import painted_dataset
from tests.tiny import tiny_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]
RECIPE = """
plan: {{strategy: all, count: 3, classes: [disgust, happy]}}
affect: {{enough_clips: 50}}
generate: {{generator: diffusion, model: {model}, frames: 7, size: 64, steps: 3, guidance: 1.0}}
tune:
  data: {data}
  out: {out}
  iterations: 2
  prompts: 2
  num_generations: 4
  batch: 4
  rank: 2
  learning_rate: 0.01
  rewards: {{naturalness: 1.0, integrity: 1.0, same_person: 0.5}}
  judge: {{same_person: 1.0}}
  evaluate_every: 2
  evaluate_jobs: 1
  tracker: tensorboard
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("tune")
    painted_dataset(root / "data")
    tiny_pipeline("ltx", root / "model")
    return root


def run(place, name, launcher, *options):
    out = place / name
    config = place / f"{name}.yaml"
    config.write_text(RECIPE.format(model=place / "model", data=place / "data", out=out))
    out.mkdir(exist_ok=True)
    script = str(ROOT / "tests/tuning/painted_tune.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    return out, subprocess.run(
        [*launcher, script, str(out), "--config", str(config), *options],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
    )


def launcher(count):
    """What `accelerate launch` runs on several GPUs; on a CPU it would want MPI."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(count),
        "--master_port",
        "29611",
    ]


def test_two_processes_come_to_what_one_does(place):
    one, done = run(place, "one", [sys.executable])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "generate.adapter=" in done.stdout
    for made in ("adapter.safetensors", "README.md", "curves.svg", "log.jsonl", "sheets/000002.png"):
        assert (one / made).is_file(), made
    assert list(one.rglob("events.out.tfevents*"))
    two, done = run(place, "two", launcher(2))
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [load_file(two / f"rank{rank}.safetensors") for rank in range(2)]
    alone = load_file(one / "rank0.safetensors")
    for name, weight in alone.items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        assert torch.allclose(ranks[0][name], weight, atol=1e-4), name  # sums in another order


def test_a_changed_recipe_is_refused_in_one_line(place):
    out, done = run(place, "changed", [sys.executable])
    assert done.returncode == 0, done.stderr[-2000:]
    before = (out / "adapter.safetensors").read_bytes()
    _, done = run(place, "changed", [sys.executable], "--set", "tune.learning_rate=0.1")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("argen: ")
    assert "tune.learning_rate: 0.01 -> 0.1" in done.stderr
    assert (out / "adapter.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tune.learning_rat=1", "did you mean 'learning_rate'"),
        ("tune.rewards={naturalnes: 1.0}", "did you mean 'naturalness'"),
        ("generate.generator=warp", "only diffusion can be tuned"),
        ("tune.num_generations=1", "tune.num_generations"),
    ],
)
def test_mistakes_are_one_line_each(place, override, words):
    _, done = run(place, "wrong", [sys.executable], "--set", override)  # one folder: nothing is made in it
    assert done.returncode == 2, done.stderr[-2000:]
    assert words in done.stderr
