"""The warp generator on a real photograph: it moves what it should, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argen.affect.affect import Affect
from argen.errors import NoFaceFound
from argen.face.action_units import ACTION_UNITS, AU_INDEX, au_vector
from argen.face.mediapipe_reader import MediapipeReader
from argen.generate import motion as moving
from argen.generate import openings, raster
from argen.generate.mesh_layout import lay_out, with_rings
from argen.generate.mouth import inside_of_mouth
from argen.generate.placing import LEAST_FACE, place
from argen.generate.request import Generator, Request
from argen.generate.warp import WarpGenerator

NOTHING = np.zeros(20, np.float32)
EYES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))


@pytest.fixture(scope="module")
def reader() -> Iterator[MediapipeReader]:
    reader = MediapipeReader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def photo(reader):
    from skimage.data import astronaut

    frame = np.ascontiguousarray(astronaut()[:320, 60:400])
    track = reader(frame[None])
    return frame, track.landmarks[0]


@pytest.fixture(scope="module")
def warp():
    return WarpGenerator(size=192)


def wanted(photo, units, frames=2, source=NOTHING, asymmetry=NOTHING, pose=None, frame=None, landmarks=None):
    """A request that goes from the source's units straight to `units`."""
    share = np.linspace(0, 1, frames, dtype=np.float32)[:, None]
    target = au_vector(units) if isinstance(units, dict) else units
    turned = np.zeros((frames, 3), np.float32) if pose is None else share * np.float32(pose)
    affect = Affect(
        "label", "caption", "template", (source * (1 - share) + target * share).astype(np.float32),
        asymmetry, turned.astype(np.float32), (), "prototype",
    )  # fmt: skip
    picture, points = photo
    return Request(
        picture if frame is None else frame, points if landmarks is None else landmarks, source, affect, 0
    )


def beyond_the_rings(landmarks, size):
    at_rest = lay_out(landmarks[:468], size)
    still = np.ones((size, size), bool)
    still[at_rest.window.slices] = at_rest.still > 0
    return still


def opening(points, eye):
    outer, up1, up2, inner, down2, down1 = (points[i, :2] for i in EYES[eye])
    return (np.linalg.norm(up1 - down1) + np.linalg.norm(up2 - down2)) / np.linalg.norm(outer - inner)


def test_it_is_a_generator_that_says_what_made_the_pixels(warp):
    assert isinstance(warp.name, str)
    assert isinstance(warp.batch, int)
    generator: Generator = warp
    assert "au_to_mesh_pls_v4.npz" in generator.provenance
    assert len(generator.provenance["code"]) == 12


def test_a_target_that_is_the_source_gives_the_source(warp, photo):
    source = au_vector({"AU12": 0.5, "AU25": 0.6})
    clip = warp([wanted(photo, source, frames=3, source=source)])[0]
    expected = place(*photo, 192).frame
    np.testing.assert_array_equal(clip, np.stack([expected] * 3))


def test_a_hair_of_movement_hardly_changes_the_picture(warp, photo):
    clip = warp([wanted(photo, {"AU12": 0.03, "AU01": 0.03})])[0]
    difference = np.abs(clip[1].astype(int) - clip[0])
    assert difference.max() > 0
    assert difference.mean() < 1.0


def test_the_same_request_gives_the_same_bytes_in_any_batch_on_any_number_of_threads(photo):
    requests = [
        wanted(photo, {"AU09": 1.0, "AU10": 0.8}),
        wanted(photo, {"AU26": 1.0, "AU25": 1.0, "AU43": 0.5}),
    ]
    together = WarpGenerator(size=128)(requests)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = [WarpGenerator(size=128, batch=1)([request])[0] for request in requests]
    finally:
        cv2.setNumThreads(threads)
    assert [clip.tobytes() for clip in together] == [clip.tobytes() for clip in alone]


def test_the_background_is_untouched(warp, photo):
    clip = warp([wanted(photo, {"AU26": 1.0, "AU25": 1.0, "AU01": 1.0}, pose=(3, 3, 3))])[0]
    still = beyond_the_rings(place(*photo, 192).landmarks, 192)
    assert still.mean() > 0.05
    np.testing.assert_array_equal(clip[1][still], clip[0][still])
    assert np.abs(clip[1].astype(int) - clip[0])[~still].mean() > 2


