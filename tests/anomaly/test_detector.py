"""The quick method against the slow one, and what must not change its answer."""

import dataclasses

import numpy as np
import pytest
import torch

from argen.anomaly.detector import Detector
from argen.anomaly.fusion import fuse, sharpen_and_smooth, upsample
from argen.anomaly.hypergraph import centroids, edge_features, incidence
from argen.anomaly.memory import Memory, assign, build_memories, coreset, project, typical_first
from argen.anomaly.patches import Patches, concatenate
from argen.anomaly.propagation import members, propagate
from argen.anomaly.search import UNREACHED, allowed, nearest_by_edge, reweight
from argen.anomaly.settings import RELEASED, CifSettings
from argen.errors import ModelUnavailable, UsageError
from tests.anomaly import reference

GRID = (7, 8)
N = 56


def make_patches(samples, seed=0, foreground=0.7, widths=(12, 9)):
    """Unit-length random features around a few part prototypes."""
    rng = torch.Generator().manual_seed(seed)
    prototypes = [torch.randn(5, d, generator=torch.Generator().manual_seed(99 + d)) for d in widths]
    part = torch.randint(0, 5, (samples, N), generator=rng)
    features = [
        torch.nn.functional.normalize(
            p[part] + 0.5 * torch.randn(samples, N, p.shape[1], generator=rng), dim=-1
        )
        for p in prototypes
    ]
    return Patches(tuple(features), torch.rand(samples, N, generator=rng) < foreground, GRID)


