"""The reader for real faces without a GPU: MediaPipe's landmarks, Action Units from geometry, dlib identity.

Frames are read one by one (MediaPipe's image mode), so a clip measures the same whatever was read before.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.errors import MissingPackage, ModelUnavailable
from argen.face import geometry, models
from argen.face.expression import expressions_of, units_of_blendshapes
from argen.face.follow import FaceBox, follow_one_face
from argen.face.quiet import native_stderr_silenced
from argen.face.track import FaceTrack

IDENTITY_FRAMES: Final = 5
"""Frames of a clip that get an identity embedding, evenly spread: the network costs ten landmark passes."""
MOST_FACES: Final = 4
"""Faces looked for in a frame; more count as this many."""
SMALLEST_WINDOW: Final = 48
"""Side in pixels below which a part of a frame is not searched."""
_FIVE_POINTS: Final = (263, 362, 33, 133, 2)
"""Eye corners and nose base, in the order of dlib's five-point alignment."""


@runtime_checkable
class _Landmarker(Protocol):
    _handle: object

    def detect(self, image: object) -> Any: ...  # noqa: ANN401 - of an untyped library
    def close(self) -> None: ...


@runtime_checkable
class _IdentityNet(Protocol):
    def compute_face_descriptor(self, chip: object) -> Any: ...  # noqa: ANN401 - likewise


@dataclass(frozen=True)
class _Face:
    landmarks: Float32[ndarray, "478 3"]
    blendshapes: Mapping[str, float]

    def box(self, index: int) -> FaceBox:
        low = self.landmarks[:, :2].min(axis=0)
        width, height = np.ptp(self.landmarks[:, :2], axis=0)
        return FaceBox(index, float(low[0]), float(low[1]), float(width), float(height))


class MediapipeReader:
    """A FaceReader for photographs and video of people. Not for use from several threads at once."""

    name = "mediapipe"
    # Among 102 people the two most alike strangers are this far apart, a person from herself on average
    # 0.16, two strangers 0.60 (dlib's own unnormalised distances are 1.4 times that: 0.47, 0.23, 0.84).
    same_person = 0.33

    def __init__(self, landmarker: Path | None = None) -> None:
        """Load the landmarker (`landmarker`: its file, if it is not to be searched) and the identity net.

        Raises ModelUnavailable, or MissingPackage where mediapipe or dlib is not installed.
        """
        landmarker_file = models.locate("landmarker", landmarker)
        identity_file = models.locate("identity")
        used = (landmarker_file, identity_file, models.locate("au_to_mesh"))
        self.weights: Mapping[str, str] = {path.name: models.file_hash(path) for path in used}
        self._landmarker = _load_landmarker(landmarker_file)
        # Left to the interpreter's end, MediaPipe's own clean-up fails noisily.
        self._finalizer = weakref.finalize(self, _close, self._landmarker)
        self._identity = _load_identity(identity_file)

    def __call__(
        self,
        frames: UInt8[ndarray, "T H W 3"],
        first_units: Float32[ndarray, "20"] | None = None,
        neutral: Float32[ndarray, "478 3"] | None = None,
    ) -> FaceTrack:
        """Measure every frame.

        Movement is measured from the calmest frame; or from frame 0, where `first_units` says what that one
        shows; or from `neutral`: landmarks in pixels of the same person at rest.
        """
        found = [self._faces(frame) for frame in frames]
        boxes = [[face.box(i) for i, face in enumerate(faces)] for faces in found]
        followed = zip(found, follow_one_face(boxes), strict=True)
        chosen = [None if box is None else faces[box.index] for faces, box in followed]
        landmarks = np.full((len(frames), 478, 3), np.nan, np.float32)
        for i, face in enumerate(chosen):
            if face is not None:
                landmarks[i] = face.landmarks
        units, confidence = _measure_units(landmarks, chosen, first_units, neutral)
        return FaceTrack(
            action_units=units,
            expressions=expressions_of(units),
            identity=self._embed(frames, landmarks),
            landmarks=landmarks,
            face_count=np.array([len(faces) for faces in found], np.int64),
            confidence=confidence,
            reader=self.name,
            weights=self.weights,
        )

    def all_landmarks(self, frame: UInt8[ndarray, "H W 3"]) -> Float32[ndarray, "N 478 3"]:
        """Landmarks, in pixels, of every face in one frame."""
        return np.array([face.landmarks for face in self._faces(frame)], np.float32).reshape(-1, 478, 3)

    def close(self) -> None:
        """Release MediaPipe's graph; the reader cannot be used after."""
        self._finalizer()

    def _faces(self, frame: UInt8[ndarray, "H W 3"]) -> list[_Face]:
        """Every face; where there seems to be none, a closer look in parts of the frame finds small ones."""
        if faces := self._detect(frame):
            return faces
        for windows in search_windows(*frame.shape[:2]):
            near = [self._detect(frame[y : y + side, x : x + side], (x, y)) for x, y, side in windows]
            if faces := _distinct([face for found in near for face in found]):
                return faces
        return []

    def _detect(self, frame: UInt8[ndarray, "H W 3"], offset: tuple[int, int] = (0, 0)) -> list[_Face]:
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
        result = self._landmarker.detect(image)
        height, width = frame.shape[:2]
        scale = np.array([width, height, width], np.float32)  # MediaPipe's z has the scale of x
        shift = np.array([*offset, 0], np.float32)
        return [
            _Face(
                np.array([(p.x, p.y, p.z) for p in points], np.float32) * scale + shift,
                {shape.category_name: shape.score for shape in shapes},
            )
            for points, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True)
        ]

    def _embed(
        self, frames: UInt8[ndarray, "T H W 3"], landmarks: Float32[ndarray, "T 478 3"]
    ) -> Float32[ndarray, "T 128"]:
        import dlib

        rows = np.full((len(frames), 128), np.nan, np.float32)
        seen = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))
        for i in seen[spread(len(seen), IDENTITY_FRAMES)]:
            chip = dlib.get_face_chip(np.ascontiguousarray(frames[i]), _dlib_shape(landmarks[i]), size=150)
            vector = np.asarray(self._identity.compute_face_descriptor(chip), np.float32)
            rows[i] = vector / max(float(np.linalg.norm(vector)), 1e-9)
        return rows


