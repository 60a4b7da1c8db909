"""Bidirectional training-free message passing between a test sample and the memory.

Nodes are the N test patches and the A memory nodes. Hyperedges are the test's, the memory's, and two
families of pairs: every test patch with its likest memory node, every memory node with its likest test
patch. With H their incidence and W = H D_e^-1 H^T + I, A = D^-1/2 W D^-1/2, the new features are S X,
S = sum_{l<L} alpha (1 - alpha)^l A^l + (1 - alpha)^L A^L. Nothing of size (N + A)^2 is made: W X is two sums
over the members of hyperedges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from argen.anomaly.memory import Memory

COLUMNS = 64  # features propagated at once: bounds what is held beside the memory
ROWS = 4096  # memory nodes compared at once


@dataclass(frozen=True)
class Members:
    """A sparse incidence: node `node[p]` is in hyperedge `edge[p]`."""

    node: Int64[Tensor, "P"]
    edge: Int64[Tensor, "P"]
    edges: int


def likest(
    F: Float[Tensor, "N D"], memory: Float[Tensor, "A D"]
) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "A"]]:
    """Cosine nearest memory node of every test patch, and nearest test patch of every memory node."""
    unit = torch.nn.functional.normalize(F, dim=1).T
    best = F.new_full((len(F),), -torch.inf)
    to_memory = torch.zeros(len(F), dtype=torch.int64, device=F.device)
    to_test = []
    for start in range(0, len(memory), ROWS):
        S = torch.nn.functional.normalize(memory[start : start + ROWS], dim=1) @ unit
        to_test.append(S.argmax(dim=1))
        value, row = S.max(dim=0)
        to_memory = torch.where(value > best, row + start, to_memory)
        best = torch.maximum(best, value)
    return to_memory, torch.cat(to_test)


def members(
    F: Float[Tensor, "N D"], H: Bool[Tensor, "N K"], background: Bool[Tensor, "N"], memory: Memory
) -> Members:
    """[test hyperedges | memory hyperedges | N test-to-memory pairs | A memory-to-test pairs]."""
    N, A, K = len(F), len(memory), H.shape[1] + 1
    test_node, test_edge = torch.cat([H, background[:, None]], dim=1).nonzero(as_tuple=True)
    to_memory, to_test = likest(F, memory.nodes)
    i, a = torch.arange(N, device=F.device), torch.arange(A, device=F.device)
    pairs = K + len(memory.edges)
    node = torch.cat([test_node, N + a, i, N + to_memory, N + a, to_test])
    edge = torch.cat([test_edge, K + memory.edge_of, pairs + i, pairs + i, pairs + N + a, pairs + N + a])
    return Members(node, edge, pairs + N + A)


def propagate(
    X: Float[Tensor, "M D"], links: Members, alpha: float, L: int, walk: bool = False
) -> Float[Tensor, "M D"]:
    """S X, in place of X, some columns at a time. `walk`: with D^-1 W in the place of A, see CifSettings."""
    D_e = torch.bincount(links.edge, minlength=links.edges).clamp_min(1).to(X.dtype)[:, None]
    D = (torch.bincount(links.node, minlength=len(X)) + 1).to(X.dtype)[:, None]  # W 1 = degree + 1
    before, after = (torch.ones_like(D), 1 / D) if walk else (D.rsqrt(), D.rsqrt())
    for columns in _blocks(X.shape[1]):
        x = X[:, columns]
        total = alpha * x
        for step in range(1, L + 1):
            x = _normalised(x * before, links, D_e) * after
            share = (1 - alpha) ** step
            total = total + (share if step == L else alpha * share) * x
        X[:, columns] = total
    return X


def _normalised(x: Tensor, links: Members, D_e: Tensor) -> Tensor:
    """W x = (H D_e^-1 H^T + I) x."""
    mean = x.new_zeros(links.edges, x.shape[1]).index_add(0, links.edge, x[links.node]) / D_e
    return x.index_add(0, links.node, mean[links.edge])


def _blocks(width: int) -> Iterator[slice]:
    for start in range(0, width, COLUMNS):
        yield slice(start, start + COLUMNS)
