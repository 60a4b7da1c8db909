import subprocess
import sys

import numpy as np
import pytest

from argen.errors import ModelUnavailable
from argen.face.action_units import ACTION_UNITS, AU_INDEX, EXPRESSIONS
from argen.face.mediapipe_reader import IDENTITY_FRAMES, MediapipeReader, search_windows, spread
from argen.face.track import FaceTrack, calmest_frame
from tests.face.samples import astronaut, astronaut_face, grace_hopper, scaled, video

SMILE_BEGINS = 18


@pytest.fixture(scope="module")
def smile(reader) -> FaceTrack:
    return reader(video("single_face.mp4", 72))


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.concatenate([left, right], axis=1)[None]


def test_a_smile_is_seen_where_it_is(smile):
    for name, least in (("AU12", 0.5), ("AU06", 0.15), ("AU25", 0.15)):
        unit = smile.action_units[:, AU_INDEX[name]]
        assert unit[: SMILE_BEGINS - 2].max() < 0.1, name
        assert unit[SMILE_BEGINS + 6 : 66].min() > least, name
    strongest = smile.action_units[30:60].mean(axis=0).argmax()
    assert ACTION_UNITS[strongest] == "AU12"
    happy, neutral = EXPRESSIONS.index("happy"), EXPRESSIONS.index("neutral")
    assert (smile.expressions[: SMILE_BEGINS - 2].argmax(axis=1) == neutral).all()
    assert (smile.expressions[SMILE_BEGINS + 4 : 66].argmax(axis=1) == happy).all()
    assert calmest_frame(smile) < SMILE_BEGINS


def test_a_track_has_its_promised_form(smile):
    assert smile.valid.all()
    assert smile.reader == "mediapipe"
    assert ((smile.action_units >= 0) & (smile.action_units <= 1)).all()
    assert ((smile.confidence > 0) & (smile.confidence < 1)).all()
    np.testing.assert_allclose(smile.expressions.sum(axis=1), 1, atol=1e-5)
    known = np.isfinite(smile.identity).all(axis=1)
    assert known.sum() == IDENTITY_FRAMES
    np.testing.assert_allclose(np.linalg.norm(smile.identity[known], axis=1), 1, atol=1e-5)
    height, width = video("single_face.mp4", 72).shape[1:3]
    x, y = smile.landmarks[..., 0], smile.landmarks[..., 1]
    assert ((x > 0) & (x < width) & (y > 0) & (y < height)).all()
    assert set(smile.weights) == {
        "face_landmarker.task",
        "dlib_face_recognition_resnet_model_v1.dat",
        "au_to_mesh_pls_v4.npz",
    }


