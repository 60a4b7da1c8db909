"""Families that diffusers has had only lately, through the same code: what works with each."""

from __future__ import annotations

import numpy as np
import pytest

from argen.errors import UsageError
from tests.tiny import RECENT

FRAMES = {"kandinsky5": 21}  # its first-frame normalisation needs more than four latent frames
SHARES = {"sana_video": "picture", "ltx2": "all"}
REFUSED = {"ltx2": "guides by two branches"}  # it also guides by sound and by skipped blocks


@pytest.mark.slow
@pytest.mark.parametrize("family", RECENT)
def test_a_recent_family_makes_the_same_clip_in_any_batch(family, load_tiny, make_request):
    frames = FRAMES.get(family, 5)
    generator = load_tiny(family, frames=frames, steps=1)
    frame = make_request(1).frame
    requests = [make_request(seed, frame=frame, frames=frames) for seed in (1, 2)]
    together = generator(requests)
    assert together[0].shape == (frames, 32, 32, 3)
    assert generator._sharing == SHARES.get(family, "nothing")
    for clip, request in zip(together, requests, strict=True):
        assert np.abs(clip.astype(int) - generator([request])[0]).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("family", RECENT)
def test_inter_frame_guidance_works_or_is_refused(family, load_tiny, make_request):
    frames = FRAMES.get(family, 5)
    wanted = {"frames": frames, "steps": 1, "guidance_follows_intensity": True, "neighbour_weight": 0.5}
    if family in REFUSED:
        with pytest.raises(UsageError, match=REFUSED[family]):
            load_tiny(family, **wanted)([make_request(frames=frames)])
        return
    guided = load_tiny(family, **wanted)([make_request(frames=frames)])[0]
    plain = load_tiny(family, frames=frames, steps=1)([make_request(frames=frames)])[0]
    assert not np.array_equal(guided, plain)
