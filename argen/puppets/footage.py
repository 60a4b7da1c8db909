"""Training footage: rendered clips with everything known about them, endlessly, by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray

from argen.puppets.expressions import BASIC, Act, act
from argen.puppets.person import sample_person
from argen.puppets.render import draw
from argen.puppets.scene import Performance, Scene, sample_scene
from argen.puppets.wild import roughen

FRAMES = 17
SIZE = 64
FPS = 16.0
LABELS = (*BASIC, *BASIC, "contempt", "anxiety", "helplessness", "disappointment")

# Clips of "embedded" from this number on are evenly faint to extreme: as people act, both are rare.
EVEN_FROM = 8000
STRENGTHS = (0.15, 2.4)  # times the usual; only near 2 do the weaker units of an expression reach their ends

# Identities never meet: each use draws its people from a range of its own.
PEOPLE = {
    "embedded": range(0, 1_000_000),
    "reader": range(1_000_000, 2_000_000),
    "judge": range(2_000_000, 3_000_000),
    "evaluation": range(3_000_000, 4_000_000),
    "dataset": range(4_000_000, 100_000_000),
    "chooser": range(100_000_000, 101_000_000),
}


@dataclass(frozen=True)
class Footage:
    """One rendered clip and its truth."""

    frames: UInt8[ndarray, "T H W 3"]
    act: Act
    person: int
    landmarks: Float32[ndarray, "T 478 3"]


@dataclass(frozen=True)
class Shot:
    """What a clip will be, before it is drawn."""

    person: int
    act: Act
    start: str | None
    scene: Scene


def direct(
    use: str,
    number: int,
    label: str | None = None,
    start: str | None = None,
    difficulty: float | None = None,
    *,
    person: int | None = None,
) -> Shot:
    """Clip `number` of a use; the same arguments give the same clip."""
    people = PEOPLE[use]
    rng = np.random.default_rng([0xF007, people.start, number])
    drawn = people[int(rng.integers(len(people) if use != "embedded" else 20_000))]
    chosen = label or LABELS[int(rng.integers(len(LABELS)))]
    if start is None and rng.random() < 0.2:
        start = BASIC[int(rng.integers(len(BASIC)))]
    level = rng.uniform(0.1, 0.7) if difficulty is None else difficulty
    strength = rng.uniform(*STRENGTHS) if use == "embedded" and number >= EVEN_FROM else None
    performed = act(chosen, rng, FRAMES, FPS, level, start=start, strength=strength)
    return Shot(drawn if person is None else person, performed, start, sample_scene(rng))


def shoot(
    use: str,
    number: int,
    label: str | None = None,
    start: str | None = None,
    difficulty: float | None = None,
    *,
    person: int | None = None,
) -> Footage:
    """Draw clip `number` of a use."""
    shot = direct(use, number, label, start, difficulty, person=person)
    drawing = draw(sample_person(shot.person), shot.act.performance, shot.scene, SIZE)
    return Footage(drawing.frames, shot.act, shot.person, drawing.landmarks)


@dataclass(frozen=True)
class Stills:
    """A few frames of one clip, for the training of readers."""

    frames: UInt8[ndarray, "K H W 3"]
    units: Float32[ndarray, "K 20"]
    landmarks: Float32[ndarray, "K 478 3"]
    expressions: Int64[ndarray, "K"]  # index into BASIC; -1 where a frame shows none of them plainly
    person: int


def shoot_stills(use: str, number: int, wild: float = 0.5) -> Stills:
    """The first, the apex and one other frame of a clip; `wild` is the share that is roughened."""
    people = PEOPLE[use]
    rng = np.random.default_rng([0x5711, people.start, number])
    person = people[int(rng.integers(len(people)))]
    label = LABELS[int(rng.integers(len(LABELS)))]
    start = BASIC[int(rng.integers(len(BASIC)))] if rng.random() < 0.2 else None
    performed = act(label, rng, FRAMES, FPS, rng.uniform(0.1, 0.8), start=start)
    rows = [0, performed.apex, int(rng.integers(1, FRAMES))]
    whole = performed.performance
    shown = Performance(whole.action_units[rows], whole.asymmetry, whole.pose[rows], whole.gaze[rows])
    hard = rng.random() < wild
    drawing = draw(sample_person(person), shown, sample_scene(rng, float(hard) * rng.random()), SIZE)
    frames = roughen(drawing.frames, rng, rng.random()) if hard else drawing.frames
    return Stills(frames, shown.action_units, drawing.landmarks, _expressions(performed, start, rows), person)


def _expressions(performed: Act, start: str | None, rows: list[int]) -> Int64[ndarray, "K"]:
    """What each frame shows, from how far it is on the way from the start to the apex."""
    units = performed.performance.action_units
    change = np.abs(units - units[0]).sum(axis=1)
    names = []
    for row in rows:
        level = change[row] / max(float(change[performed.apex]), 1e-6)
        near, far = (start or "neutral"), performed.label
        names.append(far if level > 0.7 or far == near else near if level < 0.15 else "")
    return np.array([BASIC.index(name) if name in BASIC else -1 for name in names])