def test_the_jaw_drops_further_the_more_it_is_asked(warp, photo, reader):
    source = au_vector({"AU12": 0.6, "AU25": 0.8})
    targets = [source + au_vector({"AU26": intensity}) for intensity in (0.0, 0.35, 0.7, 1.0)]
    last = np.stack([warp([wanted(photo, target, source=source)])[0][1] for target in targets])
    points = reader(last).landmarks
    drop = points[:, 152, 1] - points[:, 4, 1]
    assert (np.diff(drop) > 0).all()
    assert drop[-1] > 1.05 * drop[0]


def test_a_smiling_mouth_closes_when_the_target_is_calm(warp, photo, reader):
    source = au_vector({"AU12": 0.7, "AU25": 0.8, "AU06": 0.3})
    points = reader(warp([wanted(photo, {}, source=source)])[0]).landmarks
    gap, width = (
        np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1) for a, b in ((13, 14), (61, 291))
    )
    assert gap[1] < 0.5 * gap[0]
    assert width[1] < width[0]


def test_eyes_shut_and_open_again(warp, photo, reader):
    request = wanted(photo, {"AU43": 1.0})
    there_and_back = np.concatenate([request.affect.trajectory, request.affect.trajectory[:1]])
    affect = Affect(
        "blink", "", "template", there_and_back, NOTHING, np.zeros((3, 3), np.float32), (), "prototype"
    )
    clip = warp([Request(request.frame, request.landmarks, NOTHING, affect, 0)])[0]
    points = reader(clip).landmarks
    for eye in (0, 1):
        assert opening(points[1], eye) < 0.5 * opening(points[0], eye)
    np.testing.assert_array_equal(clip[2], clip[0])


def test_lids_move_over_an_iris_that_stays(warp, photo):
    clip = warp([wanted(photo, {"AU05": 1.0})])[0]
    for iris in (468, 473):
        x, y = np.rint(place(*photo, 192).landmarks[iris, :2]).astype(int)
        np.testing.assert_allclose(clip[1][y, x].astype(int), clip[0][y, x], atol=2)
    placed = place(*photo, 192)
    lids = moving.motion(
        placed.landmarks,
        NOTHING,
        np.stack([NOTHING, au_vector({"AU05": 1.0})]),
        NOTHING,
        np.zeros((2, 3), np.float32),
    ).points
    assert (lids[1, [159, 386], 1] < lids[0, [159, 386], 1] - 0.5).all()


@pytest.mark.parametrize(("side", "moved", "kept"), [(1.0, 291, 61), (-1.0, 61, 291)])
def test_asymmetry_moves_the_side_it_names(photo, side, moved, kept):
    placed = place(*photo, 192)
    one_sided = au_vector({"AU12": side})
    points = moving.motion(
        placed.landmarks,
        NOTHING,
        np.stack([NOTHING, au_vector({"AU12": 0.5})]),
        one_sided,
        np.zeros((2, 3), np.float32),
    ).points
    travelled = np.linalg.norm(points[1] - points[0], axis=1)
    assert travelled[moved] > 3.0
    assert travelled[kept] < 0.1 * travelled[moved]


def test_pose_turns_the_head_and_not_the_background(warp, photo, reader):
    clip = warp([wanted(photo, {}, pose=(0, 0, 6))])[0]
    points = reader(clip).landmarks
    slope = [np.arctan2(*(p[263] - p[33])[[1, 0]]) for p in points]
    assert 2 < abs(np.degrees(slope[1] - slope[0])) < 8


