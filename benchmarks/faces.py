"""The MediaPipe reader: time per frame, and how well Action Units come back from meshes that show them.

Times are of the wall and of the processor (all threads): the latter holds on a busy machine too.

Meshes are made by the model that is solved backwards, with sparse random units (three in ten active) and
landmark noise of half a pixel on a face of 120 pixels between the outer eye corners: what is measured is
what the solver loses to noise and to units that look alike, not how well the model fits people.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.dataset.clip import Clip
from argen.dataset.video import read_frames
from argen.face import geometry, mesh, models
from argen.face.action_units import ACTION_UNITS, AU_INDEX
from argen.face.mediapipe_reader import MediapipeReader
from benchmarks.figures import Figure, bootstrap, main

PIXELS = 120.0
NOISE = 0.5


def measure(quick: bool) -> Iterator[Figure]:
    """Times on a real clip, correlations on meshes."""
    yield from _times(repeats=2 if quick else 10)
    yield from _recovery(count=300 if quick else 3000)


def _times(repeats: int) -> Iterator[Figure]:
    folder = models.package_folder("feat")
    if folder is None:
        return
    path = folder / "tests" / "data" / "single_face.mp4"
    frames = read_frames(Clip("smile", "happy", "train", path, "video", "one"))
    reader = MediapipeReader()
    reader(frames[:4])
    wall, processor = [], []
    for _ in range(repeats):
        begin = time.perf_counter(), time.process_time()
        track = reader(frames)
        wall.append((time.perf_counter() - begin[0]) / len(frames) * 1000)
        processor.append((time.process_time() - begin[1]) / len(frames) * 1000)
    reader.close()
    for name, spent in (("milliseconds", wall), ("cpu_milliseconds", processor)):
        yield Figure(f"faces.{name}", statistics.median(spent), min(spent), max(spent), repeats)
    begin_solving = time.process_time()
    for _ in range(repeats):
        geometry.action_units_from(track.landmarks, track.landmarks[8])
    solve = (time.process_time() - begin_solving) / repeats / len(frames) * 1000
    yield Figure("faces.cpu_milliseconds_solving", solve, solve, solve, repeats)
    smile = track.action_units[:, AU_INDEX["AU12"]]
    rise = float(smile[24:66].mean() - smile[:16].mean())
    yield Figure("faces.smile_rise", rise, rise, rise, 1)


def _recovery(count: int) -> Iterator[Figure]:
    rng = np.random.default_rng(0)
    active = rng.uniform(size=(count, 20)) < 0.3
    truth = (rng.uniform(0, 1, (count, 20)) * active).astype(np.float32)
    noisy = mesh.au_mesh(truth) * PIXELS + rng.normal(0, NOISE, (count, 478, 3)).astype(np.float32)
    seen = geometry.action_units_from(noisy, mesh.calm_mesh() * PIXELS)
    each = [_correlation(truth[:, i], seen[:, i]) for i in range(20)]
    yield Figure("faces.recovery", *bootstrap(each), count)
    for name, value, i in zip(ACTION_UNITS, each, range(20), strict=True):
        draws = [rng.integers(0, count, count) for _ in range(200)]
        low, high = np.percentile([_correlation(truth[d, i], seen[d, i]) for d in draws], [2.5, 97.5])
        yield Figure(f"faces.recovery.{name}", value, float(low), float(high), count)


def _correlation(truth: Float32[ndarray, "N"], seen: Float32[ndarray, "N"]) -> float:
    return float(np.corrcoef(truth, seen)[0, 1])


if __name__ == "__main__":
    main(measure, __doc__ or "")
