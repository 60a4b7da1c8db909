"""The reference reader: py-feat's Detectorv2 networks, fed with frames and never with files.

Action Units, expressions and the mesh come from its multitask network, identity from ArcFace. Where the
weights of its own face detector are not at hand, MediaPipe says where the faces are. The weights allow no
commercial use, and were trained on public sets (CK+, DISFA, BP4D, RAF-DB, AffectNet): on those, what this
reader says is not independent evidence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from numpy import ndarray

from argen.errors import MissingPackage, ModelUnavailable
from argen.face import models
from argen.face.action_units import ACTION_UNITS, EXPRESSIONS
from argen.face.follow import FaceBox, follow_one_face
from argen.face.pyfeat_weights import PyfeatWeights
from argen.face.track import FaceTrack

if TYPE_CHECKING:
    from argen.face.mediapipe_reader import MediapipeReader

Table = Mapping[str, ndarray]
"""Columns by name, as in py-feat's Fex."""
BATCH: Final = 8
"""Frames per call of the networks."""
FOREHEAD: Final = 0.12
"""A detector's box reaches this share of its height above MediaPipe's highest point."""


class PyfeatReader:
    """A FaceReader by py-feat. Not for use from several threads at once."""

    name = "pyfeat"
    # Cosine 0.4 between ArcFace embeddings, a common operating point; not measured by us.
    same_person = 1.1

    def __init__(self, weights: PyfeatWeights, device: str = "cpu", landmarker: Path | None = None) -> None:
        """Load the networks.

        Raises MissingPackage without py-feat, ModelUnavailable for files that are not what they should be.
        """
        used = [weights.multitask, weights.identity, weights.detector]
        self.weights: Mapping[str, str] = {path.name: models.file_hash(path) for path in used if path}
        self._detector = _load_detector(weights, device)
        self._finder: MediapipeReader | None = None
        if weights.detector is None:
            from argen.face.mediapipe_reader import MediapipeReader

            self._finder = MediapipeReader(landmarker)

    def __call__(
        self, frames: UInt8[ndarray, "T H W 3"], first_units: Float32[ndarray, "20"] | None = None
    ) -> FaceTrack:
        """Measure every frame; `first_units` is not needed: every frame is measured by itself."""
        parts = [self._read(frames[i : i + BATCH], i) for i in range(0, len(frames), BATCH)]
        table = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
        return track_from_rows(table, len(frames), self.weights)

    def close(self) -> None:
        """Release the networks and MediaPipe's graph."""
        if self._finder is not None:
            self._finder.close()
        del self._detector

    def _read(self, frames: UInt8[ndarray, "B H W 3"], first: int) -> dict[str, ndarray]:
        """py-feat's columns, a row for every face of these frames, and the frame's number."""
        import torch

        images = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            if self._finder is None:
                threshold = self._detector.face_detection_threshold
                faces = self._detector.detect_faces(images, threshold)
            else:
                boxes = [torch.from_numpy(face_boxes(self._finder.all_landmarks(frame))) for frame in frames]
                faces = self._detector.crop_faces_from_boxes(images, boxes)
            table = self._detector(faces, _unscaled(images))
        frame = np.repeat(np.arange(first, first + len(frames)), [len(face["faces"]) for face in faces])
        return {column: table[column].to_numpy() for column in table.columns} | {"frame": frame}


def track_from_rows(table: Table, length: int, weights: Mapping[str, str]) -> FaceTrack:
    """A track from the columns of py-feat's Fex and a `frame` number; one row a face.

    Rows of frames without a face are NaN, as py-feat leaves them.
    """
    real = np.isfinite(table["AU01"].astype(float))
    rows = {column: values[real] for column, values in table.items()}
    frame = rows["frame"].astype(np.int64)
    box = np.stack([rows[f"FaceRect{side}"] for side in ("X", "Y", "Width", "Height")], axis=1).astype(float)
    boxes = [[FaceBox(int(row), *box[row]) for row in np.flatnonzero(frame == i)] for i in range(length)]
    chosen = np.array([-1 if face is None else face.index for face in follow_one_face(boxes)], np.int64)
    return FaceTrack(
        action_units=np.clip(_rows(rows, list(ACTION_UNITS), chosen), 0.0, 1.0),
        expressions=_rows(rows, [name.capitalize() for name in EXPRESSIONS], chosen),
        identity=_unit(_rows(rows, [f"Identity_{i + 1}" for i in range(512)], chosen)),
        landmarks=_mesh(rows, chosen),
        face_count=np.bincount(frame, minlength=length).astype(np.int64),
        # py-feat publishes no reliability per unit; its own probabilities stand as they are.
        confidence=np.ones(len(ACTION_UNITS), np.float32),
        reader=PyfeatReader.name,
        weights=weights,
    )


