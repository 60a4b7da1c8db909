"""Settings of every test: no deadlines on a busy machine, the same examples each time."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on two busy cores spin
os.environ.setdefault("HF_HUB_OFFLINE", "1")

settings.register_profile("argen", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("argen")
