"""The puppet world: how fast it is drawn, and what its judge sees on clips of people it never met."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from argen.puppets.expressions import BASIC, sample_units
from argen.puppets.footage import FRAMES, PEOPLE, shoot
from argen.puppets.judge import Judge
from argen.puppets.person import sample_person
from argen.puppets.render import draw
from argen.puppets.scene import sample_scene
from benchmarks.figures import Figure, bootstrap, main


def measure(quick: bool) -> Iterator[Figure]:
    """Figures of issue 3 that need no generator."""
    yield _speed(6 if quick else 30)
    yield _ceiling(300 if quick else 2000)
    clips = [shoot("evaluation", i, BASIC[i % 7], "neutral", 0.4) for i in range(105 if quick else 700)]
    judge = Judge()
    seen = [judge(clip.frames) for clip in clips]
    right = [float(judged.label == clip.act.label) for judged, clip in zip(seen, clips, strict=True)]
    yield Figure("judge.accuracy", *bootstrap(right), len(right))
    apex = np.array([judged.units[clip.act.apex] for judged, clip in zip(seen, clips, strict=True)])
    wanted = np.array([clip.act.units for clip in clips])
    shown = np.flatnonzero((wanted > 0.1).mean(axis=0) > 0.02)
    each = [float(np.corrcoef(apex[:, i], wanted[:, i])[0, 1]) for i in shown]
    yield Figure("judge.au_correlation", *bootstrap(each), len(clips))


def _ceiling(count: int) -> Figure:
    """Accuracy of boosted trees that are told the true Action Units: about the most any judge can reach."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(5)
    units, labels = [], []
    for _ in range(count):
        for index, emotion in enumerate(BASIC):
            units.append(sample_units(emotion, rng, 0.4)[0])
            labels.append(index)
    half = len(labels) // 2
    model = HistGradientBoostingClassifier(max_iter=80, random_state=0).fit(units[:half], labels[:half])
    right = (model.predict(units[half:]) == labels[half:]).astype(float)
    return Figure("puppets.ceiling", *bootstrap(right, draws=200), len(right))


def _speed(clips: int) -> Figure:
    """Frames a second of processor time; people, hair and textures are made anew for each clip."""
    cv2.setNumThreads(1)
    rates = []
    with threadpool_limits(1):  # a second thread of numpy's would be counted as well
        for number in range(clips + 1):
            person = PEOPLE["evaluation"].start + 5000 + number
            performance = shoot("evaluation", 5000 + number).act.performance
            scene = sample_scene(np.random.default_rng(number))
            started = time.process_time()
            draw(sample_person(person), performance, scene, 64)
            rates.append(FRAMES / (time.process_time() - started))
    return Figure("puppets.fps", *bootstrap(rates[1:]), clips, bar=">= 150")


if __name__ == "__main__":
    main(measure, __doc__)
