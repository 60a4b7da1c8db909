"""The loaded models of a run, and what they do for a job: request, generate, measure, judge.

Loaded once. Every answer is a pure function of the job, so that it doesn't matter who asks, or when.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.affect.describe import Describer, why_not_expandable
from argen.config import Recipe
from argen.dataset.clip import Clip, Dataset
from argen.dataset.fingerprint import fingerprint
from argen.dataset.video import probe, read_frames, spread
from argen.errors import JobError, NoFaceFound
from argen.face.cache import load_track, save_track
from argen.face.reader import load_reader
from argen.face.track import FaceReader, FaceTrack, calmest_frame
from argen.gate import Verdict, judge
from argen.generate.load import load_generator
from argen.generate.request import Generator, Request
from argen.plan import Job

log = logging.getLogger(__name__)
SOURCES_AT_HAND = 16  # sources kept decoded: the jobs of one source come close together


@dataclass(frozen=True)
class Source:
    """The calm frame of a training clip, from which clips are made."""

    clip: Clip
    frame_index: int
    frame: UInt8[ndarray, "H W 3"]
    landmarks: Float32[ndarray, "478 3"]
    action_units: Float32[ndarray, "20"]
    person: Float32[ndarray, "D"]


class Workshop:
    """Reader, generator and describer of one process."""

    def __init__(self, dataset: Dataset, recipe: Recipe, cache: Path) -> None:
        self._dataset, self._recipe, self._cache = dataset, recipe, cache
        self._clips = {clip.id: clip for clip in dataset.train}
        self._sources: OrderedDict[str, Source | JobError] = OrderedDict()
        self._reader: FaceReader = load_reader(recipe.face)
        self._generator: Generator = load_generator(recipe.generate)
        self._describer: Describer | None = None

    @property
    def batch(self) -> int:
        """Jobs that one call of the generator takes."""
        return self._generator.batch

    @property
    def made_by(self) -> Mapping[str, str]:
        """What made the pixels: generator, model, revision or hash, adapter."""
        return {"generator": self._generator.name, **self._generator.provenance}

    @property
    def models(self) -> dict[str, Any]:
        """All weights that decide the outcome, for run.json."""
        return {
            "generator": dict(self.made_by),
            "reader": {"name": self._reader.name, "weights": dict(self._reader.weights)},
        }

    def clip(self, clip_id: str) -> Clip:
        """A training clip by id."""
        return self._clips[clip_id]

    def why_not(self, label: str) -> str | None:
        """Why a class cannot be expanded, or None."""
        return why_not_expandable(label, self._dataset.counts("train"), self._recipe.affect)

    def learn(self, labels: Iterable[str], most: int | None = None) -> None:
        """Measure the training clips of the classes to be expanded; set up profiles and exemplars.

        At most `most` clips a class, where a trial needs no more.
        """
        wanted = set(labels)
        tracks: dict[str, list[tuple[Clip, FaceTrack]]] = {label: [] for label in wanted}
        for clip in self._dataset.train:
            if clip.label not in wanted or clip.extra.get("synthetic") == "true":
                continue
            if most is not None and len(tracks[clip.label]) >= most:
                continue
            try:
                tracks[clip.label].append((clip, self.track_of(clip)))
            except JobError as error:
                log.warning("%s: passed over as an example of '%s': %s", clip.id, clip.label, error)
        self._describer = Describer(tracks, self._recipe.affect)

    def track_of(self, clip: Clip) -> FaceTrack:
        """The FaceTrack of a source clip: measured once, then read from the cache."""
        path = self._cache / "tracks" / f"{fingerprint(clip)[:24]}-{self._reader.name}.npz"
        if path.exists():
            return load_track(path)
        track = self._reader(read_frames(clip, self._recipe.face.max_frames))
        save_track(path, track)
        return track

    def source(self, clip_id: str) -> Source:
        """The calm frame of a clip. Raises NoFaceFound or UnreadableClip."""
        if clip_id not in self._sources:
            try:
                self._sources[clip_id] = self._find_source(self._clips[clip_id])
            except JobError as error:
                self._sources[clip_id] = error
            if len(self._sources) > SOURCES_AT_HAND:
                self._sources.popitem(last=False)
        found = self._sources[clip_id]
        if isinstance(found, JobError):
            raise found
        return found

    def _find_source(self, clip: Clip) -> Source:
        track = self.track_of(clip)
        row = calmest_frame(track)
        if row < 0:
            seen = "several faces" if (track.face_count > 1).any() else "no face"
            raise NoFaceFound(
                f"{clip.id}: {seen} in every frame; a source needs a frame with exactly one face"
            )
        most = self._recipe.face.max_frames
        frame = read_frames(clip, most)[row]
        index = spread(probe(clip).frames, most)[row]
        return Source(clip, index, frame, track.landmarks[row], track.action_units[row], track.person)

    def requests(self, jobs: Sequence[Job]) -> list[tuple[Source, Request] | JobError]:
        """What to generate for each job, or why nothing can be."""
        if self._describer is None:
            raise RuntimeError("learn() comes before requests()")
        found: list[tuple[Source, Request] | JobError] = []
        for job in jobs:
            try:
                source = self.source(job.source)
            except JobError as error:
                found.append(error)
                continue
            settings = self._recipe.generate
            affect = self._describer.describe(
                job.label,
                source_frame=source.frame,
                source_units=source.action_units,
                source_subject=source.clip.subject,
                seed=job.seed,
                frames=settings.frames,
                fps=settings.fps,
            )
            found.append(
                (source, Request(source.frame, source.landmarks, source.action_units, affect, job.seed))
            )
        return found

    def generate(self, requests: Sequence[Request]) -> list[UInt8[ndarray, "T H W 3"]]:
        """The clips, in order."""
        return self._generator(requests)

    def measure(self, frames: UInt8[ndarray, "T H W 3"]) -> FaceTrack:
        """The FaceTrack of a generated clip: every frame of it."""
        return self._reader(frames)

    def judge(
        self, job: Job, source: Source, request: Request, frames: UInt8[ndarray, "T H W 3"], track: FaceTrack
    ) -> Verdict:
        """The gate's verdict on a generated clip."""
        if self._describer is None:
            raise RuntimeError("learn() comes before judge()")
        return judge(
            frames,
            track,
            request.affect,
            source=source.frame,
            person=source.person,
            toward=self._describer.direction(job.label),
            same_person=self._reader.same_person,
            settings=self._recipe.gate,
        )

    def close(self) -> None:
        """Release native resources."""
        self._reader.close()


@contextmanager
def open_workshop(dataset: Dataset, recipe: Recipe, cache: Path) -> Iterator[Workshop]:
    """Load the models of a recipe; closes them at the end. Raises EnvironmentFault if one is missing."""
    workshop = Workshop(dataset, recipe, cache)
    try:
        yield workshop
    finally:
        workshop.close()
