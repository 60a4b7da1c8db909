"""The method once more: slow, in plain loops and dense matrices, in double precision.

Written from the description of the method, stage by stage, to check the quick one against. One sample, one
modality at a time; nothing is shared with `argen.anomaly`.
"""

import math

import numpy as np


def kmeans(F, foreground, K, uniforms):
    """k-means++ with the given uniform numbers, then Lloyd until nothing changes; None: no such part."""
    points = [np.asarray(F[i], float) for i in range(len(F)) if foreground[i]]
    centres = []
    for u in uniforms[:K]:
        if centres:
            weights = [min(float(((p - c) ** 2).sum()) for c in centres if c is not None) for p in points]
        else:
            weights = [1.0] * len(points)
        if sum(weights) <= 0:
            centres.append(None)
            continue
        goal, running = u * sum(weights), 0.0
        for p, w in zip(points, weights, strict=True):
            running += w
            if running >= goal and running > 0:
                centres.append(p)
                break
    labels = None
    while True:
        new = [
            min((j for j in range(K) if centres[j] is not None), key=lambda j: _d(p, centres[j]))
            for p in points
        ]
        if new == labels:
            return centres
        labels = new
        for j in range(K):
            mine = [p for p, label in zip(points, labels, strict=True) if label == j]
            if mine:
                centres[j] = sum(mine) / len(mine)


def incidence(F, centres, foreground, tau):
    H = np.zeros((len(F), len(centres)))
    for i in range(len(F)):
        if not foreground[i]:
            continue
        s = {j: _cos(F[i], c) for j, c in enumerate(centres) if c is not None}
        low, high = min(s.values()), max(s.values())
        for j, value in s.items():
            normal = (value - low) / (high - low) if high > low else 1.0
            H[i, j] = 1.0 if normal >= tau else 0.0
    return H


def edge_features(F, H):
    E = np.zeros((H.shape[1], F.shape[1]))
    for j in range(H.shape[1]):
        inside = [i for i in range(len(F)) if H[i, j]]
        for i in inside:
            E[j] += F[i] / math.sqrt(H[i].sum()) / len(inside)
    return E


def typical_first(samples):
    means = [F.mean(axis=0) for F in samples]
    centre = sum(means) / len(means)
    return sorted(range(len(samples)), key=lambda i: (round(_d(means[i], centre) ** 2, 9), list(means[i])))


def assign(samples, incidences, foregrounds, order):
    """Memory hyperedge of every patch of every sample; number K is the background."""
    K = incidences[0].shape[1]
    labels = {}
    first = order[0]
    stored = edge_features(samples[first], incidences[first])
    nodes = []  # (feature, hyperedge)
    for i in order:
        own = edge_features(samples[i], incidences[i])
        to = {j: j if i == first else max(range(K), key=lambda s: _cos(own[j], stored[s])) for j in range(K)}
        labels[i] = []
        for n in range(len(samples[i])):
            cluster = next((j for j in range(K) if incidences[i][n, j]), None)
            label = K if not foregrounds[i][n] else to[cluster]
            labels[i].append(label)
            nodes.append((samples[i][n], label))
        if i != first or len(order) > 1:
            updated = [_mean([f for f, e in nodes if e == j], stored.shape[1]) for j in range(K)]
            if i != first:
                stored = np.array(updated)
    return labels


def coreset(F, quota):
    if quota >= len(F):
        return list(range(len(F)))
    if quota == 1:
        return [min(range(len(F)), key=lambda i: max(_d(F[i], f) for f in F))]
    mean = F.mean(axis=0)
    chosen = [min(range(len(F)), key=lambda i: _d(F[i], mean))]
    while len(chosen) < quota:
        chosen.append(max(range(len(F)), key=lambda i: min(_d(F[i], F[c]) for c in chosen)))
    return chosen


def memory(samples, labels, incidences, order, K, ratio, quota):
    """Nodes by hyperedge (a list of arrays, the last one background) and hyperedge features."""
    nodes = [(samples[i][n], labels[i][n]) for i in order for n in range(len(samples[i]))]
    whole = coreset(np.array([f for f, _ in nodes]), max(1, round(ratio * len(nodes))))
    banks, edges = [], []
    for j in range(K + 1):
        mine = np.array([f for f, e in nodes if e == j]).reshape(-1, samples[0].shape[1])
        picked = [nodes[n][0] for n in whole if nodes[n][1] == j] if quota == "spread" else []
        keep = coreset(mine, max(1, round(ratio * len(mine)))) if len(mine) else []
        banks.append(np.array(picked) if picked else mine[keep])
        edges.append(_mean(list(mine), samples[0].shape[1]))
    edges = np.array(edges)
    if len(samples) == 1:
        edges[:K] = edge_features(samples[0], incidences[0])
    return banks, edges


def propagate(F, H, background, banks, alpha, L, walk):
    """Test features and banks after message passing, with the dense matrices of the paper."""
    nodes = np.concatenate(banks)
    N, A = len(F), len(nodes)
    columns = [[i for i in range(N) if H[i, j]] for j in range(H.shape[1])]
    columns.append([i for i in range(N) if background[i]])
    start = N
    for bank in banks:
        columns.append(list(range(start, start + len(bank))))
        start += len(bank)
    for i in range(N):
        columns.append([i, N + max(range(A), key=lambda a: _cos(F[i], nodes[a]))])
    for a in range(A):
        columns.append([N + a, max(range(N), key=lambda i: _cos(nodes[a], F[i]))])
    columns = [c for c in columns if c]
    M = np.zeros((N + A, len(columns)))
    for j, column in enumerate(columns):
        for i in column:
            M[i, j] = 1.0
    W = M @ np.diag(1 / M.sum(axis=0)) @ M.T + np.eye(N + A)
    D = W.sum(axis=1)
    step = np.diag(1 / D) @ W if walk else np.diag(D**-0.5) @ W @ np.diag(D**-0.5)
    S = (1 - alpha) ** L * np.linalg.matrix_power(step, L)
    for power in range(L):
        S = S + alpha * (1 - alpha) ** power * np.linalg.matrix_power(step, power)
    X = S @ np.concatenate([F, nodes])
    out, start = [], N
    for bank in banks:
        out.append(X[start : start + len(bank)])
        start += len(bank)
    return X[:N], out