def face_boxes(landmarks: Float32[ndarray, "N 478 3"]) -> Float32[ndarray, "N 4"]:
    """Boxes (left, top, right, bottom) as a face detector would draw them around the landmarks."""
    low, high = landmarks[:, :, :2].min(axis=1), landmarks[:, :, :2].max(axis=1)
    low[:, 1] -= FOREHEAD * (high[:, 1] - low[:, 1])
    return np.concatenate([low, high], axis=1).astype(np.float32).reshape(-1, 4)


def _rows(rows: Table, columns: list[str], chosen: Int[ndarray, "T"]) -> Float32[ndarray, "T C"]:
    values = np.stack([rows[column] for column in columns], axis=1).astype(np.float32)
    picked = np.full((len(chosen), len(columns)), np.nan, np.float32)
    picked[chosen >= 0] = values[chosen[chosen >= 0]]
    return picked


def _mesh(rows: Table, chosen: Int[ndarray, "T"]) -> Float32[ndarray, "T 478 3"]:
    """Pixels; py-feat's depth is in widths of the square it cut out."""
    axes = [_rows(rows, [f"mesh_{axis}_{i}" for i in range(478)], chosen) for axis in "xyz"]
    width = _rows(rows, ["FaceRectWidth"], chosen)
    return np.stack([axes[0], axes[1], axes[2] * width], axis=2)


def _unit(vectors: Float[ndarray, "T D"]) -> Float32[ndarray, "T D"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), np.float32)


def _unscaled(images: Any) -> dict[str, Any]:  # noqa: ANN401 - a tensor, and torch is not imported here
    """What py-feat's loader would say of frames that were neither scaled nor padded."""
    import torch

    nothing = torch.zeros(len(images))
    padding = dict.fromkeys(("Left", "Top", "Right", "Bottom"), nothing)
    return {"Image": images, "Scale": torch.ones(len(images)), "Padding": padding}


def _load_detector(weights: PyfeatWeights, device: str) -> Any:  # noqa: ANN401 - py-feat has no types
    with _process_settings_kept():
        try:
            from feat.detector_v2 import Detectorv2
            from feat.face_detectors.Retinaface.Retinaface_test import Retinaface
            from feat.multitask.inference import _DLIB68_IDX, CHIP_SIZE, MultitaskModel
        except ImportError as error:
            raise MissingPackage(
                f"py-feat cannot be imported ({error}); pip install 'argen[faces]'"
            ) from error
        import torch

        # Detectorv2() fetches its face detector from the hub whatever is given, so it is put together here.
        detector = Detectorv2.__new__(Detectorv2)
        torch.nn.Module.__init__(detector)
        detector.device = torch.device(device)
        detector.face_size, detector.face_detection_threshold = CHIP_SIZE, 0.5
        detector.info = {"identity_model": "arcface" if weights.identity else None}
        detector._idx68 = _DLIB68_IDX.to(device)
        detector.multitask = _checked(
            weights.multitask, lambda: MultitaskModel(device, weights_path=weights.multitask)
        )
        detector.identity_detector = _load_arcface(weights.identity, device)
        detector.face_detector = None
        if weights.detector is not None:
            finder = Retinaface(device, pretrained="none")
            _load_state(finder.net, weights.detector)
            detector.face_detector = finder
        return detector.eval()


def _load_arcface(path: Path | None, device: str) -> Any:  # noqa: ANN401 - py-feat has no types
    if path is None:
        return None
    from feat.identity_detectors.arcface.arcface_model import ArcFace

    network = ArcFace(backbone="r50")
    _load_state(network.net, path)
    return network.eval().to(device)


def _load_state(network: Any, path: Path) -> None:  # noqa: ANN401 - py-feat has no types
    from safetensors.torch import load_file

    missing, unexpected = _checked(path, lambda: network.load_state_dict(load_file(path), strict=False))
    # The counters of batch norm are not in files that were made from ONNX, and not needed.
    if unexpected or any("num_batches_tracked" not in key for key in missing):
        raise ModelUnavailable(f"{path}: these are not the weights of {type(network).__name__}; {_AGAIN}")


_AGAIN: Final = "download the file again"


def _checked(path: Path, load: Any) -> Any:  # noqa: ANN401 - whatever is loaded
    if path.suffix != ".safetensors":
        raise ModelUnavailable(f"{path}: weights are read from safetensors only, never from pickles")
    try:
        return load()
    except Exception as error:  # safetensors, json and torch each raise their own for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelUnavailable(f"{path}: cannot be loaded ({reason}); {_AGAIN}") from error


@contextmanager
def _process_settings_kept() -> Iterator[None]:
    """Importing py-feat sets OMP_NUM_THREADS for the whole process; its detector turns gradients off."""
    import torch

    environment, threads, gradients = dict(os.environ), torch.get_num_threads(), torch.is_grad_enabled()
    try:
        yield
    finally:
        for key in set(os.environ) - set(environment):
            del os.environ[key]
        torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)
