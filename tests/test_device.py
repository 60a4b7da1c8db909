"""Which device: a launched process has a GPU of its own, for every network of the recipe."""

import pytest
import torch

from argen.affect.vlm import VisionLanguage
from argen.device import torch_device
from argen.errors import EnvironmentFault


def test_auto_is_the_process_s_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert torch_device("auto") == torch.device("cuda", 2)


def test_auto_without_a_gpu_is_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == torch.device("cpu")


def test_the_captions_model_takes_the_recipe_s_device(monkeypatch):
    monkeypatch.setattr("argen.affect.vlm._load", lambda reference: (None, torch.nn.Linear(1, 1)))
    with pytest.raises(EnvironmentFault, match="cuda:99"):
        VisionLanguage("any", device="cuda:99")
