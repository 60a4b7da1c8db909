from argen.face.follow import FaceBox, follow_one_face


def box(index: int, left: float, size: float = 10.0) -> FaceBox:
    return FaceBox(index, float(left), 0.0, float(size), float(size))


def indices(frames: list[list[FaceBox]]) -> list[int | None]:
    return [None if face is None else face.index for face in follow_one_face(frames)]


def test_the_largest_first_then_the_nearest():
    frames = [[box(0, 0), box(1, 50, 12)], [box(0, 48, 9), box(1, 0, 30)], [box(0, 0, 30), box(1, 45)]]
    assert indices(frames) == [1, 0, 1]


def test_a_gap_is_bridged():
    assert indices([[box(0, 0)], [], [], [box(0, 6)]]) == [0, None, None, 0]


def test_somebody_far_away_is_somebody_else():
    assert indices([[box(0, 0)], [box(0, 100)], [box(0, 3)]]) == [0, None, 0]


def test_the_track_starts_with_the_first_face():
    assert indices([[], [box(0, 0), box(1, 90, 30)]]) == [None, 1]


def test_nobody_at_all():
    assert indices([[], []]) == [None, None]
    assert indices([]) == []
