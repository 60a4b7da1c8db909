"""What every generator takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.affect.affect import Affect


@dataclass(frozen=True)
class Request:
    """One clip to generate: a source frame, what its face is now, what it should show, and the seed."""

    frame: UInt8[ndarray, "H W 3"]
    landmarks: Float32[ndarray, "478 3"]  # pixels on `frame`; NaN where the reader has none
    action_units: Float32[ndarray, "20"]  # the source's own, to be subtracted
    affect: Affect
    seed: int


@runtime_checkable
@runtime_checkable
class Generator(Protocol):
    """Loaded once, called with up to `batch` requests; request i gives clip i whatever the batch."""

    name: str
    provenance: Mapping[str, str]  # model, revision or hash, adapter hash: whatever made the pixels
    batch: int

    @property
    def domain(self) -> str | None:
        """The only world whose pictures it can take ("puppets"), if it is not for any."""
        ...

    def takes_whole(self, frame: UInt8[ndarray, "H W 3"]) -> bool:
        """Whether clips begin with this source frame as it is; others are cut around the face."""
        ...

    def __call__(self, requests: Sequence[Request]) -> list[UInt8[ndarray, "T H W 3"]]:
        """One clip a request, in order."""
        ...