def uniforms(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


def double(patches, m):
    return [F.double().numpy() for F in patches.modalities[m]]


def slow_memories(normals, s):
    samples = [double(normals, m) for m in range(len(normals.modalities))]
    return reference.fit(
        samples, normals.foreground.numpy(), s.K, s.tau, s.ratio, s.quota, uniforms(s.K, s.seed)
    )


@pytest.mark.parametrize("K", [1, 4, 8])
def test_hypergraph_equals_the_slow_one(K):
    P = make_patches(3, seed=K)
    F = P.modalities[0]
    C = centroids(F, P.foreground, K)
    H = incidence(F, C, P.foreground)
    E = edge_features(F, H)
    for b, f in enumerate(double(P, 0)):
        c = reference.kmeans(f, P.foreground[b].numpy(), K, uniforms(K))
        h = reference.incidence(f, c, P.foreground[b].numpy(), 0.9)
        np.testing.assert_allclose(C[b], np.array(c), atol=1e-5)
        np.testing.assert_array_equal(H[b], h)
        np.testing.assert_allclose(E[b], reference.edge_features(f, h), atol=1e-5)


@pytest.mark.parametrize("quota", ["size", "spread"])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_memory_equals_the_slow_one(k, quota):
    s = CifSettings(ratio=0.3, quota=quota)
    P = make_patches(k, seed=k)
    quick, slow = build_memories(P.modalities, P.foreground, s), slow_memories(P, s)
    for memory, (banks, edges) in zip(quick, slow, strict=True):
        assert memory.bounds.diff().tolist() == [len(bank) for bank in banks]
        np.testing.assert_allclose(memory.nodes, np.concatenate(banks), atol=1e-6)
        np.testing.assert_allclose(memory.edges, edges, atol=1e-5)


@pytest.mark.parametrize("walk", [False, True])
@pytest.mark.parametrize(("alpha", "L"), [(0.9, 1), (0.4, 2), (0.3, 3)])
def test_propagation_equals_the_dense_one(alpha, L, walk):
    P, test = make_patches(2), make_patches(1, seed=5)
    memory = build_memories(P.modalities, P.foreground, CifSettings())[0]
    F, fg = test.modalities[0], test.foreground
    H = incidence(F, centroids(F, fg, 4), fg)
    links = members(F[0], H[0], ~fg[0], memory)
    X = propagate(torch.cat([F[0], memory.nodes]), links, alpha, L, walk)
    banks = [b.double().numpy() for b in memory.nodes.split(memory.bounds.diff().tolist())]
    x, moved = reference.propagate(double(test, 0)[0], H[0].numpy(), ~fg[0].numpy(), banks, alpha, L, walk)
    np.testing.assert_allclose(X[:N], x, atol=1e-5)
    np.testing.assert_allclose(X[N:], np.concatenate(moved), atol=1e-5)


def test_published_propagation_is_one_step_of_a_tenth():
    P, test = make_patches(1), make_patches(1, seed=6)
    memory = build_memories(P.modalities, P.foreground, CifSettings())[0]
    F, fg = test.modalities[0], test.foreground
    H = incidence(F, centroids(F, fg, 4), fg)
    links = members(F[0], H[0], ~fg[0], memory)
    X = torch.cat([F[0], memory.nodes])
    one_step = propagate(X.clone(), links, 1e-9, 1)  # alpha almost 0 leaves the normalised adjacency alone
    torch.testing.assert_close(
        propagate(X.clone(), links, 0.9, 1), 0.9 * X + 0.1 * one_step, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("top", [1, 3])
def test_search_equals_the_slow_one(top):
    P, test = make_patches(2), make_patches(1, seed=7)
    memory = build_memories(P.modalities, P.foreground, CifSettings(ratio=0.3))[0]
    F, fg = test.modalities[0], test.foreground
    H = incidence(F, centroids(F, fg, 4), fg)[0]
    E = edge_features(F, H[None])[0]
    distance, _ = nearest_by_edge(F[0], memory.nodes, memory.bounds)
    s_h = distance.masked_fill(~allowed(E, H, memory, top), torch.inf).amin(dim=1)
    banks = [b.double().numpy() for b in memory.nodes.split(memory.bounds.diff().tolist())]
    slow_g, slow_h = reference.patch_scores(
        double(test, 0)[0], banks, E.double().numpy(), H.numpy(), memory.edges.double().numpy(), top
    )
    np.testing.assert_allclose(distance.amin(dim=1), slow_g, atol=1e-5)
    np.testing.assert_allclose(s_h, slow_h, atol=1e-5)


def test_reweighting_equals_the_slow_one():
    nodes = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    x = nodes[3] + 0.4
    slow = reference.reweight(x.double().numpy(), nodes[3].double().numpy(), list(nodes.double().numpy()), 9)
    assert reweight(x, 3, nodes, 9) == pytest.approx(slow, abs=1e-5)
    assert reweight(x, 0, nodes[:1], 9) == 1.0


@pytest.mark.parametrize("fusion", ["product", "z-sum", "max"])
def test_fusion_equals_the_slow_one(fusion):
    values = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(2))
    scale = torch.tensor([[0.1, 0.5], [0.3, 0.2], [0.5, 1.0]])
    fused = fuse(values, scale, fusion)
    for b in range(4):
        for n in range(5):
            slow = reference.fuse(values[:, b, n].tolist(), scale.tolist(), fusion)
            assert float(fused[b, n]) == pytest.approx(slow, abs=1e-5)


def test_picture_equals_the_slow_one():
    patch = torch.rand(1, N, generator=torch.Generator().manual_seed(3))
    image = upsample(patch, GRID, 23)
    np.testing.assert_allclose(image[0], reference.upsample(patch[0].numpy(), GRID, 23), atol=1e-5)
    smooth = reference.smooth(image[0].double().numpy(), 1.5)
    np.testing.assert_allclose(sharpen_and_smooth(image, 1.5)[0], smooth, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_whole_method_equals_the_slow_one(k):
    s = CifSettings(ratio=0.2)
    normals, tests = make_patches(k), make_patches(2, seed=20)
    scores = Detector.fit(normals, s, size=20).score(tests)
    memories = slow_memories(normals, s)
    for b in range(2):
        sample = [double(tests, m)[b] for m in range(2)]
        image, pixel = reference.score(
            sample, tests.foreground[b].numpy(), memories, s.K, s.tau, s.alpha, s.L, s.walk, s.top,
            s.neighbours, uniforms(s.K), GRID, 20,
        )  # fmt: skip
        assert float(scores.image[b]) == pytest.approx(image, abs=1e-5)
        np.testing.assert_allclose(scores.pixel[b], pixel, atol=1e-5)


def test_order_of_normals_does_not_matter():
    P, tests = make_patches(4), make_patches(3, seed=30)
    straight = Detector.fit(P).score(tests)
    shuffled = Detector.fit(P[[2, 0, 3, 1]]).score(tests)
    torch.testing.assert_close(straight.image, shuffled.image, atol=1e-6, rtol=0)
    torch.testing.assert_close(straight.pixel, shuffled.pixel, atol=1e-6, rtol=0)
    assert typical_first(P.modalities[0]).tolist() != typical_first(P[[2, 0, 3, 1]].modalities[0]).tolist()


def test_company_does_not_matter():
    detector, tests = Detector.fit(make_patches(2)), make_patches(20, seed=31)
    together = detector.score(tests)
    torch.testing.assert_close(together.image[7:8], detector.score(tests[7:8]).image, atol=1e-6, rtol=0)


def test_numbering_of_hyperedges_does_not_matter():
    detector, tests = Detector.fit(make_patches(2), CifSettings(K=4)), make_patches(2, seed=32)
    order = [2, 0, 3, 1, 4]  # the background stays last
    memories = tuple(renumber(memory, order) for memory in detector.memories)
    torch.testing.assert_close(
        dataclasses.replace(detector, memories=memories).score(tests).pixel, detector.score(tests).pixel,
        atol=1e-5, rtol=0,
    )  # fmt: skip


def renumber(memory, order):
    banks = memory.nodes.split(memory.bounds.diff().tolist())
    sizes = torch.tensor([0] + [len(banks[j]) for j in order])
    return Memory(torch.cat([banks[j] for j in order]), sizes.cumsum(0), memory.edges[order])


def test_empty_hyperedge_is_passed_over():
    """A bank without nodes changes nothing: the released code searched the wrong banks after one."""
    detector, tests = Detector.fit(make_patches(2)), make_patches(2, seed=33)

    def with_empty(memory):
        bounds = torch.cat([memory.bounds[:2], memory.bounds[1:]])  # hyperedge 1 is empty
        edges = torch.cat([memory.edges[:1], torch.zeros_like(memory.edges[:1]), memory.edges[1:]])
        return Memory(memory.nodes, bounds, edges)

    memories = tuple(with_empty(memory) for memory in detector.memories)
    changed = dataclasses.replace(detector, memories=memories).score(tests)
    torch.testing.assert_close(changed.pixel, detector.score(tests).pixel, atol=1e-5, rtol=0)
    distance, row = nearest_by_edge(tests.modalities[0][0], memories[0].nodes, memories[0].bounds)
    assert (distance[:, 1] == UNREACHED).all()
    assert (row[:, 1] == -1).all()


@pytest.mark.parametrize("patches_on_object", [1, 2, 3])
def test_fewer_foreground_patches_than_clusters(patches_on_object):
    P = make_patches(1)
    foreground = torch.zeros(1, N, dtype=torch.bool)
    foreground[0, 10 : 10 + patches_on_object] = True
    small = Patches(P.modalities, foreground, GRID)
    C = centroids(P.modalities[0], foreground, 4)
    assert int(C.isfinite().all(dim=-1).sum()) == patches_on_object
    scores = Detector.fit(small).score(concatenate([small, make_patches(1, seed=40)]))
    assert scores.pixel.isfinite().all()


def test_what_lies_off_the_object_is_seen():
    normal, test = make_patches(1), make_patches(1)
    off = int((~test.foreground[0]).nonzero()[0])
    strange = [F.clone() for F in test.modalities]
    for F in strange:
        F[0, off] = -F[0, off] * 3
    detector = Detector.fit(normal, CifSettings(ratio=1.0))
    before = detector.score(test).patch[:, 0, off]
    scores = detector.score(Patches(tuple(strange), test.foreground, GRID))
    assert (scores.patch[:, 0, off] > 10 * before + 0.1).all()
    assert (scores.patch[:, 0].argmax(dim=1) == off).all()


def test_image_that_is_all_background():
    P = make_patches(1)
    empty = Patches(P.modalities, torch.zeros_like(P.foreground), GRID)
    with pytest.raises(UsageError, match="all background"):
        Detector.fit(empty)
    assert Detector.fit(P).score(empty).image.isfinite().all()


def test_memory_without_background_searches_everywhere():
    P = make_patches(1, foreground=2.0)
    detector = Detector.fit(P)
    assert detector.memories[0].bounds.diff()[-1] == 0
    assert detector.score(make_patches(1, seed=41)).pixel.isfinite().all()


def test_identical_patches():
    flat = Patches((torch.ones(1, N, 4),), torch.ones(1, N, dtype=torch.bool), GRID)
    assert Detector.fit(flat).score(flat).pixel.isfinite().all()
    plain = Detector.fit(flat, CifSettings(propagation=False)).score(flat)
    assert float(plain.image[0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "switch",
    [
        {"hypergraph": False},
        {"propagation": False},
        {"guided": False},
        {"fusion": "z-sum"},
        {"ratio": 0.5},
        {"quota": "size"},
        {"walk": False},
    ],
)
def test_every_switch_changes_the_answer(switch):
    normals, tests = make_patches(2), make_patches(2, seed=50)
    plain = Detector.fit(normals).score(tests).image
    assert not torch.allclose(plain, Detector.fit(normals, CifSettings(**switch)).score(tests).image)


def test_released_preset():
    normals, tests = make_patches(2, widths=(768, 1152)), make_patches(1, seed=51, widths=(768, 1152))
    detector = Detector.fit(normals, RELEASED)
    assert abs(len(detector.memories[0]) - 0.1 * 2 * N) <= 3
    assert detector.score(tests).image.isfinite().all()
    projected = project(normals.modalities[0][0], 0.9, 0)
    assert projected.shape[1] < 768
    ratio = torch.cdist(projected, projected) / torch.cdist(
        normals.modalities[0][0], normals.modalities[0][0]
    )
    off_diagonal = ratio[~torch.eye(N, dtype=torch.bool)]
    assert 0.5 < float(off_diagonal.min()) <= float(off_diagonal.max()) < 1.6


def test_coreset_covers():
    F = torch.randn(60, 3, generator=torch.Generator().manual_seed(4))
    chosen = coreset(F, 10, 0)
    assert len(set(chosen.tolist())) == 10
    assert chosen.tolist()[1:] == reference_tail(F, chosen.tolist())
    assert coreset(F[:5], 9, 0).tolist() == [0, 1, 2, 3, 4]
    assert coreset(F, 1, 0).tolist() == reference.coreset(F.double().numpy(), 1)


def reference_tail(F, chosen):
    tail = []
    for step in range(1, len(chosen)):
        nearest = torch.cdist(F, F[chosen[:step]]).amin(dim=1)
        tail.append(int(nearest.argmax()))
    return tail


def test_assign_maps_every_shot():
    P = make_patches(3)
    F, fg = P.modalities[0], P.foreground
    H = incidence(F, centroids(F, fg, 4), fg)
    order = typical_first(F)
    labels = assign(F, H, fg, order)
    slow = reference.assign(
        double(P, 0), list(H.double().numpy()), fg.numpy(), reference.typical_first(double(P, 0))
    )
    for i in range(3):
        assert labels[i].tolist() == slow[i]


def test_save_and_load(tmp_path):
    detector, tests = Detector.fit(make_patches(2), info={"who": "test"}), make_patches(1, seed=60)
    detector.save(tmp_path)
    again = Detector.load(tmp_path)
    assert again.info == {"who": "test"}
    assert again.settings == detector.settings
    torch.testing.assert_close(again.score(tests).pixel, detector.score(tests).pixel, rtol=0, atol=0)
    (tmp_path / "detector.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="argen anomaly fit"):
        Detector.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda P: Patches((P.modalities[0][:, :5],), P.foreground, GRID), "modality 0 has"),
        (lambda P: Patches((P.modalities[0] * torch.nan,), P.foreground, GRID), "not numbers"),
        (lambda P: Patches((), P.foreground, GRID), "no modality"),
        (lambda P: Patches(P.modalities, P.foreground, (3, 3)), "grid"),
        (lambda P: Detector.fit(P[:0]), "no normal sample"),
        (lambda P: Detector.fit(P).score(Patches(P.modalities[:1], P.foreground, GRID)), "fitted with"),
        (lambda P: concatenate([P, Patches(P.modalities[:1], P.foreground, GRID)]), "differ"),
    ],
)
def test_bad_patches(change, message):
    with pytest.raises(UsageError, match=message):
        change(make_patches(1))


@pytest.mark.parametrize("setting", [{"tau": 0.0}, {"ratio": 1.5}, {"K": 0}, {"L": 0}, {"fusion": "sum"}])
def test_bad_settings(setting):
    with pytest.raises(UsageError, match=next(iter(setting))):
        CifSettings(**setting)


def test_means_do_not_inflate_hubs():
    """Many test patches at one memory node: the authors' scaling lengthens it, a mean does not."""
    P = Patches((torch.ones(1, N, 4),), torch.ones(1, N, dtype=torch.bool), GRID)
    memory = build_memories(P.modalities, P.foreground, CifSettings(ratio=0.02))[0]
    links = members(
        P.modalities[0][0], torch.ones(N, 1, dtype=torch.bool), torch.zeros(N, dtype=torch.bool), memory
    )
    X = torch.ones(N + len(memory), 4)
    torch.testing.assert_close(propagate(X.clone(), links, 0.9, 1, walk=True), X)
    assert propagate(X.clone(), links, 0.9, 1, walk=False).max() > 1.1
