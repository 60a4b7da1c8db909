"""The loaded models of a run, and what they do for a job: request, generate, measure, judge.

Loaded once. Every answer is a pure function of the job, so that it doesn't matter who asks, or when.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.affect.captions import load_prompts
from argen.affect.describe import Ask, Describer, Wish
from argen.affect.emotion import canonical
from argen.affect.profile import sample_apex
from argen.config import AffectSettings, Recipe
from argen.dataset.clip import Clip, Dataset
from argen.dataset.read import read_dataset
from argen.dataset.subjects import subjects_by_identity
from argen.dataset.video import probe, read_frames, spread
from argen.errors import JobError, NoFaceFound, did_you_mean
from argen.face.reader import load_reader
from argen.face.track import FaceReader, FaceTrack, calmest_frame
from argen.gate import Verdict, judge
from argen.generate.load import load_generator
from argen.generate.placing import place_clip
from argen.generate.request import Generator, Request
from argen.output import save_picture, source_picture
from argen.plan import CALM, Job
from argen.source import Source, around_face, as_placed, measured

if TYPE_CHECKING:
    from argen.anomaly.gate import FaceGate

log = logging.getLogger(__name__)
DIRECTION_DRAWS = 64
FRAMES_TO_KNOW = 3  # frames of a clip that tell who it is
CALM_EXAMPLES = 20
SOURCES_AT_HAND = 16  # source frames kept: classes that take turns share their calm clips


class Workshop:
    """Reader, generator and describer of one process."""

    def __init__(self, dataset: Dataset, recipe: Recipe, cache: Path) -> None:
        self._dataset, self._recipe, self._cache = dataset, recipe, cache
        self._clips = {clip.id: clip for clip in dataset.train}
        self._sources: OrderedDict[str, Source | JobError] = OrderedDict()
        self._reader: FaceReader = load_reader(recipe.face, recipe.generate.device)
        self._generator: Generator = load_generator(recipe.generate)
        if self._generator.domain == "puppets":
            from argen.puppets.world import refuse_foreign

            refuse_foreign(dataset)
        self._ask = load_ask(recipe.affect, recipe.generate.device)
        self._describer: Describer | None = None
        self._toward: dict[str, Float32[ndarray, "20"]] = {}
        self._face_gate: FaceGate | None = None

    @property
    def generator(self) -> Generator:
        """What makes the clips."""
        return self._generator

    @property
    def reader(self) -> FaceReader:
        """What measures them."""
        return self._reader

    @property
    def batch(self) -> int:
        """Jobs that one call of the generator takes."""
        return self._generator.batch

    @property
    def made_by(self) -> Mapping[str, str]:
        """What made the pixels: generator, model, revision or hash, adapter."""
        return {"generator": self._generator.name, **dict(self._generator.provenance)}

    @property
    def models(self) -> dict[str, Any]:
        """All weights that decide the outcome, for run.json."""
        return {
            "generator": dict(self.made_by),
            "reader": {"name": self._reader.name, "weights": dict(self._reader.weights)},
            "prompts": load_prompts(self._recipe.affect.prompts).hash,
            "captions": dict(getattr(self._ask, "provenance", {})),
        }

    def clip(self, clip_id: str) -> Clip:
        """A training clip by id."""
        return self._clips[clip_id]

    def why_not(self, label: str) -> str | None:
        """Why a class cannot be expanded, or None."""
        return why_not(label, self._dataset, self._recipe)

    def learn(self, labels: Iterable[str], most: int | None = None) -> None:
        """Measure the training clips of the classes to be expanded; set up profiles and exemplars.

        At most `most` clips a class, where a trial needs no more.
        """
        wanted = set(labels)
        measured: list[tuple[Clip, FaceTrack]] = []
        for clip in self._examples(wanted, most):
            try:
                measured.append((clip, self.track_of(clip)))
            except JobError as error:
                log.warning("%s: passed over as an example of '%s': %s", clip.id, clip.label, error)
        self._describer = Describer(self._recipe.affect, measured, self._ask)
        for label in wanted:
            self._toward[label] = self._direction(label)
        if self._recipe.gate.anomaly > 0:
            from argen.strangeness import fit_face_gate  # brings torch, which warp alone does not need

            self._face_gate = fit_face_gate(self._dataset, self._recipe.gate.anomaly, self._as_generated)

    def _examples(self, labels: Collection[str], most: int | None) -> Iterator[Clip]:
        """Real training clips of the classes, and some calm ones that show what this reader calls rest."""
        counts: Counter[str] = Counter()
        for clip in self._dataset.train:
            calm = clip.label.casefold() in CALM and clip.label not in labels
            limit = CALM_EXAMPLES if calm else most
            if (clip.label not in labels and not calm) or clip.synthetic:
                continue
            if limit is None or counts[clip.label] < limit:
                counts[clip.label] += 1
                yield clip

    def track_of(self, clip: Clip) -> FaceTrack:
        """The FaceTrack of a source clip: measured once, then read from the cache."""
        return measured(clip, self._recipe.face.max_frames, self._reader, self._cache)

    def _as_generated(self, clip: Clip) -> tuple[UInt8[ndarray, "T H W 3"], FaceTrack]:
        """A real clip at the length and size of generated ones and cut as they are, so that none of it gives
        it away: by one square, around the calm face that a clip would begin from.
        """
        source, made = self.source(clip.id), self._recipe.generate
        if np.isfinite(source.landmarks).all() and not self._generator.takes_whole(source.frame):
            frames = place_clip(read_frames(clip, made.frames), source.landmarks, made.size)
        else:
            frames = read_frames(clip, made.frames, made.size)
        return frames, self._reader(frames)

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
        frame = read_frames(clip, most)[row].copy()  # a view would keep every frame of the clip
        index = spread(probe(clip).frames, most)[row]
        save_picture(source_picture(self._cache.parent, clip.id), around_face(frame, track.landmarks[row]))
        return Source(clip, index, frame, track.landmarks[row], track.action_units[row], track.person)

    def requests(self, jobs: Sequence[Job]) -> list[tuple[Source, Request] | JobError]:
        """What to generate for each job, or why nothing can be."""
        found: list[Source | JobError] = []
        for job in jobs:
            try:
                found.append(self.source(job.source))
            except JobError as error:
                found.append(error)
        wishes = [self._wish(job, s) for job, s in zip(jobs, found, strict=True) if isinstance(s, Source)]
        affects = iter(self._learnt().describe_all(wishes))
        return [
            source if isinstance(source, JobError) else (source, _request(source, next(affects), job.seed))
            for job, source in zip(jobs, found, strict=True)
        ]

    def _wish(self, job: Job, source: Source) -> Wish:
        return Wish(
            label=job.label,
            frame=source.frame,
            units=source.action_units,
            subject=source.clip.subject,
            seed=job.seed,
            frames=self._recipe.generate.frames,
            fps=self._recipe.generate.fps,
            source_id=source.clip.id,
        )

    def _learnt(self) -> Describer:
        if self._describer is None:
            raise RuntimeError("learn() comes first")
        return self._describer

    def _direction(self, label: str) -> Float32[ndarray, "20"]:
        """Where the label's Action Units lie, on average: what 'toward the label' means to the gate."""
        profile, rng = self._learnt().profile(label), np.random.default_rng(0)
        draws = [sample_apex(profile, rng, self._recipe.affect.intensity) for _ in range(DIRECTION_DRAWS)]
        return np.asarray(np.mean(draws, axis=0), np.float32)

    def generate(self, requests: Sequence[Request]) -> list[UInt8[ndarray, "T H W 3"] | JobError]:
        """The clips, in order; where the batch fails, each by itself, and why those fail that do."""
        try:
            return list(self._generator(requests))
        except JobError as error:
            if len(requests) == 1:
                return [error]
        return [clip for request in requests for clip in self.generate([request])]

    def measure(self, frames: UInt8[ndarray, "T H W 3"], source: Source) -> FaceTrack:
        """The FaceTrack of a generated clip, every frame of it; frame 0 shows the source as it is."""
        return self._reader(frames, source.action_units)

    def judge(
        self, job: Job, source: Source, request: Request, frames: UInt8[ndarray, "T H W 3"], track: FaceTrack
    ) -> Verdict:
        """The gate's verdict on a generated clip."""
        whole = self._generator.takes_whole(source.frame)
        picture, landmarks = as_placed(source, frames.shape[1], whole=whole)
        gate = self._face_gate
        anomaly = gate.score(frames, track, (picture, landmarks)) if gate else None
        verdict = judge(
            frames,
            track,
            request.affect,
            source=picture,
            person=source.person,
            toward=self._toward[job.label],
            same_person=self._reader.same_person,
            settings=self._recipe.gate,
            p_value=anomaly.p_value if anomaly else None,
        )
        if anomaly is None or verdict.kept:
            return verdict
        from argen.strangeness import hottest

        return replace(verdict, heat=hottest(frames, anomaly))

    def close(self) -> None:
        """Release native resources."""
        self._reader.close()


