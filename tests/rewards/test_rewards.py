"""One suite that every reward passes: those that ship, and any that is put beside them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from argen import assets
from argen.errors import RecipeError
from argen.tuning.scoring import call_reward, load_scorer
from tests.face.test_measures import SMILE, affect_of, at_distance, ramp, track_of

REWARDS = sorted(assets.names("rewards"))
COUNT = 3


def good_track():
    track = track_of(ramp(SMILE), noise=0.01)
    expressions = np.zeros((24, 7), np.float32)
    expressions[:, 1] = 0.9
    return replace(track, expressions=expressions)


def bad_track():
    """A face that flickers, turns into somebody else, warps, and shows no expression."""
    track = track_of(np.full((24, 20), 0.4), seed=1, noise=0.2)
    identity = track.identity.copy()
    identity[6:] = at_distance(1.3)
    count = track.face_count.copy()
    count[::2] = 2
    landmarks = track.landmarks * np.linspace(1, 2, 24, dtype=np.float32)[:, None, None] ** [1, 0, 1]
    return replace(track, identity=identity, face_count=count, landmarks=landmarks.astype(np.float32))


def columns_of(tracks, steps):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 255, (32, 32, 3), np.uint8)
    frames = torch.from_numpy(np.stack([source] * 24)).movedim(-1, 1).float().div(255)
    count = len(tracks)
    return {
        "frames": torch.stack([frames] * count),
        "tracks": tracks,
        "affects": [affect_of()] * count,
        "persons": [at_distance(0.0).astype(np.float32)] * count,
        "sources": [source] * count,
        "same_person": 0.6,
        "steps": steps,
        "most_steps": 8,
        "anything_else": 1,
    }


def value(name, columns):
    return call_reward(name, assets.load_function("rewards", name), columns, len(columns["tracks"]))


@pytest.fixture(params=REWARDS)
def name(request):
    return request.param


def test_it_gives_one_number_a_clip_in_range(name):
    found = value(name, columns_of([good_track()] * COUNT, [4] * COUNT))
    assert found.shape == (COUNT,)
    assert ((found >= 0) & (found <= 1)).all()


def test_the_same_clip_gets_the_same_number(name):
    columns = columns_of([good_track(), bad_track()], [4, 8])
    assert torch.equal(value(name, columns), value(name, columns))
    alone = value(name, columns_of([bad_track()], [8]))
    assert torch.allclose(alone[0], value(name, columns)[1])


def test_a_better_clip_gets_more(name):
    better, worse = value(name, columns_of([good_track(), bad_track()], [2, 8]))
    assert better > worse + 0.05


def test_nothing_measured_is_worth_nothing(name):
    track = good_track()
    blank = replace(
        track,
        action_units=np.full_like(track.action_units, np.nan),
        identity=np.full_like(track.identity, np.nan),
        landmarks=np.full_like(track.landmarks, np.nan),
        expressions=np.full_like(track.expressions, np.nan),
        face_count=np.zeros_like(track.face_count),
    )
    assert not (value(name, columns_of([blank], [8])) > 0).any()


def test_it_leaves_what_it_reads_alone(name):
    columns = columns_of([good_track()], [4])
    frames, units = columns["frames"].clone(), columns["tracks"][0].action_units.copy()
    value(name, columns)
    assert torch.equal(columns["frames"], frames)
    assert np.array_equal(columns["tracks"][0].action_units, units)


def test_it_says_what_it_does(name):
    function = assets.load_function("rewards", name)
    assert function.__doc__
    assert assets.find("rewards", name).read_text().startswith('"""')


def test_a_frozen_face_wins_no_naturalness():
    frozen = track_of(np.full((24, 20), 0.3))
    assert float(value("naturalness", columns_of([frozen], [4]))) == 0
    assert float(value("naturalness", columns_of([good_track()], [4]))) > 0.7


def test_a_misspelt_reward_is_an_error_with_suggestions():
    with pytest.raises(RecipeError, match="did you mean 'naturalness'"):
        load_scorer({"naturalnes": 1.0})


def test_no_reward_at_all_is_an_error():
    with pytest.raises(RecipeError, match="name at least one"):
        load_scorer({})


def test_a_users_reward_is_a_function_in_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def bright(frames, **_):\n    return frames.flatten(1).mean(1)\n")
    scorer = load_scorer({f"{file}:bright": 1.0})
    columns = columns_of([good_track()], [4])
    assert call_reward("mine", next(iter(scorer.rewards.values())), columns, 1).shape == (1,)
