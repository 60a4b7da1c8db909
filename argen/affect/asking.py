"""Captions from a vision-language model: asked, checked, asked again once (`prompts/vlm.yaml`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from numpy import ndarray

from argen.affect.captions import Motion, check_caption, describe_units
from argen.affect.emotion import canonical
from argen.affect.exemplars import Exemplar
from argen.affect.prompts import Prompts


@dataclass(frozen=True)
class Question:
    """What a model is asked: one picture and one text."""

    frame: UInt8[ndarray, "H W 3"]
    text: str


Ask = Callable[[Sequence[Question]], list[str]]
"""Asked as one batch, answers in its order; the same question always gets the same answer."""


@dataclass(frozen=True)
class Target:
    """What a caption has to describe, and the words that the model may lean on."""

    label: str
    frame: UInt8[ndarray, "H W 3"]
    motion: Motion
    exemplars: tuple[Exemplar, ...]


def ask_captions(targets: Sequence[Target], ask: Ask, prompts: Prompts) -> list[str | None]:
    """A checked caption a target, or None where both answers failed the check."""
    questions = [question_for(target, prompts) for target in targets]
    answers = ask(questions) if questions else []
    captions: list[str | None] = [None] * len(targets)
    open_questions: dict[int, Question] = {}
    for index, (target, answer) in enumerate(zip(targets, answers, strict=True)):
        reason = check_caption(answer, target.label, target.motion.units, prompts)
        if reason is None:
            captions[index] = answer
        else:
            open_questions[index] = ask_again(questions[index], answer, reason, prompts)
    second = ask(list(open_questions.values())) if open_questions else []
    for index, answer in zip(open_questions, second, strict=True):
        target = targets[index]
        if check_caption(answer, target.label, target.motion.units, prompts) is None:
            captions[index] = answer
    return captions


def question_for(target: Target, prompts: Prompts) -> Question:
    """The first question of a target."""
    wording, motion = prompts.questions, target.motion
    name = canonical(target.label, prompts.emotions)
    emotion = prompts.emotions[name].nouns.any[0] if name else target.label.replace("_", " ")
    text = wording.question.format(
        emotion=emotion,
        word=emotion,
        movements=describe_units(motion.units, prompts),
        onset=prompts.grammar.onset[motion.onset][0],
        ending=wording.endings[motion.ending],
        examples="\n".join(f"- {exemplar.text}" for exemplar in target.exemplars) or "- (none)",
    )
    return Question(target.frame, text)


def ask_again(question: Question, answer: str, reason: str, prompts: Prompts) -> Question:
    """The same question, with the refused answer and why."""
    shown = " ".join(answer.split())[:300]
    text = prompts.questions.again.format(question=question.text, answer=shown, reason=reason)
    return Question(question.frame, text)
