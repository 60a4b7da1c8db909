"""Any image-text-to-text model of transformers as a writer of captions, from a folder or the hub."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from argen.affect.asking import Ask, Question
from argen.config import AffectSettings
from argen.device import fitting, torch_device
from argen.errors import ModelUnavailable, RecipeError

log = logging.getLogger(__name__)
BATCH: Final = 8  # questions in one call of the model
LONGEST_ANSWER: Final = 120  # tokens
REMEDY: Final = "choose a smaller one, or set affect.captions=template"


def load_vlm(settings: AffectSettings, device: str = "auto") -> Ask:
    """The model that the recipe names, ready to be asked; decoding is greedy, so answers repeat.

    Raises RecipeError where no model is named, ModelUnavailable where it cannot be loaded.
    """
    if settings.vlm is None:
        raise RecipeError("affect.captions: vlm needs affect.vlm: a folder or a hub id of a model")
    return VisionLanguage(settings.vlm, device=device)


class VisionLanguage:
    """A loaded model with its processor; called with questions, gives one answer each."""

    def __init__(self, reference: str, batch: int = BATCH, device: str = "auto") -> None:
        """`reference`: a folder or a hub id. Only safetensors, and no code from the model's repository.

        `device` as a recipe writes it, see `argen.device`.
        """
        self._processor, self._model = _load(reference)
        self._device = torch_device(device)
        with fitting(f"affect.vlm: {reference}", REMEDY):
            self._model.to(self._device).eval()
        revision = getattr(getattr(self._model, "config", None), "_commit_hash", None)
        self.provenance = {"model": reference, "revision": revision or ""}
        self._batch = batch
        self._tokenizer = self._processor.tokenizer
        self._tokenizer.padding_side = "left"  # answers start where the padding cannot be
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        log.info("captions by %s (%s)", reference, type(self._model).__name__)

    def __call__(self, questions: Sequence[Question]) -> list[str]:
        """Answers in order, each as one line."""
        answers: list[str] = []
        for start in range(0, len(questions), self._batch):
            answers += self._answer(questions[start : start + self._batch])
        return answers

    def _answer(self, questions: Sequence[Question]) -> list[str]:
        import torch

        inputs = self._processor.apply_chat_template(
            [_conversation(question) for question in questions],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self._device, dtype=self._model.dtype)
        with fitting("affect.vlm: a batch of captions", REMEDY), torch.inference_mode():
            tokens = self._model.generate(**inputs, generation_config=self._greedy())
        written = tokens[:, inputs["input_ids"].shape[1] :]
        return [tidy(text) for text in self._tokenizer.batch_decode(written, skip_special_tokens=True)]

    def _greedy(self) -> Any:  # noqa: ANN401 - a class of a library that is imported late
        from transformers import GenerationConfig

        own = self._model.generation_config
        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=LONGEST_ANSWER,
            bos_token_id=own.bos_token_id,
            eos_token_id=own.eos_token_id or self._tokenizer.eos_token_id,
            pad_token_id=self._tokenizer.pad_token_id,
        )


def tidy(answer: str) -> str:
    """The first paragraph of an answer, without a model's thinking aloud, quotes or line breaks."""
    spoken = answer.rsplit("</think>", 1)[-1].strip()
    paragraph = re.split(r"\n\s*\n", spoken)[0]
    return " ".join(paragraph.split()).strip("\"'“”* ")


def _conversation(question: Question) -> list[dict[str, Any]]:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(question.frame))
    content = [{"type": "image", "image": picture}, {"type": "text", "text": question.text}]
    return [{"role": "user", "content": content}]


def _load(reference: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    try:
        processor = AutoProcessor.from_pretrained(reference)
        model = AutoModelForImageTextToText.from_pretrained(reference, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelUnavailable(
            f"affect.vlm: '{reference}' does not load as an image-text-to-text model: {first}; give a folder "
            "made by save_pretrained, or a hub id that can be reached"
        ) from error
    if getattr(processor, "chat_template", None) is None:
        raise ModelUnavailable(
            f"affect.vlm: '{reference}' has no chat template; give an instruction-tuned model"
        )
    return processor, model
