"""What is learnt from, how long, and in which calls."""

import torch

from argen.tuning.imitation import Lesson, Lessons, in_calls, lessons_of
from argen.tuning.sampling import Draw


def lesson(value, group=0, case=0, count=1):
    return Lesson(group, case, tuple(range(count)), torch.full((count, 2), float(value)), torch.ones(count))


def values(lessons):
    return [float(one.clean[0, 0]) for one in lessons]


def test_the_best_of_each_group_become_lessons_with_their_own_noise():
    draws = [Draw(0, 7, 2, 0, (10, 11), (), range(0)), Draw(1, 8, 2, 0, (20, 21), (), range(0))]
    clean, gated = torch.arange(4.0)[:, None], torch.tensor([False, False, False, True])
    found = lessons_of(draws, clean, torch.tensor([2.0, 1.0, 1.0, 2.0]), gated, best=1, batch=4)
    assert [(one.group, one.case, one.seeds) for one in found] == [(0, 7, (10,)), (1, 8, (20,))]
    assert values(found) == [0.0, 2.0]
    everything = lessons_of(draws, clean, torch.zeros(4), gated, best=None, batch=1)
    assert torch.cat([one.heeded for one in everything]).tolist() == [1, 1, 1, 0]
    assert [one.seeds for one in everything] == [(10,), (11,), (20,), (21,)]


def test_the_first_update_learns_from_what_is_new_and_the_others_from_anything():
    kept = Lessons(None, None)
    for iteration in range(20):
        kept.add(iteration, [lesson(iteration)])
        assert values(kept.of(0, iteration, 0)) == [iteration]
    seen = {value for update in range(1, 200) for value in values(kept.of(0, 19, update))}
    assert seen == set(range(20))
    assert values(kept.of(0, 19, 5)) == values(kept.of(0, 19, 5))


def test_only_so_many_iterations_are_remembered_also_on_disk(tmp_path):
    kept = Lessons(tmp_path, 2)
    for iteration in range(4):
        kept.add(iteration, [lesson(iteration, group) for group in (0, 2)])
    assert {value for update in range(99) for value in values(kept.of(0, 3, update))} == {2, 3}
    kept.forget(4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"00000{i}-{group}.safetensors" for i in (2, 3) for group in (0, 2)
    ]
    again = Lessons(tmp_path, 2)
    again.restore(4, [0, 2])
    again.add(4, [lesson(4, group) for group in (0, 2)])
    assert {value for update in range(99) for value in values(again.of(0, 4, update))} == {3, 4}


def test_a_call_holds_what_is_alike_and_no_more_than_the_batch():
    lessons = [lesson(i, case=i % 2, count=2) for i in range(6)]
    found = [values(some) for some in in_calls(lessons, lambda one: one.case, 4)]
    assert sorted(found) == [[0, 2], [1, 3], [4], [5]]
    assert [values(some) for some in in_calls([lesson(0, count=3)], lambda _: 0, 2)] == [[0]]