def test_a_clip_measures_the_same_whatever_was_read_before(reader):
    frames = video("single_face.mp4", 6)
    first = reader(frames)
    reader(astronaut()[None])
    again = reader(frames)
    for name in ("action_units", "expressions", "identity", "landmarks"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_identity_tells_people_apart_and_knows_them_again(reader, smile):
    calm, smiling = smile.identity[np.isfinite(smile.identity).all(axis=1)][[0, -1]]
    others = [reader(image[None]).person for image in (astronaut(), grace_hopper())]
    smaller = reader(scaled(grace_hopper(), 300, 256)[None]).person
    assert np.linalg.norm(calm - smiling) < reader.same_person
    assert np.linalg.norm(others[1] - smaller) < reader.same_person
    people = [calm, *others]
    for i, one in enumerate(people):
        for other in people[i + 1 :]:
            assert np.linalg.norm(one - other) > reader.same_person


def test_of_several_faces_the_largest_is_followed(reader):
    large = scaled(grace_hopper()[:512], 256, 256)
    small = np.zeros_like(large)
    small[60:240, 38:218] = scaled(astronaut_face(), 180, 180)
    for frames in (side_by_side(large, small), side_by_side(small, large)):
        track = reader(frames)
        assert track.face_count.tolist() == [2]
        assert not track.valid[0], "two faces are never exactly one"
        assert np.linalg.norm(track.person - reader(large[None]).person) < 0.2


def test_the_face_that_was_first_is_followed_when_a_larger_one_comes(reader):
    first = np.zeros((256, 256, 3), np.uint8)
    first[60:240, 38:218] = scaled(astronaut_face(), 180, 180)
    alone = np.concatenate([first, np.zeros_like(first)], axis=1)
    joined = np.concatenate([first, scaled(grace_hopper()[:512], 256, 256)], axis=1)
    track = reader(np.stack([alone, joined, joined]))
    assert track.face_count.tolist() == [1, 2, 2]
    assert (track.landmarks[:, :, 0] < 256).all()
    assert np.isfinite(track.action_units).all()


@pytest.mark.parametrize("picture", ["black", "noise", "rocks"])
def test_without_a_face_rows_are_unknown(reader, picture):
    rng = np.random.default_rng(0)
    frames = {
        "black": np.zeros((2, 120, 160, 3), np.uint8),
        "noise": rng.integers(0, 256, (2, 120, 160, 3), np.uint8),
        "rocks": video("no_face.mp4", 2),
    }[picture]
    track = reader(frames)
    assert track.face_count.tolist() == [0, 0]
    for values in (track.action_units, track.expressions, track.identity, track.landmarks, track.person):
        assert np.isnan(values).all()
    assert not track.valid.any()
    assert calmest_frame(track) == -1


def test_a_face_lost_midway_leaves_a_gap_only(reader):
    frames = video("face_noface.mov", 16)
    track = reader(frames)
    seen = track.face_count > 0
    assert seen[0]
    assert not seen[-1]
    np.testing.assert_array_equal(np.isfinite(track.action_units).all(axis=1), seen)
    np.testing.assert_array_equal(np.isfinite(track.landmarks).all(axis=(1, 2)), seen)
    assert np.isfinite(track.person).all()


def test_a_face_that_returns_is_taken_up_again(reader):
    frames = video("single_face.mp4", 9).copy()
    frames[3:6] = 0
    track = reader(frames)
    assert track.valid.tolist() == [True] * 3 + [False] * 3 + [True] * 3


def test_one_frame_is_a_clip(reader):
    track = reader(astronaut()[None])
    assert len(track) == 1
    assert track.valid[0]
    assert track.action_units[0, AU_INDEX["AU12"]] > 0.5, "her smile is seen without any other frame"


def test_a_given_neutral_is_where_movement_is_measured_from(reader, smile):
    frames = video("single_face.mp4", 72)[40:42]
    alone, given = reader(frames), reader(frames, neutral=smile.landmarks[10])
    expected = smile.action_units[40:42, AU_INDEX["AU12"]]
    np.testing.assert_allclose(given.action_units[:, AU_INDEX["AU12"]], expected, atol=0.12)
    assert np.isfinite(alone.action_units).all()


def test_known_units_of_the_first_frame_are_where_it_starts(reader, smile):
    frames = video("single_face.mp4", 72)[[40, 5]]
    known = smile.action_units[40]
    track = reader(frames, known)
    np.testing.assert_allclose(track.action_units[0], known, atol=1e-3)
    assert track.action_units[1, AU_INDEX["AU12"]] < 0.3, "and it sees the smile go"


def test_a_grey_picture_is_read_like_a_coloured_one(reader):
    colour = grace_hopper()
    grey = np.repeat(colour.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    one, other = reader(colour[None]), reader(grey[None])
    assert np.abs(one.landmarks - other.landmarks)[..., :2].mean() < 2.0
    assert np.linalg.norm(one.person - other.person) < reader.same_person


@pytest.mark.parametrize("width", [64, 96])
def test_a_small_picture_of_a_face_is_enough(reader, width):
    track = reader(scaled(grace_hopper(), width * 600 // 512, width)[None])
    assert track.valid[0]
    assert np.linalg.norm(track.person - reader(grace_hopper()[None]).person) < 0.45


def test_a_face_far_away_is_found_by_a_closer_look(reader):
    scene = np.full((720, 1280, 3), 90, np.uint8)
    scene[300:412, 200:296] = scaled(grace_hopper(), 112, 96)
    track = reader(scene[None])
    assert track.face_count.tolist() == [1]
    x, y = track.landmarks[0, :, :2].mean(axis=0)
    assert 200 < x < 296
    assert 300 < y < 412


@pytest.mark.parametrize(("height", "width"), [(48, 48), (100, 100), (360, 640), (720, 1280), (1080, 190)])
def test_the_closer_look_covers_the_frame(height, width):
    for windows in search_windows(height, width):
        seen = np.zeros((height, width), bool)
        for x, y, side in windows:
            assert x + side <= width
            assert y + side <= height
            seen[y : y + side, x : x + side] = True
        assert seen.all()
        assert len(windows) <= 80


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (33, 17)])
def test_odd_sizes_are_no_error(reader, shape):
    assert reader(np.full((1, *shape, 3), 128, np.uint8)).face_count.tolist() == [0]


def test_views_that_are_not_contiguous_are_read(reader):
    frames = video("single_face.mp4", 4)
    mirrored = reader(frames[:, :, ::-1])
    plain = reader(frames)
    middle = frames.shape[2] - 1
    across = plain.landmarks[:, :, 0].mean() + mirrored.landmarks[:, :, 0].mean()
    assert across == pytest.approx(middle, abs=4)


def test_a_file_that_is_no_model_is_named(tmp_path):
    wrong = tmp_path / "face_landmarker.task"
    wrong.write_bytes(b"nothing")
    with pytest.raises(ModelUnavailable, match=r"face_landmarker\.task: MediaPipe cannot load it"):
        MediapipeReader(wrong)


def test_closing_twice_is_no_error():
    reader = MediapipeReader()
    reader.close()
    reader.close()


def test_nothing_is_written_to_the_terminal_even_when_nobody_closes():
    code = (
        "import numpy as np; from argen.face.mediapipe_reader import MediapipeReader;"
        "MediapipeReader()(np.zeros((1, 64, 64, 3), np.uint8))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(0, 5, []), (1, 5, [0]), (3, 5, [0, 1, 2]), (9, 3, [0, 4, 8])]
)
def test_indices_are_spread_evenly(count, most, expected):
    assert spread(count, most).tolist() == expected
