"""A reference that is guided along the intensity of its job's target."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from argen.config import GenerateSettings
from argen.errors import RecipeError
from argen.generate.calling import Item
from argen.generate.diffusion import DiffusionGenerator
from argen.tuning.admission import admit
from argen.tuning.rollout import record
from argen.tuning.scoring import Case
from argen.tuning.transition import STILL
from pipelines.tune import following_intensity
from tests.tiny import CALLS, tiny_pipeline

pytestmark = pytest.mark.filterwarnings("ignore")
FRAMES = 9


def generator_of(folder, family):
    tiny_pipeline(family, folder)
    extra = {name: CALLS[family][name] for name in ("max_sequence_length",) if name in CALLS[family]}
    settings = {
        "model": str(folder),
        "frames": FRAMES,
        "size": 32,
        "steps": 2,
        "guidance": 1.0,
        "extra": extra,
    }
    return DiffusionGenerator.load(GenerateSettings(generator="diffusion", **settings), "cpu")


@pytest.mark.parametrize("family", ["ltx", "wan21"])
def test_calm_frames_are_not_guided_and_the_apex_is_in_full(family, tmp_path):
    generator = generator_of(tmp_path, family)
    noise = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    call = generator.form.arguments([Item(Image.fromarray(noise), "a person with a smile", 7)])
    call = {name: value for name, value in call.items() if name != "generator"} | {"output_type": "latent"}
    layout, around = admit(generator.pipe, call), following_intensity(generator)

    def made(guidance, shown=None):
        asked = call | {"guidance_scale": guidance}
        context = nullcontext()
        if shown is not None:
            trajectory = np.repeat(np.array(shown, np.float32)[:, None], 20, axis=1)
            case = Case("job", call, {"affect": SimpleNamespace(trajectory=trajectory)})
            context = around(case, asked, 1)
        with torch.no_grad(), context:
            return record(generator.pipe, asked, (7,), noise=STILL, window=range(0), layout=layout)[1].clean

    calm, at_once = [0.2] * FRAMES, [0] + [1] * (FRAMES - 1)
    assert torch.allclose(made(4.0, calm), made(1.0), atol=1e-4)
    later = layout.frames or 1
    apex, guided, plain = (x.movedim(later, 0)[-1] for x in (made(4.0, at_once), made(4.0), made(1.0)))
    assert (apex - guided).norm() < 0.2 * (plain - guided).norm()


def test_a_pipeline_without_two_branches_is_refused(tmp_path, monkeypatch):
    generator = generator_of(tmp_path, "ltx")
    monkeypatch.setattr("argen.generate.layout._branches", lambda *_: (None, False))
    with pytest.raises(
        RecipeError, match=r"tune\.reference_follows_intensity: LTX\w+ can't be guided frame by frame; leave"
    ):
        following_intensity(generator)