@pytest.mark.parametrize("unit", ["AU04", "AU09", "AU12", "AU01", "AU17"])
def test_folds_darken_skin_that_is_pressed_together(unit):
    from argen.face import mesh
    from argen.generate import wrinkles

    face = (mesh.calm_mesh() * 80 + [128, 110, 0]).astype(np.float32)
    path = moving.motion(
        face, NOTHING, np.stack([NOTHING, au_vector({unit: 1.0})]), NOTHING, np.zeros((2, 3), np.float32)
    )
    depths = wrinkles.depths(path.relief, path.rest)
    assert depths[0].max() < 1e-6
    assert depths[1].max() > 0.3
    relief = wrinkles.relief(face[:468, :2], 256, depths[1])
    assert (depths[1] @ relief.folds).min() < -0.05


def test_a_closed_mouth_opens_onto_something_darker_than_skin_with_lighter_teeth(photo):
    from argen.face import mesh

    picture = np.full((256, 256, 3), (200, 150, 130), np.uint8)
    face = (mesh.calm_mesh() * 80 + [128, 110, 0]).astype(np.float32)
    face[list(moving.LOWER_LIP[0]), :2] = face[list(moving.UPPER_LIP[0]), :2]
    path = moving.motion(
        face,
        NOTHING,
        np.stack([NOTHING, au_vector({"AU25": 1.0, "AU26": 1.0})]),
        NOTHING,
        np.zeros((2, 3), np.float32),
    )
    inside = inside_of_mouth(picture, face[:468, :2], path)
    assert inside is not None
    grey = inside.skull[..., :3].mean(axis=2)
    assert grey.max() > 140 > 60 > grey.min()


@pytest.mark.parametrize("shape", [(320, 340), (301, 203), (200, 340), (320, 180)])
@pytest.mark.parametrize("size", [64, 97])
def test_clips_are_square_and_undistorted_whatever_the_source(photo, reader, shape, size):
    frame, points = photo
    centre = points[:, :2].mean(axis=0)
    height, width = shape
    y, x = (
        int(np.clip(middle - length / 2, 0, full - length))
        for middle, length, full in zip(centre[::-1], (height, width), frame.shape, strict=False)
    )
    cut = np.ascontiguousarray(frame[y : y + height, x : x + width])
    clip = WarpGenerator(size)(
        [wanted(photo, {"AU12": 1.0}, frame=cut, landmarks=points - np.float32([x, y, 0]))]
    )[0]
    assert clip.shape == (2, size, size, 3)
    placed = place(cut, points - np.float32([x, y, 0]), size)
    across, down = (np.ptp(points[:468, k]) for k in (0, 1))
    seen = np.ptp(placed.landmarks[:468, :2], axis=0)
    assert seen[0] / seen[1] == pytest.approx(across / down, rel=1e-3)
    assert (placed.landmarks[:468, :2] > -1).all()
    assert (placed.landmarks[:468, :2] < size).all()


def test_a_square_frame_of_the_right_size_is_used_as_it_is(photo):
    frame, points = photo
    low = points[:, :2].min(axis=0).astype(int) - 10
    side = int(np.ptp(points[:, :2], axis=0).max()) + 20
    tight = np.ascontiguousarray(frame[low[1] : low[1] + side, low[0] : low[0] + side])
    placed = place(tight, (points - [*low, 0]).astype(np.float32), side)
    if side >= 1.25 * np.ptp(points[:468, :2], axis=0).max():
        np.testing.assert_array_equal(placed.frame, tight)
    assert placed.frame.shape == (side, side, 3)


@pytest.mark.parametrize("corner", [(0, 0), (1, 1), (0, 1)])
def test_a_face_cut_off_by_the_border_still_gives_a_clip(photo, corner):
    frame, points = photo
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    middle = ((low + high) / 2).astype(int)
    x = slice(middle[0], None) if corner[0] else slice(None, middle[0])
    y = slice(middle[1], None) if corner[1] else slice(None, middle[1])
    shift = np.float32([middle[0] * corner[0], middle[1] * corner[1], 0])
    cut = np.ascontiguousarray(frame[y, x])
    request = wanted(
        photo, {"AU26": 1.0, "AU25": 1.0, "AU43": 1.0}, frame=cut, landmarks=points - shift, pose=(5, 5, 5)
    )
    clip = WarpGenerator(96)([request])[0]
    assert clip.shape == (2, 96, 96, 3)
    assert clip[1].std() > 5


