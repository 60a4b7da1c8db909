"""Which jobs are tried and which are judged."""

from argen.tuning.scoring import Case
from pipelines.tune import split


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
