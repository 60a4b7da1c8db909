"""CIF against a slow twin, against PatchCore on synthetic parts, and as the gate on real faces.

`cif.over_patchcore_*`: the whole method less PatchCore-style nearest neighbour on the same features side by
side (the modalities concatenated, as BTF has it), paired over draws of the one normal.
`cif.over_patchcore_each_*`: less a harder opponent, nearest neighbour in each modality with our coreset,
fusion, re-weighting and smoothing. `cif.gain.X`: the whole less the whole without X (`released`: less the
authors' setting). A gain is one only where its interval excludes zero. Parts and defects were fixed before
anything was measured. Constants were chosen on other seeds (4 normals from 700,000 on); the seeds here were
drawn for the first time when the constants stood.

`gate.*`: see `benchmarks._anomaly_faces`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from argen.anomaly.detector import Detector, Scores
from argen.anomaly.evaluate import Truth, truth_of
from argen.anomaly.extract import SIZE, Extractor
from argen.anomaly.fusion import fuse, sharpen_and_smooth, upsample
from argen.anomaly.memory import coreset
from argen.anomaly.metrics import aupro, auroc
from argen.anomaly.parts import DEFECTS, KINDS, make_part
from argen.anomaly.patches import Patches
from argen.anomaly.search import nearest, reweight
from argen.anomaly.settings import RELEASED, CifSettings
from benchmarks._anomaly_faces import as_the_gate
from benchmarks.figures import Figure, bootstrap, main

Method = Callable[[Patches, Patches], Scores]
METRICS = ("iauroc", "aupro")
NORMAL_SEEDS = tuple(range(900_000, 900_010))
TEST_SEEDS = 910_000


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
    whole = _measured(cif(ours), sets, draws)
    for column, metric in enumerate(METRICS):
        yield Figure(
            f"cif.{metric}", *bootstrap(whole[:, column].tolist()), draws, seeds=NORMAL_SEEDS[:draws]
        )
    others: dict[str, Method] = {
        "over_patchcore": lambda normals, tests: patchcore(
            _concatenated(normals), _concatenated(tests), "product"
        ),
        "over_patchcore_each": lambda normals, tests: patchcore(normals, tests, ours.fusion),
        "gain.hypergraph": cif(replace(ours, hypergraph=False)),
        "gain.propagation": cif(replace(ours, propagation=False)),
        "gain.guided": cif(replace(ours, guided=False)),
        "gain.released": cif(RELEASED),
    }
    for name in list(others)[: 1 if quick else None]:
        gain = whole - _measured(others[name], sets, draws)
        for column, metric in enumerate(METRICS):
            bar = ">= 0" if name == "over_patchcore" else ""
            yield Figure(f"cif.{name}_{metric}", *bootstrap(gain[:, column].tolist()), draws, bar)


def cif(settings: CifSettings) -> Method:
    """Fit on the normals, score the tests."""
    return lambda normals, tests: Detector.fit(normals, settings, SIZE).score(tests)


def patchcore(normals: Patches, tests: Patches, fusion: str) -> Scores:
    """Nearest neighbour in a coreset of each modality; fused, re-weighted and smoothed as CIF is."""
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
    normals = extract([make_part(kind, seed=seed) for seed in NORMAL_SEEDS[:draws]])
    samples = [make_part(kind, seed=TEST_SEEDS + i) for i in range(6 if quick else 15)]
    for number, defect in enumerate(DEFECTS):
        for i in range(3 if quick else 6):
            samples.append(make_part(kind, defect, i % 3, seed=TEST_SEEDS + 1000 * (number + 1) + i))
    return normals, extract(samples), truth_of(samples)


def _measured(
    method: Method, sets: dict[str, tuple[Patches, Patches, Truth]], draws: int
) -> Float32[ndarray, "draws 2"]:
    """Image AUROC, and AUPRO on every other pixel, of each draw; mean over kinds."""
    rows = []
    for draw in range(draws):
        found = []
        for normals, tests, truth in sets.values():
            scores = method(normals[draw : draw + 1], tests)
            maps, masks = scores.pixel[:, ::2, ::2].double().numpy(), truth.masks[:, ::2, ::2]
            image = auroc(scores.image.double().numpy(), truth.strange)
            found.append([image, aupro(list(maps), list(masks))])
        rows.append(np.mean(found, axis=0))
    return np.array(rows, np.float32)


def _random(count: int, grid: tuple[int, int], seed: int, widths: tuple[int, ...] = (32, 24)) -> Patches:
    rng = torch.Generator().manual_seed(seed)
    N = grid[0] * grid[1]
    features = [torch.randn(count, N, width, generator=rng) for width in widths]
    unit = tuple(torch.nn.functional.normalize(F, dim=2) for F in features)
    return Patches(unit, torch.rand(count, N, generator=rng) < 0.6, grid)


if __name__ == "__main__":
    main(measure, __doc__)