def patch_scores(X, banks, E, H, edges, top):
    """s_g and s_h of every patch; the guided search never sees the numbering of hyperedges."""
    K = len(edges) - 1
    filled = [j for j in range(K) if len(banks[j])]
    s_g, s_h = [], []
    for i in range(len(X)):
        s_g.append(min(_d(X[i], m) for bank in banks for m in bank))
        own = [j for j in range(H.shape[1]) if H[i, j]]
        if own:
            look = set()
            for j in own:
                look |= set(sorted(filled, key=lambda s: -_cos(E[j], edges[s]))[:top])
        else:
            look = set(range(K + 1))
        s_h.append(min(_d(X[i], m) for j in look for m in banks[j]))
    return np.array(s_g), np.array(s_h)


def reweight(x, m, nodes, neighbours):
    around = sorted(nodes, key=lambda n: _d(n, m))[:neighbours]
    if len(around) < 2:
        return 1.0
    return 1 - math.exp(_d(x, m)) / sum(math.exp(_d(x, n)) for n in around)


def fuse(values, scale, fusion):
    if fusion == "product":
        return math.prod(values)
    z = [(v - mean) / deviation for v, (mean, deviation) in zip(values, scale, strict=True)]
    return sum(z) if fusion == "z-sum" else max(z)


def upsample(scores, grid, size):
    """Bilinear, pixel centres at half integers, borders repeated."""
    image = np.asarray(scores).reshape(grid)
    out = np.zeros((size, size))
    for y in range(size):
        for x in range(size):
            v = min(max((y + 0.5) * grid[0] / size - 0.5, 0), grid[0] - 1)
            u = min(max((x + 0.5) * grid[1] / size - 0.5, 0), grid[1] - 1)
            y0, x0 = int(v), int(u)
            y1, x1 = min(y0 + 1, grid[0] - 1), min(x0 + 1, grid[1] - 1)
            a, b = v - y0, u - x0
            out[y, x] = (
                image[y0, x0] * (1 - a) * (1 - b)
                + image[y0, x1] * (1 - a) * b
                + image[y1, x0] * a * (1 - b)
                + image[y1, x1] * a * b
            )
    return out


def smooth(image, power):
    out = np.maximum(image, 0) ** power
    size = len(out)
    for width in (5, 5, 5, 5, 5, 7, 7, 7):
        reach = width // 2
        before = out.copy()
        for y in range(size):
            for x in range(size):
                total = 0.0
                for dy in range(-reach, reach + 1):
                    for dx in range(-reach, reach + 1):
                        total += before[min(max(y + dy, 0), size - 1), min(max(x + dx, 0), size - 1)]
                out[y, x] = total / width**2
    return out


def fit(samples, foregrounds, K, tau, ratio, quota, uniforms):
    """Memories of k normals; `samples[m][i]` is modality m of sample i. The first modality leads."""
    lead = samples[0]
    incidences = [
        incidence(F, kmeans(F, fg, K, uniforms), fg, tau) for F, fg in zip(lead, foregrounds, strict=True)
    ]
    order = typical_first(lead)
    labels = assign(lead, incidences, foregrounds, order)
    return [memory(modality, labels, incidences, order, K, ratio, quota) for modality in samples]


def judge(F, H, memory_of_one, alpha, L, walk, top, neighbours):
    """Patch scores s_h * s_g of one sample in one modality, and its image score."""
    banks, edges = memory_of_one
    X, moved = propagate(F, H, H.sum(axis=1) == 0, banks, alpha, L, walk)
    s_g, s_h = patch_scores(X, moved, edge_features(F, H), H, edges, top)
    score = s_g * s_h
    worst = int(score.argmax())
    nodes, after = np.concatenate(banks), np.concatenate(moved)
    nearest = min(range(len(after)), key=lambda a: _d(X[worst], after[a]))
    return score, score[worst] * reweight(F[worst], nodes[nearest], list(nodes), neighbours)


def score(
    sample, foreground, memories, K, tau, alpha, L, walk, top, neighbours, uniforms, grid, size, power=1.5
):
    """Image score and pixel map of one sample under product fusion; `sample[m]` is modality m."""
    H = incidence(sample[0], kmeans(sample[0], foreground, K, uniforms), foreground, tau)
    judged = [judge(F, H, m, alpha, L, walk, top, neighbours) for F, m in zip(sample, memories, strict=True)]
    maps = [upsample(patch, grid, size) for patch, _ in judged]
    fused = np.array(
        [[fuse([m[y, x] for m in maps], None, "product") for x in range(size)] for y in range(size)]
    )
    return math.prod(image for _, image in judged), smooth(fused, power)


def _d(a, b):
    return math.sqrt(float(((a - b) ** 2).sum()))


def _cos(a, b):
    return float(a @ b) / (max(math.sqrt(float(a @ a)), 1e-12) * max(math.sqrt(float(b @ b)), 1e-12))


def _mean(features, width):
    return sum(features) / len(features) if features else np.zeros(width)