def spread(count: int, most: int) -> ndarray:
    """At most `most` of `count` indices, evenly spread, first and last included."""
    return (
        np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else np.arange(0)
    )


def search_windows(height: int, width: int) -> Iterator[list[tuple[int, int, int]]]:
    """Squares (left, top, side) to look into, coarse ones first.

    MediaPipe sees no face that is smaller than a tenth of the picture.
    """
    for side in (min(height, width), min(height, width) // 2):
        if SMALLEST_WINDOW <= side < max(height, width):
            yield [(x, y, side) for y in _steps(height, side) for x in _steps(width, side)]


def _steps(length: int, side: int) -> list[int]:
    """Starts of windows that overlap by half or more and reach both ends."""
    count = 1 + -(-2 * (length - side) // side)
    return [int(start) for start in np.linspace(0, length - side, count).round()]


def _distinct(faces: list[_Face]) -> list[_Face]:
    """Without the ones that another window saw too; the largest view of each is kept."""
    kept: list[FaceBox] = []
    boxes = sorted((face.box(i) for i, face in enumerate(faces)), key=lambda box: -box.area)
    for box in boxes:
        if all(box.distance(other) > max(other.width, other.height) / 2 for other in kept):
            kept.append(box)
    return [faces[box.index] for box in kept]


def _measure_units(
    landmarks: Float32[ndarray, "T 478 3"],
    faces: list[_Face | None],
    first_units: Float32[ndarray, "20"] | None,
    neutral: Float32[ndarray, "478 3"] | None,
) -> tuple[Float32[ndarray, "T 20"], Float32[ndarray, "20"]]:
    own = [None if face is None else units_of_blendshapes(face.blendshapes) for face in faces]
    activity = np.array([np.inf if units is None else float(units.sum()) for units in own])
    calm = geometry.calm_frame(landmarks, activity)
    if calm < 0:
        return np.full((len(landmarks), 20), np.nan, np.float32), np.zeros(20, np.float32)
    if neutral is not None:
        return geometry.action_units_from(landmarks, neutral), _confidence(neutral)
    if first_units is not None and faces[0] is not None:
        return geometry.action_units_from(landmarks, landmarks[0], first_units), _confidence(landmarks[0])
    rest = landmarks[calm]
    return geometry.action_units_from(landmarks, rest, own[calm]), _confidence(rest)


def _confidence(neutral: Float32[ndarray, "478 3"]) -> Float32[ndarray, "20"]:
    return geometry.reliability(geometry.expected_error(neutral))


def _dlib_shape(landmarks: Float32[ndarray, "478 3"]) -> object:
    import dlib

    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    box = dlib.rectangle(*(int(v) for v in (*low, *high)))
    points = [dlib.point(*(int(v) for v in landmarks[i, :2].round())) for i in _FIVE_POINTS]
    return dlib.full_object_detection(box, points)


def _load_landmarker(path: Path) -> _Landmarker:
    try:
        import mediapipe
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions
    except ImportError as error:
        raise MissingPackage("mediapipe is not installed: pip install 'argen[faces]'") from error
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(path)),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=MOST_FACES,
        output_face_blendshapes=True,
    )
    blank = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.zeros((64, 64, 3), np.uint8))
    try:
        with native_stderr_silenced():
            landmarker: _Landmarker = vision.FaceLandmarker.create_from_options(options)
            landmarker.detect(blank)  # the graph says its last warnings at the first image
    except (RuntimeError, ValueError) as error:
        raise ModelUnavailable(f"{path}: MediaPipe cannot load it; leave it out of the recipe") from error
    return landmarker


def _load_identity(path: Path) -> _IdentityNet:
    try:
        import dlib
    except ImportError as error:
        raise MissingPackage("dlib is not installed: pip install 'argen[faces]'") from error
    net: _IdentityNet = dlib.face_recognition_model_v1(str(path))
    return net


def _close(landmarker: _Landmarker) -> None:
    try:
        with native_stderr_silenced():
            landmarker.close()
    except RuntimeError:
        # At the interpreter's end its threads are gone before anything can be closed; without this its own
        # clean-up would fail once more, and loudly.
        landmarker._handle = None
