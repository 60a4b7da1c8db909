"""Train a recogniser: a fixed number of steps, whatever the number of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from argen.dataset.clip import Clip
from argen.recogniser.frames import FrameCache
from argen.recogniser.settings import Settings


def train(
    settings: Settings,
    train_clips: Sequence[Clip],
    classes: Sequence[str],
    out: Path,
    *,
    cache: FrameCache | None = None,
    callback: Callable[[Mapping[str, Any]], None] | None = None,
) -> Path:
    """Train on `train_clips` and return the checkpoint folder, OUT/checkpoint.

    `classes` fixes the order of the logits. Validation is a share of the *subjects* of `train_clips`
    (`settings.validation`), real clips only; a synthetic clip whose subject is set aside is set aside too.
    A finished OUT returns at once; an interrupted one goes on, and ends bit for bit as if it had not been
    interrupted. Without `cache`, frames are kept in OUT/frames.

    Raises DatasetError: a class without training clips, a clip of another class, a held-out clip among
    them. Raises RecipeError for an OUT that was begun with other settings, classes or clips.
    """
    raise NotImplementedError
