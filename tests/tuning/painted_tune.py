"""pipelines/tune.py with the painted reader in place of a real one; each process leaves its adapter beside.

accelerate launch tests/tuning/painted_tune.py FOLDER --config CONFIG
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

import argen.workshop
from pipelines import tune
from tests.fakes import PaintedReader

torch.set_num_threads(1)
folder = Path(sys.argv.pop(1))
argen.workshop.load_reader = lambda *_, **__: PaintedReader()
tune.judged_by = lambda recipe, workshop: tune.measured_by(workshop)
follow = tune.follow


def following(tuner, *arguments):
    ended = follow(tuner, *arguments)
    rank = tuner.accelerator.process_index
    save_file(
        {name: w.detach().contiguous() for name, w in tuner.weights.items()},
        folder / f"rank{rank}.safetensors",
    )
    return ended


tune.follow = following
sys.exit(tune.main())
