"""The gate on painted faces: what it must find, what it must say, and what it must survive."""

import dataclasses

import numpy as np
import pytest

from argen.anomaly.artefacts import ARTEFACTS, inject
from argen.anomaly.canonical import Canonical
from argen.anomaly.face_features import face_features, face_patches, mesh_features
from argen.anomaly.gate import FaceGate
from argen.errors import ModelUnavailable, UsageError
from argen.face.track import FaceTrack

SIDE = 72
FRAMES = 6


def ring(count=468):
    """Points of a made-up face: a sunflower over an ellipse, the named landmarks where they belong."""
    i = np.arange(count)
    r, a = np.sqrt((i + 0.5) / count), i * 2.39996
    points = np.stack([22 * r * np.cos(a), 28 * r * np.sin(a), -8 * np.sqrt(1 - r**2 + 1e-3)], axis=1)
    named = {
        33: (-13, -8),
        263: (13, -8),
        10: (0, -28),
        152: (0, 28),
        159: (-9, -8),
        386: (9, -8),
        13: (0, 13),
    }
    named |= {4: (0, 3), 9: (0, -12)}
    for index, place in named.items():
        points[index, :2] = place
    return points


def make_clip(seed, person=0, frames=FRAMES):
    """A painted face that sways and talks: eyes, a mouth that opens, skin with a grain of its own."""
    rng = np.random.default_rng([7, seed])
    grain = np.random.default_rng([8, person]).normal(0, 4, (SIDE, SIDE, 1))
    tone = np.array([200, 150, 125]) * np.random.default_rng([9, person]).uniform(0.9, 1.1)
    phase, out, marks = rng.uniform(0, 6), [], []
    for t in range(frames):
        sway = np.array([2 * np.sin(phase + t / 3), 1.5 * np.cos(phase + t / 4)])
        opening = 2 + 1.5 * np.sin(phase + t / 2)
        centre = SIDE / 2 + sway
        points = ring()
        points[13, 1] += opening / 2
        points[:, :2] += centre
        out.append(paint(centre, opening, tone, grain, rng))
        marks.append(np.concatenate([points, points[:10]]))
    return np.stack(out), make_track(
        np.stack(marks).astype(np.float32) + rng.normal(0, 0.05, (frames, 478, 3))
    )


