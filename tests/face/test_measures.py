"""The shared measurements: their ends, their middles, and that nothing breaks them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argen.affect.affect import Affect
from argen.face import measures
from argen.face.action_units import AU_INDEX, au_vector
from argen.face.track import FaceTrack

SMILE = au_vector({"AU06": 0.6, "AU12": 0.8, "AU25": 0.5})
DISGUST = au_vector({"AU09": 0.8, "AU10": 0.6, "AU17": 0.4})


def ramp(target, length=24):
    curve = np.clip(np.linspace(-0.2, 1.4, length), 0, 1)[:, None]
    return (curve * target).astype(np.float32)


def affect_of(target=SMILE, length=24):
    return Affect(
        "happiness", "", "template", ramp(target, length), np.zeros(20, np.float32),
        np.zeros((length, 3), np.float32), (), "prototype",
    )  # fmt: skip


def track_of(action_units, seed=0, noise=0.0, confidence=None):
    rng = np.random.default_rng(seed)
    units = action_units + noise * rng.standard_normal(action_units.shape)
    length = len(units)
    face = rng.uniform(20, 200, (1, 478, 3)).repeat(length, axis=0)
    return FaceTrack(
        action_units=np.clip(units, 0, 1).astype(np.float32),
        expressions=np.full((length, 7), 1 / 7, np.float32),
        identity=np.eye(8, dtype=np.float32)[:1].repeat(length, axis=0),
        landmarks=face.astype(np.float32),
        face_count=np.ones(length, int),
        confidence=np.ones(20, np.float32) if confidence is None else confidence,
        reader="fake",
    )


def at_distance(distance):
    angle = 2 * np.arcsin(distance / 2)
    return np.eye(8, dtype=np.float32)[0] * np.cos(angle) + np.eye(8, dtype=np.float32)[1] * np.sin(angle)


def test_identity_is_one_for_the_same_and_half_at_the_limit():
    track = track_of(ramp(SMILE))
    assert measures.identity_score(track, at_distance(0.0).astype(np.float32), 0.6) == pytest.approx(1)
    assert measures.identity_score(track, at_distance(0.6).astype(np.float32), 0.6) == pytest.approx(
        0.5, abs=1e-5
    )


@given(st.floats(0, 1.9), st.floats(0.01, 0.1))
@settings(max_examples=30, deadline=None)
def test_identity_falls_with_distance(distance, more):
    track = track_of(ramp(SMILE))
    near, far = (at_distance(d).astype(np.float32) for d in (distance, distance + more))
    assert measures.identity_score(track, near, 0.6) > measures.identity_score(track, far, 0.6)


def test_a_clip_that_loses_the_person_halfway_fails():
    track = track_of(ramp(SMILE))
    identity = track.identity.copy()
    identity[12:] = at_distance(1.2)
    assert measures.identity_score(replace(track, identity=identity), track.identity[0], 0.6) < 0.1


def test_requested_is_the_share_that_is_seen():
    affect = affect_of()
    for share in (0.0, 0.25, 0.5, 1.0):
        assert measures.requested_score(track_of(share * ramp(SMILE)), affect) == pytest.approx(
            share, abs=0.02
        )
    assert measures.requested_score(track_of(ramp(DISGUST)), affect) < 0.05


def test_requested_counts_only_what_the_reader_sees():
    blind = np.ones(20, np.float32)
    blind[AU_INDEX["AU12"]] = 0
    units = ramp(SMILE)
    units[:, AU_INDEX["AU12"]] = 0
    assert measures.requested_score(track_of(units, confidence=blind), affect_of()) == pytest.approx(
        1, abs=0.02
    )
    assert measures.requested_score(track_of(units), affect_of()) < 0.65


def test_unrequested_is_one_when_only_the_asked_moves():
    assert measures.unrequested_score(track_of(ramp(SMILE)), affect_of()) == pytest.approx(1)
    assert measures.unrequested_score(track_of(ramp(SMILE) + ramp(DISGUST)), affect_of()) < 0.6


def test_expression_tells_toward_from_none_from_away():
    affect = affect_of()
    assert measures.expression_score(track_of(ramp(SMILE)), affect, SMILE) == pytest.approx(1, abs=0.02)
    assert measures.expression_score(track_of(np.zeros((24, 20))), affect, SMILE) == pytest.approx(0.5)
    assert measures.expression_score(track_of(0.8 - ramp(SMILE)), affect, SMILE) < 0.1
    assert measures.expression_score(track_of(ramp(SMILE)), affect, np.zeros(20, np.float32)) == 0.5


def test_smooth_forgives_fast_and_punishes_flicker():
    still = measures.smoothness(track_of(0.4 + np.zeros((32, 20)), noise=0.02))
    ramped = measures.smoothness(track_of(0.1 + ramp(SMILE, 32), noise=0.02))
    flicker = measures.smoothness(track_of(0.4 + np.zeros((32, 20)), noise=0.12))
    assert min(still, ramped) > 0.7
    assert flicker < 0.3


def test_smooth_ignores_blinks_and_sees_trembling_landmarks():
    units = ramp(SMILE, 32)
    units[10:12, AU_INDEX["AU43"]] = 1
    track = track_of(units)
    assert measures.smoothness(track) > 0.9
    tremble = 6 * np.random.default_rng(1).standard_normal(track.landmarks.shape).astype(np.float32)
    assert measures.smoothness(replace(track, landmarks=track.landmarks + tremble)) < 0.5


def test_a_frozen_face_is_not_alive_and_neither_is_noise():
    affect = affect_of()
    assert measures.aliveness(track_of(np.full((24, 20), 0.4)), affect) == 0
    assert measures.aliveness(track_of(np.full((24, 20), 0.4), noise=0.05), affect) < 0.25
    assert measures.aliveness(track_of(ramp(SMILE)), affect) == pytest.approx(1, abs=0.05)


def test_a_trajectory_that_is_followed_scores_one_and_a_still_face_nothing():
    affect = affect_of()
    assert measures.trajectory_score(track_of(ramp(SMILE)), affect) == pytest.approx(1, abs=1e-3)
    assert measures.trajectory_score(track_of(ramp(SMILE, 12)), affect) > 0.97
    assert measures.trajectory_score(track_of(np.full((24, 20), 0.4)), affect) == 0
    assert measures.trajectory_score(track_of(ramp(SMILE)[::-1].copy()), affect) == 0
    half = measures.trajectory_score(track_of(0.5 * ramp(SMILE)), affect)
    assert half == pytest.approx(0.75, abs=0.02)


def test_geometry_forgives_a_moving_head_and_not_a_warping_face():
    track = track_of(ramp(SMILE))
    turn, shift = 1.1 * np.exp(0.2j), 5 + 3j
    plane = track.landmarks[..., 0] + 1j * track.landmarks[..., 1]
    moved = track.landmarks.copy()
    moved[1:, :, 0], moved[1:, :, 1] = (turn * plane[1:] + shift).real, (turn * plane[1:] + shift).imag
    assert measures.geometry_score(replace(track, landmarks=moved)) > 0.999
    stretched = track.landmarks.copy()
    stretched[1:, :, 1] *= 1.4
    assert measures.geometry_score(replace(track, landmarks=stretched)) < 0.5


def test_sharpness_falls_with_blur_and_with_grids():
    import cv2

    rng = np.random.default_rng(0)
    source = cv2.GaussianBlur(rng.integers(0, 255, (64, 64, 3), np.uint8), (5, 5), 1.0)
    blurred = np.stack([cv2.GaussianBlur(source, (9, 9), 3.0)] * 4)
    grid = np.stack([source] * 4)
    grid[:, ::2, ::2] = 255
    assert measures.sharpness(np.stack([source] * 4), source) == pytest.approx(1)
    assert measures.sharpness(blurred, source) < 0.3
    assert measures.sharpness(grid, source) < 0.5


def scores(track, affect):
    return [
        measures.identity_score(track, np.eye(8, dtype=np.float32)[0], 0.6),
        measures.requested_score(track, affect),
        measures.unrequested_score(track, affect),
        measures.expression_score(track, affect, SMILE),
        measures.smoothness(track),
        measures.aliveness(track, affect),
        measures.trajectory_score(track, affect),
        measures.geometry_score(track),
    ]


@given(
    length=st.integers(1, 40),
    holes=st.sets(st.integers(0, 39)),
    seed=st.integers(0, 10),
    scale=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_all_stay_in_range_whatever_is_missing(length, holes, seed, scale):
    track = track_of(scale * np.random.default_rng(seed).random((length, 20)), seed)
    for name in ("action_units", "identity", "landmarks"):
        values = getattr(track, name).copy()
        values[[i for i in holes if i < length]] = np.nan
        track = replace(track, **{name: values})
    found = scores(track, affect_of())
    assert all(np.isfinite(found)), found
    assert all(0 <= value <= 1 for value in found), found


def test_nothing_measured_scores_nothing():
    track = track_of(np.full((12, 20), np.nan))
    empty = replace(
        track,
        identity=np.full((12, 8), np.nan, np.float32),
        landmarks=np.full((12, 478, 3), np.nan, np.float32),
    )
    assert scores(empty, affect_of()) == [0.0] * 8
