"""Captions by a model: accepted when right, asked again once, else left to the template."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from argen.affect.asking import Question, Target, ask_captions, question_for
from argen.affect.captions import Motion, load_prompts
from argen.affect.exemplars import Exemplar
from argen.face.action_units import au_vector

PROMPTS = load_prompts()
UNITS = au_vector({"AU09": 0.9, "AU10": 0.8})
RIGHT = "A disgusted face: the nose wrinkles and the upper lip rises."
WRONG = "A happy dog."


def target(shade: int = 0, label: str = "disgust") -> Target:
    motion = Motion(UNITS, np.zeros(20, np.float32), "slow", "gone", 1.0, "still", False)
    exemplar = Exemplar("e", label, "As if the milk had turned.", UNITS)
    return Target(label, np.full((8, 8, 3), shade, np.uint8), motion, (exemplar,))


class Writer:
    """Answers from a script, one list a call; keeps what it was asked."""

    def __init__(self, *script: list[str]) -> None:
        self.script, self.asked = list(script), []

    def __call__(self, questions: Sequence[Question]) -> list[str]:
        self.asked.append(list(questions))
        return self.script.pop(0)


def test_a_right_answer_is_taken_and_nothing_asked_again():
    writer = Writer([RIGHT])
    assert ask_captions([target()], writer, PROMPTS) == [RIGHT]
    assert len(writer.asked) == 1


def test_a_wrong_answer_is_asked_again_once_with_the_reason():
    writer = Writer([WRONG], [RIGHT])
    assert ask_captions([target()], writer, PROMPTS) == [RIGHT]
    first, second = writer.asked[0][0].text, writer.asked[1][0].text
    assert first.strip() in second
    assert WRONG in second
    assert "does not name the emotion 'disgust'" in second


def test_two_wrong_answers_leave_it_to_the_template():
    writer = Writer([WRONG], [WRONG])
    assert ask_captions([target()], writer, PROMPTS) == [None]
    assert len(writer.asked) == 2


def test_only_the_wrong_ones_of_a_batch_are_asked_again():
    writer = Writer([RIGHT, WRONG, RIGHT, WRONG], [WRONG, RIGHT])
    answers = ask_captions([target(shade) for shade in range(4)], writer, PROMPTS)
    assert answers == [RIGHT, None, RIGHT, RIGHT]
    assert [question.frame[0, 0, 0] for question in writer.asked[1]] == [1, 3]


def test_no_targets_no_question():
    writer = Writer()
    assert ask_captions([], writer, PROMPTS) == []
    assert writer.asked == []


def test_the_question_holds_all_that_the_model_needs():
    text = question_for(target(), PROMPTS).text
    assert 'use the word "disgust"' in text
    assert "the nose wrinkles extremely, the upper lip rises strongly" in text
    assert "it builds slowly, and it then fades away" in text
    assert "- As if the milk had turned." in text
    assert "{" not in text


@pytest.mark.parametrize("label", ["Ek", "{label}", "a/b ü"])
def test_any_label_can_be_asked_for(label: str):
    assert label in question_for(target(label=label), PROMPTS).text
