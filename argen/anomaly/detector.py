"""The detector: k normals in, how strange a sample is and where out. Read this file for the whole method."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from argen.anomaly.fusion import fuse, sharpen_and_smooth, upsample
from argen.anomaly.hypergraph import centroids, edge_features, incidence
from argen.anomaly.memory import Memory, build_memories
from argen.anomaly.patches import Patches
from argen.anomaly.propagation import members, propagate
from argen.anomaly.search import allowed, nearest_by_edge, reweight
from argen.anomaly.settings import CifSettings
from argen.errors import ModelUnavailable, UsageError

BATCH = 16


@dataclass(frozen=True)
class Scores:
    """Of B samples: one number each, and one for every pixel; larger is stranger."""

    image: Float[Tensor, "B"]
    pixel: Float[Tensor, "B S S"]
    patch: Float[Tensor, "M B N"]  # before fusion


@dataclass(frozen=True)
class Detector:
    """What was learnt from k normals. Immutable; `fit` makes one, `save` and `load` keep it."""

    memories: tuple[Memory, ...]
    scale: Float[Tensor, "M 2"]  # mean and deviation of the normals' patch scores, a modality
    grid: tuple[int, int]
    settings: CifSettings
    size: int = 224  # of the pixel map
    info: Mapping[str, Any] = field(default_factory=dict)  # whatever the maker wants to find again

    @classmethod
    def fit(
        cls,
        normals: Patches,
        settings: CifSettings | None = None,
        size: int = 224,
        info: Mapping[str, Any] | None = None,
    ) -> Detector:
        """Learn from normals alone; their order does not matter."""
        if len(normals) == 0:
            raise UsageError("no normal sample: one at least is needed")
        settings = settings or CifSettings()
        memories = tuple(build_memories(normals.modalities, normals.foreground, settings))
        unscaled = cls(memories, torch.tensor([[0.0, 1.0]] * len(memories)), normals.grid, settings, size)
        own = torch.cat([unscaled._patch_scores(normals[i : i + 1])[0] for i in range(len(normals))], dim=1)
        own = own.flatten(1)
        scale = torch.stack([own.mean(dim=1), own.std(dim=1).clamp_min(1e-6)], dim=1)
        return cls(memories, scale, normals.grid, settings, size, info or {})

    def score(self, samples: Patches) -> Scores:
        """Judge samples; each gets the same scores whatever else is in the call."""
        self._check(samples)
        batches = [self._score(samples[i : i + BATCH]) for i in range(0, len(samples), BATCH)]
        return Scores(
            torch.cat([b.image for b in batches]),
            torch.cat([b.pixel for b in batches]),
            torch.cat([b.patch for b in batches], dim=1),
        )

    def save(self, folder: Path | str) -> None:
        """Write `memory.safetensors` and `detector.json`."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"scale": self.scale}
        for m, memory in enumerate(self.memories):
            tensors |= {f"{m}.nodes": memory.nodes, f"{m}.bounds": memory.bounds, f"{m}.edges": memory.edges}
        save_file({k: t.cpu().contiguous() for k, t in tensors.items()}, folder / "memory.safetensors")
        head = {"grid": self.grid, "size": self.size, "settings": asdict(self.settings), "info": self.info}
        (folder / "detector.json").write_text(json.dumps(head, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> Detector:
        """Read what `save` wrote. Raises ModelUnavailable."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            head = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "memory.safetensors", device=device)
            count = len(tensors["scale"])
            memories = tuple(
                Memory(*(tensors[f"{m}.{part}"] for part in ("nodes", "bounds", "edges")))
                for m in range(count)
            )
            settings = CifSettings(**head["settings"])
            return cls(memories, tensors["scale"], tuple(head["grid"]), settings, head["size"], head["info"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ModelUnavailable(
                f"{folder}: not a fitted detector ({error}); make one with `argen anomaly fit`"
            ) from error

    def _check(self, samples: Patches) -> None:
        widths = [F.shape[2] for F in samples.modalities]
        expected = [memory.nodes.shape[1] for memory in self.memories]
        if widths != expected or samples.grid != self.grid:
            raise UsageError(
                f"samples have features {widths} on {samples.grid}, the detector {expected} on {self.grid}; "
                "use the features it was fitted with"
            )

    def _score(self, samples: Patches) -> Scores:
        patch, factor = self._patch_scores(samples)
        image = fuse(patch.amax(dim=2) * factor, self.scale, self.settings.fusion)
        maps = torch.stack([upsample(scores, self.grid, self.size) for scores in patch])
        fused = fuse(maps, self.scale, self.settings.fusion)
        return Scores(image, sharpen_and_smooth(fused, self.settings.power), patch)

    def _patch_scores(self, samples: Patches) -> tuple[Tensor, Tensor]:
        """Patch scores `[M B N]` and the re-weighting of each sample's highest `[M B]`."""
        s, lead, foreground = self.settings, samples.modalities[0], samples.foreground
        K = s.K if s.hypergraph else 1
        H = incidence(lead, centroids(lead, foreground, K, s.seed), foreground, s.tau)
        scores, factors = [], []
        for F, memory in zip(samples.modalities, self.memories, strict=True):
            E = edge_features(F, H)
            judged = [_judge(F[b], H[b], E[b], memory, s) for b in range(len(F))]
            scores.append(torch.stack([score for score, _ in judged]))
            factors.append(torch.tensor([factor for _, factor in judged], device=F.device, dtype=F.dtype))
        return torch.stack(scores), torch.stack(factors)


def _judge(
    F: Float[Tensor, "N D"],
    H: Bool[Tensor, "N K"],
    E: Float[Tensor, "K D"],
    memory: Memory,
    s: CifSettings,
) -> tuple[Float[Tensor, "N"], float]:
    """One sample in one modality: s_h * s_g of every patch, and the factor of the highest."""
    X, known = F, memory.nodes
    if s.propagation:
        links = members(F, H, ~H.any(dim=1), memory)
        both = propagate(torch.cat([F, memory.nodes]), links, s.alpha, s.L, s.walk)
        X, known = both[: len(F)], both[len(F) :]
    distance, row = nearest_by_edge(X, known, memory.bounds)
    s_g = distance.amin(dim=1)
    score = s_g
    if s.guided:
        s_h = distance.masked_fill(~allowed(E, H, memory, s.top), torch.inf).amin(dim=1)
        score = s_h * s_g
    worst = int(score.argmax())
    own = int(row[worst, int(distance[worst].argmin())])
    return score, reweight(F[worst], own, memory.nodes, s.neighbours)
