"""Encoders are asked again only when what they said has been dropped for room."""

import pytest
import torch
from torch import nn

from argen.tuning.memory import Memory, decode_within


class Encoder(nn.Module):
    """Answers with eight bytes in a box."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, number):
        self.asked.append(number)
        return {"box": [torch.full((2,), float(number))]}


class Pipe:
    def __init__(self, **components):
        self.components = components


def test_the_latest_answers_are_remembered_as_far_as_they_fit():
    encoder = Encoder()
    memory = Memory(size=20)
    with memory.of(Pipe(text_encoder=encoder)):
        for number in (1, 2, 1, 3, 1, 2):  # 3 drops 2, which was asked for longest ago
            assert encoder.forward(number)["box"][0].tolist() == [number] * 2
    assert encoder.asked == [1, 2, 3, 2]
    assert memory.held <= 20


def test_an_answer_beyond_all_room_is_still_given():
    with Memory(size=1).of(Pipe(text_encoder=(encoder := Encoder()))):
        assert encoder.forward(5)["box"][0].tolist() == [5.0] * 2


@pytest.mark.parametrize(
    ("call", "sliced"),
    [
        ({"num_frames": 17, "height": 64, "width": 64}, False),
        ({"num_frames": 49, "height": 480, "width": 720}, True),
        ({"height": 64, "width": 64}, True),  # of unknown length: be careful
    ],
)
def test_only_small_clips_are_decoded_together(call, sliced):
    vae = nn.Module()
    vae.use_slicing = None
    decode_within(Pipe(vae=vae), call, 4)
    assert vae.use_slicing is sliced
