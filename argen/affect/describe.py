"""Describer: from a label and a source face to an `Affect`; a pure function of each wish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from argen.affect.affect import Affect
from argen.affect.asking import Ask, Target, ask_captions
from argen.affect.captions import Motion, load_prompts, read_motion, write_caption
from argen.affect.exemplars import Exemplar, ExemplarBank, clip_exemplar, written_exemplars
from argen.affect.profile import Profile, apex_units, dataset_calm, make_profile, sample_apex
from argen.affect.trajectory import make_trajectory
from argen.config import AffectSettings
from argen.dataset.clip import Clip
from argen.face.track import FaceTrack

__all__ = ["Ask", "Describer", "Wish"]


@dataclass(frozen=True)
class Wish:
    """One clip to describe: which label, from which face, how long, with which seed."""

    label: str
    frame: UInt8[ndarray, "H W 3"]
    units: Float32[ndarray, "20"]  # the source's own, 0..1; NaN where unseen
    subject: str
    seed: int
    frames: int
    fps: float
    source_id: str = ""  # the source clip, never its own exemplar


@dataclass(frozen=True)
class _Draft:
    """An Affect that still lacks its caption."""

    wish: Wish
    profile: Profile
    trajectory: Float32[ndarray, "T 20"]
    asymmetry: Float32[ndarray, "20"]
    pose: Float32[ndarray, "T 3"]
    exemplars: tuple[Exemplar, ...]
    motion: Motion


class Describer:
    """Profiles, exemplars and words of one run: a wish gives the same Affect in any order, anywhere."""

    def __init__(
        self,
        settings: AffectSettings,
        measured: Sequence[tuple[Clip, FaceTrack]] = (),
        ask: Ask | None = None,
    ) -> None:
        """`measured`: training clips of any label, with tracks. Raises DatasetError for a held-out one."""
        self._settings, self._ask, self._prompts = settings, ask, load_prompts(settings.prompts)
        measured = sorted(measured, key=lambda pair: pair[0].id)  # the order of reading does not matter
        self._calm = dataset_calm([track for _, track in measured])
        self._tracks: dict[str, list[FaceTrack]] = {}
        exemplars = list(written_exemplars(self._prompts.exemplars))
        for clip, track in measured:
            self._tracks.setdefault(clip.label, []).append(track)
            units = apex_units(track, self._calm)
            if units is not None or clip.split != "train":
                exemplars.append(clip_exemplar(clip, self._calm if units is None else units, self._prompts))
        self._bank = ExemplarBank(exemplars, self._prompts.emotions)
        self._profiles: dict[str, Profile] = {}

    def profile(self, label: str) -> Profile:
        """The class's Action Unit profile. Raises UsageError for a class that cannot be expanded."""
        if label not in self._profiles:
            tracks = self._tracks.get(label, [])
            self._profiles[label] = make_profile(
                label, tracks, self._prompts.emotions, self._settings, self._calm
            )
        return self._profiles[label]

    def describe(self, wish: Wish) -> Affect:
        """One Affect."""
        return self.describe_all([wish])[0]

    def describe_all(self, wishes: Sequence[Wish]) -> list[Affect]:
        """One Affect a wish, in order; a vision-language model sees them as one batch."""
        drafts = [self._draft(wish) for wish in wishes]
        if self._ask is None:
            return [self._finish(draft) for draft in drafts]
        targets = [Target(d.wish.label, d.wish.frame, d.motion, d.exemplars) for d in drafts]
        written = ask_captions(targets, self._ask, self._prompts)
        return [self._finish(draft, caption) for draft, caption in zip(drafts, written, strict=True)]

    def _draft(self, wish: Wish) -> _Draft:
        profile = self.profile(wish.label)
        apex = sample_apex(profile, np.random.default_rng([wish.seed, 1]), self._settings.intensity)
        one_sided = profile.emotion is not None and profile.emotion.one_sided
        trajectory, asymmetry, pose = make_trajectory(
            apex,
            wish.units,
            frames=wish.frames,
            fps=wish.fps,
            rng=np.random.default_rng([wish.seed, 2]),
            settings=self._settings,
            one_sided=one_sided,
        )
        exemplars = self._retrieve(wish, apex)
        motion = read_motion(trajectory, asymmetry, pose, wish.fps)
        return _Draft(wish, profile, trajectory, asymmetry, pose, exemplars, motion)

    def _retrieve(self, wish: Wish, apex: Float32[ndarray, "20"]) -> tuple[Exemplar, ...]:
        excluded = None if self._settings.same_subject else wish.subject
        found = self._bank.retrieve(wish.label, apex, self._settings.exemplars + 1, excluded)
        others = [exemplar for exemplar in found if exemplar.id != f"clip:{wish.source_id}"]
        return tuple(others[: self._settings.exemplars])

    def _finish(self, draft: _Draft, written: str | None = None) -> Affect:
        refused = self._ask is not None and written is None
        return Affect(
            label=draft.wish.label,
            caption=self._template(draft) if written is None else written,
            written_by="template after vlm" if refused else "template" if written is None else "vlm",
            trajectory=draft.trajectory,
            asymmetry=draft.asymmetry,
            pose=draft.pose,
            exemplars=tuple(exemplar.id for exemplar in draft.exemplars),
            profile=draft.profile.source,
        )

    def _template(self, draft: _Draft) -> str:
        own = draft.profile.emotion.cues if draft.profile.emotion else ()
        cues = [exemplar.cue for exemplar in draft.exemplars if exemplar.cue] or own
        rng = np.random.default_rng([draft.wish.seed, 3])
        return write_caption(draft.wish.label, draft.motion, cues, rng, self._prompts)