def read_source(path: Path, recipe: Recipe, cache: Path | None = None) -> Dataset:
    """The dataset of a recipe; where it asks for subjects by identity, faces are measured and clustered.

    Faces are measured once, if `cache` names a folder to remember them in.
    """
    dataset = read_dataset(path, recipe.dataset)
    if recipe.dataset.subjects != "identity":
        return dataset
    reader = load_reader(recipe.face, recipe.generate.device)
    try:
        return subjects_by_identity(
            dataset, lambda clip: measured(clip, FRAMES_TO_KNOW, reader, cache).person, reader.same_person
        )
    finally:
        reader.close()


def why_not(label: str, dataset: Dataset, recipe: Recipe) -> str | None:
    """Why a class cannot be expanded, as far as can be told without measuring; None if it can."""
    emotions, count = load_prompts(recipe.affect.prompts).emotions, dataset.counts("train").get(label, 0)
    if canonical(label, emotions) is not None or count >= recipe.affect.enough_clips:
        return None
    return (
        f"no prototype for this label and {count} training clips, {recipe.affect.enough_clips} needed to "
        f"learn one (affect.enough_clips){did_you_mean(label, [*dataset.counts('train'), *emotions])}"
    )


def load_ask(settings: AffectSettings, device: str) -> Ask | None:
    """The vision-language model that writes captions, where the recipe wants one, beside the generator."""
    if settings.captions == "template":
        return None
    from argen.affect.vlm import load_vlm

    return load_vlm(settings, device)


def _request(source: Source, affect: Affect, seed: int) -> Request:
    return Request(source.frame, source.landmarks, source.action_units, affect, seed)


@contextmanager
def open_workshop(dataset: Dataset, recipe: Recipe, cache: Path) -> Iterator[Workshop]:
    """Load the models of a recipe; closes them at the end. Raises EnvironmentFault if one is missing."""
    workshop = Workshop(dataset, recipe, cache)
    try:
        yield workshop
    finally:
        workshop.close()
