"""What can't be tuned is refused before any work, in one sentence."""

import diffusers
import pytest
import torch

from argen.errors import RecipeError
from argen.tuning.admission import admit
from tests.tiny import tiny_pipeline

pytestmark = pytest.mark.filterwarnings("ignore")


def refused(pipe, call, words):
    with pytest.raises(RecipeError, match=words) as caught:
        admit(pipe, call)
    assert "\n" not in str(caught.value)


def test_a_text_to_video_checkpoint(call_of):
    donor = tiny_pipeline("ltx")
    pipe = diffusers.LTXPipeline(**donor.components)
    refused(pipe, call_of("ltx"), "from text alone")


def test_a_scheduler_without_cousin(call_of):
    pipe = tiny_pipeline("ltx")
    pipe.scheduler = diffusers.VQDiffusionScheduler(num_vec_classes=4)
    refused(pipe, call_of("ltx"), "first-order cousin")


class Hasty(diffusers.FlowMatchEulerDiscreteScheduler):
    """A scheduler whose step isn't what its schedule says."""

    def step(self, model_output, timestep, sample, **kwargs):
        following = super().step(model_output, timestep, sample, return_dict=False)[0]
        return (following * 1.01,)


def test_a_step_that_is_not_our_law(call_of):
    pipe = tiny_pipeline("ltx")
    hasty = Hasty()
    pipe.scheduler = hasty
    hasty.__class__.__name__ = "FlowMatchEulerDiscreteScheduler"
    refused(pipe, call_of("ltx"), "can't be replayed exactly")


def test_the_stock_solver_is_swapped_by_rule(call_of):
    pipe = tiny_pipeline("wan21")
    assert type(pipe.scheduler).__name__ == "UniPCMultistepScheduler"
    admit(pipe, call_of("wan21"))
    assert type(pipe.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert torch.is_grad_enabled()
