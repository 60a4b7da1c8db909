"""Real image-text-to-text classes, tiny and random: loading, chat template, batching, falling back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from argen.affect.asking import Question
from argen.affect.describe import Describer, Wish
from argen.affect.vlm import VisionLanguage, load_vlm, tidy
from argen.config import AffectSettings
from argen.errors import ModelUnavailable, RecipeError
from tests.affect.tiny_vlm import FAMILIES, tiny_vlm

TEXTS = ("hi", "describe this face, please", "three")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory) -> Path:
    return tiny_vlm(request.param, tmp_path_factory.mktemp("vlm") / request.param)


@pytest.fixture(autouse=True)
def short_answers(monkeypatch):
    monkeypatch.setattr("argen.affect.vlm.LONGEST_ANSWER", 12)


def questions() -> list[Question]:
    rng = np.random.default_rng(0)
    return [Question(rng.integers(0, 255, (64, 48, 3)).astype(np.uint8), text) for text in TEXTS]


def test_one_answer_a_question_the_same_alone_and_in_a_batch(folder: Path):
    together = VisionLanguage(str(folder))(questions())
    alone = VisionLanguage(str(folder), batch=1)
    assert together == [alone([question])[0] for question in questions()]
    assert len(together) == 3
    assert all(together)


def test_the_models_own_chat_template_and_the_picture_are_used(folder: Path, monkeypatch):
    model = VisionLanguage(str(folder))
    seen = {}

    def generate(**inputs):
        seen.update(inputs)
        return torch.cat([inputs["input_ids"], inputs["input_ids"][:, -3:]], dim=1)

    monkeypatch.setattr(model._model, "generate", generate)
    model(questions())
    prompts = model._tokenizer.batch_decode(seen["input_ids"])
    for prompt, text in zip(prompts, TEXTS, strict=True):
        assert f"{text}<|im_end|>" in prompt.replace("<|im_end|>\n", "<|im_end|>")
        assert prompt.endswith("<|im_start|>assistant\n")
        assert "<|im_start|>user" in prompt
    assert len(seen["pixel_values"])
    assert (seen["attention_mask"][:, -1] == 1).all()  # padded on the left
    assert (seen["attention_mask"][:, 0] == 0).any()
    assert seen["generation_config"].do_sample is False


def test_what_a_random_model_writes_is_replaced_by_the_template_and_the_record_says_so(folder: Path):
    settings = AffectSettings(captions="vlm", vlm=str(folder))
    wishes = [
        Wish("disgust", np.zeros((32, 32, 3), np.uint8), np.zeros(20, np.float32), "s", seed, 16, 16.0)
        for seed in range(2)
    ]
    asked = Describer(settings, ask=load_vlm(settings)).describe_all(wishes)
    plain = Describer(AffectSettings()).describe_all(wishes)
    assert [affect.written_by for affect in asked] == ["template after vlm"] * 2
    assert [affect.caption for affect in asked] == [affect.caption for affect in plain]


def test_a_recipe_without_a_model_says_so():
    with pytest.raises(RecipeError, match=r"needs affect\.vlm"):
        load_vlm(AffectSettings())


def test_a_folder_that_is_no_model_says_so(tmp_path: Path):
    with pytest.raises(ModelUnavailable, match=r"affect\.vlm: '.*empty' does not load"):
        VisionLanguage(str(tmp_path / "empty"))


def test_a_hub_id_that_cannot_be_reached_says_so():
    with pytest.raises(ModelUnavailable, match=r"'nobody/no-such-model' does not load.*hub id that can be"):
        VisionLanguage("nobody/no-such-model")


def test_pickled_weights_are_refused(tmp_path: Path):
    folder = tiny_vlm("llava", tmp_path / "llava")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="does not load"):
        VisionLanguage(str(folder))


def test_a_model_without_a_chat_template_says_so(tmp_path: Path):
    folder = tiny_vlm("llava", tmp_path / "llava")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelUnavailable, match="no chat template"):
        VisionLanguage(str(folder))


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ('"A disgusted face."', "A disgusted face."),
        ("A face\n turns.\n\nI hope this helps!", "A face turns."),
        ("<think>Let me see</think>\nA face.", "A face."),
        ("", ""),
    ],
)
def test_answers_are_tidied(answer: str, kept: str):
    assert tidy(answer) == kept
