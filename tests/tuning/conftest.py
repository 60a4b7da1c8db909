"""What the tests of tuning share: an image, calls of every family, a small toy reward."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import CALLS


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))


@pytest.fixture
def call_of(image):
    def make(family, **changes):
        return {**CALLS[family], "image": image, **changes}

    return make
