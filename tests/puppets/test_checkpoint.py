"""The shipped checkpoint: whole, small, standard, and what it does with wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from argen.errors import ModelUnavailable, UsageError
from argen.puppets.animate import animate, load_embedded
from argen.puppets.checkpoint import folder, verified
from argen.puppets.footage import shoot


@pytest.fixture(scope="module")
def pipe() -> Any:
    return load_embedded()


def test_it_is_a_standard_folder_and_small(pipe: Any) -> None:
    assert type(pipe).__name__ == "LTXImageToVideoPipeline"
    assert sum(file.stat().st_size for file in folder().rglob("*.safetensors")) < 12e6
    statement = json.loads((folder() / "argen.json").read_text())
    assert statement["domain"] == "puppets"
    assert statement["frames"] == 17


def test_one_seed_is_one_clip_whatever_the_batch(pipe: Any) -> None:
    sources = [shoot("evaluation", i, "neutral", "neutral").frames[0] for i in range(2)]
    captions = ["a person looks very happy.", "a person looks very angry."]
    both = animate(pipe, sources, captions, [3, 4], steps=2)
    alone = animate(pipe, sources[1:], captions[1:], [4], steps=2)
    assert both[1].shape == (17, 64, 64, 3)
    assert np.abs(both[1].astype(int) - alone[0].astype(int)).max() <= 1
    assert not np.array_equal(both[1], animate(pipe, sources[1:], captions[1:], [5], steps=2)[0])


def test_the_first_frame_is_the_source_and_words_change_the_rest(pipe: Any) -> None:
    source = shoot("evaluation", 4, "neutral", "neutral").frames[0]
    happy, angry = animate(
        pipe, [source] * 2, ["a person looks very happy.", "a person looks very angry."], [1, 1]
    )
    assert np.abs(happy[0].astype(float) - source).mean() < 12
    assert np.abs(happy[-1].astype(float) - angry[-1]).mean() > 1


@pytest.mark.parametrize(("source", "caption", "message"), [
    ((64, 64, 3), "una persona sonriente", "no word of the caption"),
    ((128, 128, 3), "a person looks very happy.", "64 x 64"),
])  # fmt: skip
def test_what_it_does_not_know_is_refused(
    pipe: Any, source: tuple[int, ...], caption: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        animate(pipe, [np.zeros(source, np.uint8)], [caption], [0])


def test_a_missing_or_changed_file_is_named(tmp_path: Path) -> None:
    missing = Path(shutil.copytree(folder(), tmp_path / "missing"))
    (missing / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=r"vae.*missing; reinstall"):
        verified(missing)
    changed = Path(shutil.copytree(folder(), tmp_path / "changed"))
    (changed / "model_index.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"model_index.json: sha256 .* as shipped"):
        verified(changed)
    with pytest.raises(ModelUnavailable, match=r"argen.json: missing"):
        verified(tmp_path)
