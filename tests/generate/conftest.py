"""Tiny checkpoints on disk, made once, and requests for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from argen.affect.affect import Affect
from argen.config import GenerateSettings
from argen.generate.diffusion import DiffusionGenerator
from argen.generate.request import Request
from tests.tiny import CALLS, tiny_pipeline

torch.set_num_threads(1)

# Arguments that only make a tiny model's call smaller; everything else is the recipe's.
SMALLER = {"max_sequence_length", "use_resolution_binning", "stg_scale", "modality_scale", "image_crf"}


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """family -> folder of its tiny checkpoint."""
    root, made = tmp_path_factory.mktemp("tiny"), {}

    def folder(family):
        if family not in made:
            tiny_pipeline(family, root / family)
            made[family] = root / family
        return made[family]

    return folder


@pytest.fixture(scope="session")
def load_tiny(tiny_folder):
    """family, settings -> generator of two steps, loaded from disk."""

    def load(family, **changed):
        extra = {key: value for key, value in CALLS[family].items() if key in SMALLER}
        settings = {"frames": 5, "size": 32, "steps": 2, "extra": extra, "model": str(tiny_folder(family))}
        return DiffusionGenerator.load(GenerateSettings(generator="diffusion", **(settings | changed)), "cpu")

    return load


@pytest.fixture
def make_request():
    """seed, ... -> a request whose target rises from calm to AU4 at full strength."""

    def make(seed=0, caption="a person with a strong smile", frame=None, frames=5, landmarks=None):
        trajectory = np.zeros((frames, 20), np.float32)
        trajectory[:, 2] = np.linspace(0, 1, frames)
        if frame is None:
            frame = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        if landmarks is None:
            landmarks = np.full((478, 3), np.nan, np.float32)
        affect = Affect(
            label="disgust",
            caption=caption,
            written_by="template",
            trajectory=trajectory,
            asymmetry=np.zeros(20, np.float32),
            pose=np.zeros((frames, 3), np.float32),
            exemplars=(),
            profile="prototype",
        )
        return Request(frame, landmarks, np.zeros(20, np.float32), affect, seed)

    return make
