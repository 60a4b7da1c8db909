"""Puppet datasets on disk, long-tailed like the field's, with the truth about every clip.

OUT/train/disgust/00017.mp4      one of train, val, test; subjects of one split are in no other
OUT/metadata.jsonl               file_name, label, split, subject, world, domain, apex, Action Units, ...
OUT/truth/train/disgust/00017.npz  per frame: Action Units, landmarks, pose, gaze; the person's parameters
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from argen.dataset.clip import Dataset
from argen.dataset.video import write_mp4
from argen.errors import UsageError, did_you_mean
from argen.face.action_units import ACTION_UNITS
from argen.puppets.expressions import NEIGHBOURS, Act, act
from argen.puppets.footage import FPS, PEOPLE
from argen.puppets.person import sample_person
from argen.puppets.render import draw
from argen.puppets.scene import sample_scene
from argen.puppets.wild import roughen

Domain = Literal["lab", "wild"]

PROFILES: Final[Mapping[str, Mapping[str, tuple[int, int]]]] = {
    "dfew": {  # clips of fold 1: training, test
        "happy": (1956, 489), "sad": (1515, 379), "neutral": (2135, 534), "anger": (1738, 435),
        "surprise": (1175, 294), "disgust": (116, 29), "fear": (721, 181),
    },
    "ferv39k": {
        "happy": (5854, 1473), "sad": (5523, 1393), "neutral": (7790, 1958), "anger": (5906, 1487),
        "surprise": (2502, 638), "disgust": (1833, 467), "fear": (1680, 431),
    },
    "mafw": {
        "anger": (1112, 278), "disgust": (511, 128), "fear": (500, 125),
        "happy": (993, 249), "neutral": (910, 228), "sad": (1176, 294), "surprise": (857, 215),
        "contempt": (188, 48), "anxiety": (732, 184), "helplessness": (209, 53), "disappointment": (145, 37),
    },
    "balanced": dict.fromkeys(("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger"), (300, 75)),
}  # fmt: skip
SPLITS: Final = ("train", "val", "test")
LEAST: Final = 2  # clips of a class in a split, however small the scale
CLIPS_A_PERSON: Final = 6
PEOPLE_A_SPLIT: Final = 20_000


@dataclass(frozen=True)
class _Plan:
    split: str
    label: str  # as the dataset says
    shown: str  # as the puppet plays; differs under label noise
    index: int
    person: int


@dataclass(frozen=True)
class _Style:
    domain: Domain
    size: int
    difficulty: float


def write_dataset(
    out: Path,
    profile: str | Mapping[str, tuple[int, int]] = "dfew",
    seed: int = 0,
    scale: float = 1.0,
    *,
    domain: Domain = "lab",
    size: int = 64,
    difficulty: float = 0.4,
    label_noise: float = 0.0,
    test_per_class: int | None = None,
) -> int:
    """Write a puppet dataset into a new folder; the number of clips. The same arguments give the same bytes.

    `profile` is a name, or (training, test) clips by emotion; `scale` multiplies its counts; `difficulty`
    (0..1) makes expressions fainter and more often blended; `label_noise` (0..1) is the share of training
    labels moved to a neighbouring emotion; `test_per_class` replaces the profile's test counts, so that
    rare classes can be measured too.
    Raises UsageError for an unknown profile, an existing folder, or a dial out of range.
    """
    counts = PROFILES.get(profile) if isinstance(profile, str) else profile
    if counts is None:
        raise UsageError(f"--profile: no '{profile}'{did_you_mean(str(profile), PROFILES)}")
    _check(out, counts, {"difficulty": difficulty, "label_noise": label_noise}, scale, size)
    if test_per_class is not None and test_per_class < 1:
        raise UsageError(f"--test-per-class: {test_per_class} is not above 0")
    rows = []
    for plan in _plans(counts, seed, scale, label_noise, test_per_class):
        rows.append(_write_clip(out, plan, seed, _Style(domain, size, difficulty)))
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    (out / "metadata.jsonl").write_text(text, encoding="utf-8")  # last: its existence means done
    return len(rows)


def _check(
    out: Path, counts: Mapping[str, tuple[int, int]], dials: Mapping[str, float], scale: float, size: int
) -> None:
    strangers = [label for label in counts if label not in NEIGHBOURS]
    if strangers:
        raise UsageError(
            f"profile: puppets do not play '{strangers[0]}'{did_you_mean(strangers[0], NEIGHBOURS)}"
        )
    for name, value in dials.items():
        if not 0 <= value <= 1:
            raise UsageError(f"--{name.replace('_', '-')}: {value} is not within 0..1")
    if scale <= 0:
        raise UsageError(f"--scale: {scale} is not above 0")
    if not 32 <= size <= 512 or size % 2:
        raise UsageError(f"--size: {size} is not an even number from 32 to 512")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a new folder")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: exists and is not empty; name a new folder")


def _plans(
    counts: Mapping[str, tuple[int, int]],
    seed: int,
    scale: float,
    label_noise: float,
    test_per_class: int | None = None,
) -> Iterator[_Plan]:
    """Who plays what, split by split; validation gets a quarter of the test's clips."""
    rng = np.random.default_rng([0xDA7A, seed])
    for number, split in enumerate(SPLITS):
        wanted = {}
        for label, (train, test) in counts.items():
            share = {"train": train, "val": test / 4, "test": test}[split]
            wanted[label] = max(LEAST, round(share * scale))
            if split == "test" and test_per_class is not None:
                wanted[label] = test_per_class
        people = max(2, sum(wanted.values()) // CLIPS_A_PERSON)
        first = PEOPLE["dataset"].start + (seed * len(SPLITS) + number) * PEOPLE_A_SPLIT
        index = 0
        for label, count in wanted.items():
            for _ in range(count):
                noisy = split == "train" and rng.random() < label_noise
                near = [name for name in NEIGHBOURS[label] if name in counts]
                shown = str(rng.choice(near)) if noisy and near else label
                yield _Plan(split, label, shown, index, first + int(rng.integers(people)))
                index += 1


def _write_clip(out: Path, plan: _Plan, seed: int, style: _Style) -> dict[str, Any]:
    rng = np.random.default_rng([0xC11B, seed, SPLITS.index(plan.split), plan.index])
    person = sample_person(plan.person)
    performed = act(plan.shown, rng, int(rng.integers(17, 41)), FPS, style.difficulty)
    rough = style.domain == "wild"
    drawing = draw(person, performed.performance, sample_scene(rng, float(rough)), style.size)
    frames = roughen(drawing.frames, rng) if rough else drawing.frames
    name = f"{plan.split}/{plan.label}/{plan.index:05d}"
    write_mp4(out / f"{name}.mp4", frames, FPS, quality=12, comment="puppet: rendered, no real person")
    truth = out / "truth" / f"{name}.npz"
    truth.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(truth, allow_pickle=False, **_truth(performed, drawing.landmarks, person.vector))
    return {
        "file_name": f"{name}.mp4",
        "label": plan.label,
        "split": plan.split,
        "subject": f"puppet-{plan.person}",
        "licence": "MIT",
        "world": "puppets",
        "domain": style.domain,
        "shown": plan.shown,
        "apex": performed.apex,
        "action_units": {
            unit: round(float(value), 3)
            for unit, value in zip(ACTION_UNITS, performed.units, strict=True)
            if value > 0
        },
        "truth": f"truth/{name}.npz",
    }


def _truth(performed: Act, landmarks: np.ndarray, person: np.ndarray) -> dict[str, np.ndarray]:
    whole = performed.performance
    return {
        "action_units": whole.action_units,
        "asymmetry": whole.asymmetry,
        "pose": whole.pose,
        "gaze": whole.gaze,
        "landmarks": landmarks.astype(np.float16),
        "person": person,
    }


def refuse_foreign(dataset: Dataset) -> None:
    """Raise UsageError unless every clip says that it is a puppet."""
    strangers = [clip.id for clip in dataset.clips if clip.extra.get("world") != "puppets"]
    if strangers:
        raise UsageError(
            f"{dataset.root}: {len(strangers):,} clips are no puppets ({strangers[0]}, ...); the embedded "
            "checkpoint was trained on nothing else; for real faces use generate.generator=warp, or name an "
            "image-to-video model in generate.model"
        )
