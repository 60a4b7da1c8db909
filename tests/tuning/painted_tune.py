"""pipelines/tune.py with the painted reader in place of a real one; each process leaves its adapter beside.

accelerate launch tests/tuning/painted_tune.py FOLDER --config CONFIG

With SHARDED in the environment it shards the model as under FSDP2. accelerate itself says so on GPUs only; on
a CPU everything but its word is the same.
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

import argen.tuning.apart
import argen.workshop
from pipelines import tune
from tests.fakes import PaintedReader


def painted(*_, **__):
    return PaintedReader()


# Also in the processes of the rewards, which begin by reading this file.
argen.workshop.load_reader = argen.tuning.apart.load_reader = painted
torch.set_num_threads(1)


def keeping_ranks(folder, follow):
    def following(tuner, *arguments):
        ended = follow(tuner, *arguments)
        weights = {name: w.detach().contiguous() for name, w in tuner.weights.items()}
        save_file(weights, folder / f"rank{tuner.accelerator.process_index}.safetensors")
        shards = [w for w in tuner.pipe.transformer.parameters() if hasattr(w, "to_local")]
        assert bool(shards) == bool(os.environ.get("SHARDED"))
        assert all(w.to_local().numel() < w.numel() for w in shards if w.shape[0] > 1)
        return ended

    return following


def sharding(make_accelerator):
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    def making(*arguments):
        accelerator = make_accelerator(*arguments)
        AcceleratorState._shared_state["distributed_type"] = DistributedType.FSDP
        return accelerator

    return making


if __name__ == "__main__":
    tune.judged_by = lambda workshop: tune.measured_by(workshop.reader)
    tune.follow = keeping_ranks(Path(sys.argv.pop(1)), tune.follow)
    if os.environ.get("SHARDED"):
        tune.make_accelerator = sharding(tune.make_accelerator)
    sys.exit(tune.main())
