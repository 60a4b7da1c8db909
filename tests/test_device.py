"""Which device: a launched process has a GPU of its own, for every network of the recipe."""

import pytest
import torch

from argen.affect.vlm import VisionLanguage
from argen.device import fitting, torch_device
from argen.errors import EnvironmentFault


def test_auto_is_the_process_s_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert torch_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert torch_device("auto") == torch.device("cuda", 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # a launcher that shows each its own
    assert torch_device("auto") == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(EnvironmentFault, match="process 2 of this machine, but torch sees 2"):
        torch_device("auto")


def test_a_model_that_does_not_fit_is_one_sentence():
    told = pytest.raises(EnvironmentFault, match="big doesn't fit into memory; take a smaller one")
    with told, fitting("big", "take a smaller one"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    with pytest.raises(ZeroDivisionError), fitting("big", "take a smaller one"):
        raise ZeroDivisionError


def test_auto_without_a_gpu_is_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == torch.device("cpu")


def test_the_captions_model_takes_the_recipe_s_device(monkeypatch):
    monkeypatch.setattr("argen.affect.vlm._load", lambda reference: (None, torch.nn.Linear(1, 1)))
    with pytest.raises(EnvironmentFault, match="cuda:99"):
        VisionLanguage("any", device="cuda:99")
