"""The program from recipe to adapter: one process, two, sharded, or rewards beside must come to the same."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from argen.generate.adapter import load_adapter
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


def run(place, name, launcher, *options, **environment):
    out = place / name
    config = place / f"{name}.yaml"
    config.write_text(RECIPE.format(model=place / "model", data=place / "data", out=out))
    out.mkdir(exist_ok=True)
    script = str(ROOT / "tests/tuning/painted_tune.py")
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return out, subprocess.run(
        [*launcher, script, str(out), "--config", str(config), *options],
        capture_output=True,
        text=True,
        env=os.environ | environment | {"ACCELERATE_USE_CPU": "true"},
        cwd=ROOT,
        check=False,
    )


ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
TWO = [*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]


def weights_of(out, rank=0):
    return load_file(out / f"rank{rank}.safetensors")


@pytest.fixture(scope="module")
def alone(place):
    """The folder of a run of one process, under accelerate as users start it."""
    out, done = run(place, "one", [*ACCELERATE, "--cpu", "--num_processes", "1"])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "generate.adapter=" in done.stdout
    return out


def test_one_process_leaves_everything(alone):
    for made in ("adapter.safetensors", "README.md", "curves.svg", "log.jsonl", "sheets/000002.png"):
        assert (alone / made).is_file(), made
    assert list(alone.rglob("events.out.tfevents*"))
    load_adapter(tiny_pipeline("ltx"), alone / "adapter.safetensors")
    tiny_pipeline("ltx").load_lora_weights(alone, weight_name="adapter.safetensors")


def test_a_changed_recipe_is_refused_in_one_line(place, alone):
    before = (alone / "adapter.safetensors").read_bytes()
    _, done = run(place, "one", [sys.executable], "--set", "tune.learning_rate=0.1")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("argen: ")
    assert "tune.learning_rate: 0.01 -> 0.1" in done.stderr
    assert (alone / "adapter.safetensors").read_bytes() == before


def test_rewards_beside_come_to_the_same(place, alone):
    out, done = run(place, "beside", [sys.executable], "--set", "tune.reward_processes=1")
    assert done.returncode == 0, done.stderr[-2000:]
    found, expected = weights_of(out), weights_of(alone)
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(("name", "environment"), [("two", {}), ("sharded", {"SHARDED": "1"})])
def test_two_processes_come_to_what_one_does(place, alone, name, environment):
    out, done = run(place, name, TWO, **environment)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = weights_of(out, 0), weights_of(out, 1)
    for name, weight in weights_of(alone).items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], weight, atol=1e-4), name  # sums in another order


def test_a_tracker_that_is_not_installed_is_told(place):
    if importlib.util.find_spec("trackio"):
        pytest.skip("trackio is installed")
    _, done = run(place, "tracked", [sys.executable], "--set", "tune.tracker=trackio")
    assert done.returncode == 4, done.stderr[-2000:]
    assert "pip install trackio" in done.stderr


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
