"""What a trained recogniser says of clips, as a table that anyone can score again."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float32, Int, UInt8
from numpy import ndarray

from argen.dataset.clip import Clip
from argen.dataset.video import read_frames
from argen.errors import DatasetError, UsageError
from argen.recogniser.frames import MOST, FrameCache, pick

if TYPE_CHECKING:
    from argen.recogniser.model import Recogniser

PREFIX: Final = "p_"  # of the probability columns
BATCH: Final = 32  # clips at a time
ROUNDING: Final = 1e-3  # what a table of another program may lack


@dataclass(frozen=True)
class Predictions:
    """One row a clip. `classes` is the order of the columns of `probabilities`."""

    ids: tuple[str, ...]
    subjects: tuple[str, ...]
    labels: tuple[str, ...]  # the truth, as the dataset says
    probabilities: Float32[ndarray, "N C"]
    classes: tuple[str, ...]

    @property
    def truth(self) -> Int[ndarray, "N"]:
        """True classes by number. Raises UsageError for a label that is none of the classes."""
        place = {label: i for i, label in enumerate(self.classes)}
        for name, label in zip(self.ids, self.labels, strict=True):
            if label not in place:
                raise UsageError(
                    f"'{name}' is labelled '{label}', which is none of the recogniser's classes: "
                    f"{', '.join(self.classes)}"
                )
        return np.array([place[label] for label in self.labels], int)

    @property
    def said(self) -> Int[ndarray, "N"]:
        """Most probable classes by number."""
        return np.asarray(self.probabilities.argmax(axis=1), int)

    def take(self, rows: Sequence[int]) -> Predictions:
        """Some rows, in the given order."""
        ids, subjects, labels = (
            tuple(names[row] for row in rows) for names in (self.ids, self.subjects, self.labels)
        )
        return Predictions(ids, subjects, labels, self.probabilities[list(rows)], self.classes)

    def reordered(self, classes: Sequence[str]) -> Predictions:
        """The same with its classes in another order."""
        columns = [self.classes.index(label) for label in classes]
        return replace(self, probabilities=self.probabilities[:, columns], classes=tuple(classes))

    def save(self, path: Path) -> None:
        """Write `id,subject,label,predicted,p_<class>,...`; what `read` reads is the same to the bit."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "subject", "label", "predicted", *(PREFIX + c for c in self.classes)])
            for row, said in enumerate(self.said):
                numbers = [repr(float(value)) for value in self.probabilities[row]]
                writer.writerow(
                    [self.ids[row], self.subjects[row], self.labels[row], self.classes[said], *numbers]
                )
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read what `save` wrote, or a table of another program with these columns. Raises UsageError."""
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
                columns = list(reader.fieldnames or [])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from error
        classes = tuple(name.removeprefix(PREFIX) for name in columns if name.startswith(PREFIX))
        missing = [name for name in ("id", "label") if name not in columns]
        if missing or not classes:
            lacks = missing[0] if missing else f"{PREFIX}<class>"
            raise UsageError(
                f"{path}: no column '{lacks}'; expected id, subject, label, {PREFIX}<class>, ..."
            )
        _check_ids(path, rows)
        return cls(
            tuple(row["id"] for row in rows),
            tuple(row.get("subject") or row["id"] for row in rows),
            tuple(row["label"] for row in rows),
            _numbers(path, rows, classes),
            classes,
        )


def _check_ids(path: Path, rows: Sequence[dict[str, str]]) -> None:
    first: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        before = first.setdefault(row["id"], line)
        if before != line:
            raise UsageError(f"{path}:{line}: '{row['id']}' is in line {before} already; keep one row a clip")


def _numbers(path: Path, rows: Sequence[dict[str, str]], classes: Sequence[str]) -> Float32[ndarray, "N C"]:
    table = np.zeros((len(rows), len(classes)), np.float32)
    for number, row in enumerate(rows):
        where = f"{path}:{number + 2}"
        try:
            table[number] = [float(row[PREFIX + label]) for label in classes]
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where}: a probability is no number") from error
        if not np.isfinite(table[number]).all():
            raise UsageError(f"{where}: a probability is not finite")
        if table[number].min() < 0 or table[number].max() > 1 + ROUNDING:
            raise UsageError(f"{where}: a probability is outside 0..1; write probabilities, not logits")
        if abs(float(table[number].sum()) - 1) > ROUNDING:
            raise UsageError(
                f"{where}: the probabilities sum to {table[number].sum():.4g}, not to 1; "
                f"give a column {PREFIX}<class> for every class"
            )
    return table


def predict(
    checkpoint: Path,
    clips: Sequence[Clip],
    cache: FrameCache | None = None,
    *,
    allow_synthetic: bool = False,
    device: str = "cpu",
) -> Predictions:
    """Class probabilities of clips by a checkpoint that `train` wrote.

    Labels of `clips` are copied, not used. A clip shorter than the window shows some frames more than once.
    Raises DatasetError for synthetic clips, unless they are asked for, and for held-out clips of people whom
    the recogniser has seen in training; ModelUnavailable for a folder without a checkpoint; UnreadableClip.
    """
    from argen.recogniser.checkpoint import load_trained

    trained = load_trained(checkpoint, device)
    check_held_out(clips, trained.subjects, allow_synthetic)
    return predict_with(trained.model, trained.classes, clips, cache)


def check_held_out(clips: Sequence[Clip], seen: Collection[str], allow_synthetic: bool = False) -> None:
    """Raise DatasetError unless scores on these clips would mean something; `seen`: training subjects."""
    if not clips:
        raise DatasetError("there are no clips to predict")
    made = [clip.id for clip in clips if clip.synthetic]
    if made and not allow_synthetic:
        raise DatasetError(
            f"{len(made):,} of the clips are synthetic ({made[0]}, ...); a test list holds real clips only"
        )
    known = [clip for clip in clips if clip.split != "train" and clip.subject in seen]
    if known:
        raise DatasetError(
            f"{len(known):,} {known[0].split} clips show people whom the recogniser was trained on "
            f"('{known[0].subject}' in {known[0].id}); split by subject"
        )


def predict_with(
    model: Recogniser, classes: Sequence[str], clips: Sequence[Clip], cache: FrameCache | None
) -> Predictions:
    """The same with a model in memory, without checks."""
    import torch

    wanted, size = model.settings.frames, model.tower.size
    look = cache if cache is not None else _decoded
    device = next(model.parameters()).device
    parts = []
    model.eval()
    for start in range(0, len(clips), BATCH):
        decoded = [look(clip, size) for clip in clips[start : start + BATCH]]
        windows = np.stack([frames[pick(len(frames), wanted)] for frames in decoded])
        with torch.inference_mode():
            logits = model(torch.from_numpy(windows).to(device)).logits
            parts.append(logits.float().softmax(dim=-1).cpu().numpy())
    table = np.concatenate(parts).astype(np.float32)
    ids, subjects, labels = zip(*((clip.id, clip.subject, clip.label) for clip in clips), strict=True)
    return Predictions(ids, subjects, labels, table, tuple(classes))


def _decoded(clip: Clip, size: int) -> UInt8[ndarray, "T H W 3"]:
    return read_frames(clip, MOST, size)
