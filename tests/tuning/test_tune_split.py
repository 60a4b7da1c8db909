"""Which jobs are tried and which are judged."""

from types import SimpleNamespace

from argen.tuning.scoring import Case
from pipelines.tune import split, variety


def test_judged_jobs_share_no_subject_with_the_tried_and_show_every_label():
    labels, subjects = ("anger", "disgust", "fear"), ("a", "b", "c", "d")
    cases = [
        (subject, Case(f"{label} {subject} {i}", {}))
        for label in labels
        for subject in subjects
        for i in range(3)
    ]
    tried, judged = split(cases, 6)
    names = [{case.id.split()[1] for case in part} for part in (tried, judged)]
    assert not names[0] & names[1]
    assert len(judged) == 6
    assert {case.id.split()[0] for case in judged} == set(labels)


def test_a_single_subject_is_judged_by_what_it_was_tuned_on():
    cases = [("a", Case(str(i), {})) for i in range(4)]
    tried, judged = split(cases, 2)
    assert len(tried) == 4
    assert [case.id for case in judged] == ["0", "1"]


def test_a_run_says_of_how_many_clips_and_people_its_jobs_are_made():
    def case(clip, subject):
        return Case("", {}, {"origin": SimpleNamespace(clip=SimpleNamespace(id=clip, subject=subject))})

    cases = [case("1", "a"), case("1", "a"), case("2", "a"), case("3", "b")]
    assert variety(cases, people_known=True) == "4 jobs from 3 clips of 2 people"
    assert variety(cases, people_known=False) == "4 jobs from 3 clips"