@pytest.mark.parametrize("broken", ["no landmarks", "one missing", "outside", "too small", "no units"])
def test_a_source_without_a_usable_face_is_said_to_have_none(warp, photo, broken):
    frame, points = photo
    units = NOTHING
    if broken == "no landmarks":
        points = np.full_like(points, np.nan)
    elif broken == "one missing":
        points = points.copy()
        points[200] = np.nan
    elif broken == "outside":
        points = points + np.float32([5000, 0, 0])
    elif broken == "too small":
        points = points * np.float32(0.5 * LEAST_FACE / np.ptp(points[:, 1]))
    else:
        units = np.full(20, np.nan, np.float32)
    request = wanted((frame, points), {"AU12": 1.0})
    with pytest.raises(NoFaceFound):
        warp([Request(frame, points, units, request.affect, 0)])


def test_irises_may_be_missing(warp, photo):
    points = photo[1].copy()
    points[468:] = np.nan
    np.testing.assert_array_equal(
        warp([wanted((photo[0], points), {"AU12": 1.0})])[0], warp([wanted(photo, {"AU12": 1.0})])[0]
    )


@settings(max_examples=12)
@given(
    units=st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0]), min_size=20, max_size=20),
    asymmetry=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=20, max_size=20),
    pose=st.tuples(*[st.sampled_from([-20.0, 0.0, 20.0])] * 3),
)
def test_nothing_tears_however_far_it_moves(photo, units, asymmetry, pose):
    """On a picture without black or white, no pixel but the mouth's and the folds' gets near them."""
    y, x = np.mgrid[:320, :340]
    picture = np.dstack([100 + x // 4, 100 + y // 4, 120 + (x + y) // 8]).astype(np.uint8)
    points = photo[1]
    request = wanted((picture, points), np.float32(units), asymmetry=np.float32(asymmetry), pose=pose)
    placed = place(picture, points, 128)
    path = moving.motion(
        placed.landmarks, NOTHING, request.affect.trajectory, request.affect.asymmetry, request.affect.pose
    )
    assert np.isfinite(path.points).all()
    at_rest = lay_out(placed.landmarks[:468], 128)
    vertices = with_rings(path.points, path.skull, at_rest)
    across, down = raster.inverse_map(raster.scene(at_rest, vertices, openings.rims()), 1)
    assert np.isfinite(across).all()
    for where in (across, down):
        assert where.min() > -64
        assert where.max() < 192
    clip = WarpGenerator(128)([request])[0]
    assert np.isfinite(clip).all()
    outside = beyond_the_rings(placed.landmarks, 128)
    np.testing.assert_array_equal(clip[1][outside], clip[0][outside])


def test_every_unit_moves_the_face(photo):
    placed = place(*photo, 192)
    for name in ACTION_UNITS:
        path = moving.motion(
            placed.landmarks,
            NOTHING,
            np.stack([NOTHING, au_vector({name: 1.0})]),
            NOTHING,
            np.zeros((2, 3), np.float32),
        )
        assert np.abs(path.points[1] - path.points[0]).max() > 0.4, name


def test_lids_and_lips_never_pass_each_other(photo):
    placed = place(*photo, 192)
    rng = np.random.default_rng(0)
    trajectory = np.concatenate([NOTHING[None], rng.uniform(0, 1, (200, 20)).astype(np.float32)])
    trajectory[1:, AU_INDEX["AU43"]] = rng.choice([0.0, 0.5, 1.0], 200)
    path = moving.motion(placed.landmarks, NOTHING, trajectory, NOTHING, np.zeros((201, 3), np.float32))
    for upper, lower in zip(moving.UPPER_LIDS, moving.LOWER_LIDS, strict=True):
        assert (path.points[:, list(lower), 1] - path.points[:, list(upper), 1]).min() > -0.3
    middle = slice(2, 7)
    gap = (
        path.points[:, list(moving.LOWER_LIP[0])[middle], 1]
        - path.points[:, list(moving.UPPER_LIP[0])[middle], 1]
    )
    assert gap.min() > min(0.0, gap[0].min()) - 0.6
