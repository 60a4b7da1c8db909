"""The same emotion, a different integer in each codebase: the label orders, read from their own lists.

the same seven in DFER-CLIP, MAE-DFER, CLAIP-Emo    0 happy 1 sad 2 neutral 3 angry 4 surprise 5 disgust 6 fear
S2D, S4D on DFEW                                    the same; on FERV39k and MAFW alphabetical
MAFW in DFER-CLIP                                   the seven, then contempt anxiety helplessness disappointment
MAFW in MAE-DFER, CLAIP-Emo                         the release's own order, anger first
everything else                                     labels in alphabetical order
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from argen.errors import DatasetError

Known = Literal["dfew", "ferv39k", "mafw"]

EMOTION: Final = {
    "happiness": "happy",
    "sadness": "sad",
    "anger": "angry",
    "surprised": "surprise",
    "disgusted": "disgust",
    "fearful": "fear",
}
"""Other words for the seven; a word that is not here stands for itself."""

SEVEN: Final = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
SEVEN_BY_NAME: Final = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
FOUR_MORE: Final = ("contempt", "anxiety", "helplessness", "disappointment")
MAFW_RELEASE: Final = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", *FOUR_MORE)
MAFW_BY_NAME: Final = (
    "angry", "anxiety", "contempt", "disappointment", "disgust", "fear", "happy",
    "helplessness", "neutral", "sad", "surprise",
)  # fmt: skip

ORDERS: Final[dict[tuple[str, Known], tuple[str, ...]]] = {
    ("dfer-clip", "dfew"): SEVEN,
    ("dfer-clip", "ferv39k"): SEVEN,
    ("dfer-clip", "mafw"): (*SEVEN, *FOUR_MORE),
    ("mae-dfer", "dfew"): SEVEN,
    ("mae-dfer", "ferv39k"): SEVEN,
    ("mae-dfer", "mafw"): MAFW_RELEASE,
    ("claip-emo", "dfew"): SEVEN,
    ("claip-emo", "ferv39k"): SEVEN,
    ("claip-emo", "mafw"): MAFW_RELEASE,
    ("s2d", "dfew"): SEVEN,
    ("s2d", "ferv39k"): SEVEN_BY_NAME,
    ("s2d", "mafw"): MAFW_BY_NAME,
    ("s4d", "dfew"): SEVEN,
    ("s4d", "ferv39k"): SEVEN_BY_NAME,
    ("s4d", "mafw"): MAFW_BY_NAME,
}


def emotion(label: str) -> str:
    """A label as one of the words of the orders above, where it is one."""
    word = label.strip().lower()
    return EMOTION.get(word, word)


def known_dataset(layout: str, labels: Iterable[str]) -> Known | None:
    """The dataset whose orders apply: by its layout, else by its emotions; None for any other set."""
    if layout in {"dfew", "ferv39k", "mafw"}:
        return layout  # type: ignore[return-value]
    emotions = {emotion(label) for label in labels}
    if emotions <= set(SEVEN):
        return "dfew"
    return "mafw" if emotions <= set(MAFW_RELEASE) else None


def numbering(codebase: str, layout: str, labels: Iterable[str]) -> dict[str, int]:
    """Label as the dataset spells it -> the integer that the codebase means by it.

    Raises DatasetError if two labels would get the same integer.
    """
    spelled = sorted(set(labels))
    known = known_dataset(layout, spelled)
    order = ORDERS.get((codebase, known)) if known else None
    if order is None or not {emotion(label) for label in spelled} <= set(order):
        return {label: number for number, label in enumerate(spelled)}
    numbers = {label: order.index(emotion(label)) for label in spelled}
    if len(set(numbers.values())) < len(numbers):
        same = [label for label in spelled if list(numbers.values()).count(numbers[label]) > 1]
        raise DatasetError(
            f"labels {', '.join(same)} are one emotion for {codebase}; rename them to one label"
        )
    return numbers