def paint(centre, opening, tone, grain, rng):
    rows, columns = np.indices((SIDE, SIDE))
    x, y = columns - centre[0], rows - centre[1]
    image = np.full((SIDE, SIDE, 3), 60.0)
    image[(x / 24) ** 2 + (y / 30) ** 2 < 1] = tone
    for side in (-9, 9):
        image[((x - side) / 5) ** 2 + ((y + 8) / 3) ** 2 < 1] = 240
        image[(x - side) ** 2 + (y + 8) ** 2 < 5] = 40
    image[(x / 8) ** 2 + ((y - 13) / opening) ** 2 < 1] = (120, 30, 40)
    image = image + grain + rng.normal(0, 1.5, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_track(landmarks):
    T = len(landmarks)
    seen = np.isfinite(landmarks).all(axis=(1, 2))
    return FaceTrack(
        action_units=np.zeros((T, 20), np.float32),
        expressions=np.zeros((T, 7), np.float32),
        identity=np.zeros((T, 4), np.float32),
        landmarks=landmarks.astype(np.float32),
        face_count=seen.astype(np.int64),
        confidence=np.ones(20, np.float32),
        reader="painted",
    )


@pytest.fixture(scope="module")
def gate():
    return FaceGate.fit([make_clip(i, i) for i in range(4)], [make_clip(i, i) for i in range(10, 30)])


@pytest.mark.parametrize("kind", ["melt", "swap", "blur", "flicker", "identity", "third eye"])
def test_artefacts_are_found(gate, kind):
    frames, track = make_clip(40, 40)
    other, other_track = make_clip(41, 41)
    broken = inject(
        frames, track.landmarks, kind, strength=1.0, seed=1, stranger=other[:, :, ::-1],
        stranger_landmarks=other_track.landmarks,
    )  # fmt: skip
    source = (frames[0], track.landmarks[0])
    found, sound = gate.score(broken, track, source), gate.score(frames, track)
    assert found.score > sound.score
    assert found.p_value == pytest.approx(1 / 21)
    assert sound.p_value > 0.05


def test_a_frozen_frame_is_found_where_the_mesh_freezes_too(gate):
    frames, track = make_clip(42, 42)
    still = track.landmarks.copy()
    still[1:5] = still[1]
    broken = inject(frames, track.landmarks, "frozen", seed=4)
    assert gate.score(broken, make_track(still)).score > gate.score(frames, track).score


def test_a_copy_is_not_a_still_moment():
    """One pixel in ten off by one grey level is far from a copy, though every patch hardly changes."""
    frames, track = make_clip(53)
    landmarks = np.stack([track.landmarks[0]] * 3)
    still = frames[0].copy()
    still[::5, ::2] += 1
    canonical = Canonical.of([track.landmarks], 112)
    shown = np.stack([frames[0], still, still])
    change = face_features(shown, landmarks, (frames[0], landmarks[0]), canonical)[3]
    whole = change[:, face_patches(canonical), 2]
    assert (whole[1] - whole[2] > 1.5).all()  # of a logarithm
    assert np.ptp(whole, axis=1).max() == 0


def test_heat_is_where_the_artefact_is(gate):
    frames, track = make_clip(43, 43)
    broken = inject(frames, track.landmarks, "third eye", strength=1.0, seed=3)
    changed = (broken[-1] != frames[-1]).any(axis=2)
    before, after = gate.score(frames, track).heatmap[-1], gate.score(broken, track).heatmap[-1]
    assert 0 <= before.min() <= after.max() <= 1
    assert (after - before)[changed].mean() > 3 * abs((after - before)[~changed].mean())


def test_p_value_counts(gate):
    m, worst = len(gate.calibration), gate.calibration.max(axis=0)
    assert gate.p_value(1e6 * worst) == pytest.approx(1 / (m + 1))
    assert gate.p_value(0 * worst) == 1
    growing = [gate.p_value(x * worst) for x in np.linspace(0, 1, 9, dtype=np.float32)]
    assert growing == sorted(growing, reverse=True)


def test_p_values_of_exchangeable_clips_are_uniform():
    """The conformal promise, on numbers alone: P(p <= a) <= a, whatever the units of what is shown."""
    rng = np.random.default_rng(5)
    gate = FaceGate.fit([make_clip(0)], [make_clip(1)])
    hits = []
    for _ in range(600):
        shown = (rng.gamma(2.0, size=(20, 4, 6)) * np.array([1, 9, 1, 3, 1, 50])).astype(np.float32)
        hits.append(dataclasses.replace(gate, calibration=shown[:19]).p_value(shown[19]) <= 0.05)
    assert 0.025 < np.mean(hits) < 0.075


def test_the_source_is_what_a_clip_is_compared_with(gate):
    """A clip that is wrong from its first frame on is seen against its source, and not against itself."""
    frames, track = make_clip(51, 51)
    broken = frames.copy()
    for t in range(len(frames)):
        one = inject(frames[t : t + 1], track.landmarks[t : t + 1], "swap", seed=3)
        broken[t] = one[0]
    alone = gate.score(broken, track)
    beside = gate.score(broken, track, (frames[0], track.landmarks[0]))
    assert beside.score > alone.score + 1.0  # deviations
    assert beside.p_value == pytest.approx(1 / 21)


def test_structure_that_only_moved_is_not_strange():
    """A pixel of drift is expression or the landmarks' error; an eye where there was none is neither."""
    frames, track = make_clip(52)
    source, landmarks = (frames[0], track.landmarks[0]), np.stack([track.landmarks[0]] * 4)
    canonical = Canonical.of([track.landmarks], 112)
    eyed = inject(frames[:1], landmarks[:1], "third eye", strength=1.0, seed=3)[0]
    drifted = [np.roll(frames[0], step, axis=(0, 1)) for step in ((0, 1), (1, 0))]
    shown = np.stack([frames[0], *drifted, eyed])
    look = face_features(shown, landmarks, source, canonical)[0][:, face_patches(canonical)]
    same, right, down, eye = look.max(axis=1)
    np.testing.assert_allclose(same, 0, atol=2e-3)
    assert (np.maximum(right, down) < 0.6 * eye).all()


def test_frames_without_a_face(gate):
    frames, track = make_clip(44, 44)
    landmarks = track.landmarks.copy()
    landmarks[2] = np.nan
    found = gate.score(frames, make_track(landmarks))
    assert np.isnan(found.frames[2])
    assert np.isfinite(found.score)
    assert (found.heatmap[2] == 0).all()
    landmarks[1:] = np.nan
    nothing = gate.score(frames, make_track(landmarks))
    assert nothing.score == float("inf")
    assert nothing.p_value == pytest.approx(1 / 21)


def test_save_and_load(gate, tmp_path):
    frames, track = make_clip(45, 45)
    gate.save(tmp_path)
    again, before = FaceGate.load(tmp_path).score(frames, track), gate.score(frames, track)
    assert again.score == pytest.approx(before.score, abs=1e-5)
    assert again.p_value == before.p_value
    np.testing.assert_allclose(again.heatmap, before.heatmap, atol=1e-5)
    (tmp_path / "gate.json").unlink()
    with pytest.raises(ModelUnavailable, match="fit it again"):
        FaceGate.load(tmp_path)


def test_a_gate_with_other_features_is_refused(gate, tmp_path):
    gate.save(tmp_path)
    head = (tmp_path / "gate.json").read_text()
    assert '"modalities": 5' in head
    (tmp_path / "gate.json").write_text(head.replace('"modalities": 5', '"modalities": 4'))
    with pytest.raises(ModelUnavailable, match="another version"):
        FaceGate.load(tmp_path)


def test_nothing_to_learn_from():
    frames, track = make_clip(46)
    blind = make_track(np.full_like(track.landmarks, np.nan))
    for normals, calibration in (
        ([], [(frames, track)]),
        ([(frames, track)], []),
        ([(frames, blind)], [(frames, track)]),
    ):
        with pytest.raises(UsageError, match="19 to reject at 5 %"):
            FaceGate.fit(normals, calibration)


def test_flat_face_does_not_notice_the_head():
    """Shift, growth and a turn in the picture leave the flat face and its shapes alone."""
    frames, track = make_clip(47)
    canonical = Canonical.of([track.landmarks], 48)
    plain = canonical.shapes(track.landmarks)
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    moved = (1.7 * track.landmarks @ turn.T + np.array([5, -3, 0])).astype(np.float32)
    np.testing.assert_allclose(canonical.shapes(moved), plain, atol=1e-2)
    features = mesh_features(track.landmarks, canonical)
    np.testing.assert_allclose(mesh_features(moved, canonical), features, atol=2e-2)
    flat = canonical.unwrap(frames, track.landmarks)
    turned = canonical.unwrap(np.rot90(frames, axes=(1, 2)).copy(), rotated(track.landmarks))
    assert np.abs(flat - turned)[:, canonical.inside].mean() < 0.01
    assert 0.2 < face_patches(canonical).mean() < 0.9


def rotated(landmarks):
    """Landmarks of pictures turned by a quarter, as np.rot90 does."""
    out = landmarks.copy()
    out[..., 0], out[..., 1] = landmarks[..., 1], SIDE - 1 - landmarks[..., 0]
    return out


@pytest.mark.parametrize("kind", ARTEFACTS)
def test_every_artefact_grows_with_its_strength_and_keeps_to_its_frames(kind):
    frames, track = make_clip(48)
    other, other_track = make_clip(49, 3)
    size = []
    for strength in (0.5, 1.0):
        broken = inject(
            frames, track.landmarks, kind, strength=strength, seed=2, stranger=other // 2,
            stranger_landmarks=other_track.landmarks,
        )  # fmt: skip
        assert broken.dtype == np.uint8
        changed = np.abs(broken.astype(int) - frames).mean(axis=(1, 2, 3))
        assert changed.max() > 0
        size.append(changed.sum())
    assert size[1] >= size[0]
    again = inject(
        frames, track.landmarks, kind, strength=1.0, seed=2, stranger=other // 2,
        stranger_landmarks=other_track.landmarks,
    )  # fmt: skip
    np.testing.assert_array_equal(again, broken)


def test_wrong_artefacts():
    frames, track = make_clip(50)
    with pytest.raises(UsageError, match="did you mean 'melt'"):
        inject(frames, track.landmarks, "melted")
    with pytest.raises(UsageError, match="another person"):
        inject(frames, track.landmarks, "identity")
