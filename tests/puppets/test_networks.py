"""The reader, the judge's seclusion, and what the two are trained with."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import argen
from argen.errors import ModelUnavailable
from argen.puppets.chooser import Chooser
from argen.puppets.examiner import Judgement
from argen.puppets.expressions import BASIC
from argen.puppets.footage import direct, shoot, shoot_stills
from argen.puppets.judge import Judge
from argen.puppets.learning import negatives, shape_basis
from argen.puppets.reader import PuppetReader, load_network, looks_like_puppet, make_reader


@pytest.fixture(scope="module")
def reader() -> PuppetReader:
    return PuppetReader()


def test_it_reads_units_landmarks_and_expression_of_strangers(reader: PuppetReader) -> None:
    shots = [
        shoot("evaluation", i, label, "neutral", 0.1)
        for i, label in enumerate(["happy", "surprise", "anger"] * 3)
    ]
    seen, wanted, errors = [], [], []
    for shot in shots:
        track = reader(shot.frames)
        assert track.valid.mean() > 0.9
        seen.append(track.action_units[shot.act.apex])
        wanted.append(shot.act.units)
        errors.append(np.abs(track.landmarks[0, :, :2] - shot.landmarks[0, :, :2]).mean())
    assert np.corrcoef(np.ravel(seen), np.ravel(wanted))[0, 1] > 0.6
    assert np.median(errors) < 2.0  # pixels of 64


def test_two_clips_of_one_person_are_nearer_than_two_people(reader: PuppetReader) -> None:
    people = [shoot("evaluation", i).person for i in range(6)]
    first = [reader(shoot("evaluation", 50 + i, person=p).frames).person for i, p in enumerate(people)]
    second = [reader(shoot("evaluation", 80 + i, person=p).frames).person for i, p in enumerate(people)]
    distance = np.linalg.norm(np.array(first)[:, None] - np.array(second)[None], axis=2)
    assert np.median(np.diag(distance)) < reader.same_person < np.median(distance)


def test_no_face_is_a_row_of_nan(reader: PuppetReader) -> None:
    empty = negatives(6, np.random.default_rng(8))
    track = reader(empty)
    assert track.face_count.sum() <= 1
    assert np.isnan(track.action_units[track.face_count == 0]).all()


def test_it_is_deterministic_and_scales(reader: PuppetReader) -> None:
    frames = shoot("evaluation", 3).frames[:2]
    large = frames.repeat(2, axis=1).repeat(2, axis=2)
    small_track, large_track = reader(frames), reader(large)
    assert np.array_equal(small_track.action_units, reader(frames).action_units)
    assert np.allclose(large_track.landmarks, 2 * small_track.landmarks, atol=1e-2)
    assert looks_like_puppet(frames)


def test_a_photograph_of_a_person_is_no_puppet() -> None:
    cbook = pytest.importorskip("matplotlib.cbook")
    import cv2

    with cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    face = cv2.resize(picture[20:420, 60:460], (64, 64), interpolation=cv2.INTER_AREA)
    assert not looks_like_puppet(face[None])


def test_nothing_that_can_be_optimised_imports_the_judge_or_the_chooser() -> None:
    root = Path(argen.__file__).parents[1]
    for file in [*(root / "argen").rglob("*.py"), *(root / "rewards").glob("*.py")]:
        scoring = file.relative_to(root).as_posix() == "argen/gain/labels.py"  # measure_gain's last table
        assert scoring or not {"argen.puppets.chooser", "argen.puppets.judge"} & _imports(file), file


def _imports(file: Path) -> set[str]:
    return {
        name
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }


def test_the_chooser_is_no_copy_of_the_judge() -> None:
    shots = [shoot("evaluation", 300 + i, label, "neutral", 0.1) for i, label in enumerate(BASIC)]
    chooser, judge = Chooser(), Judge()
    named = [[who(shot.frames).label for shot in shots] for who in (chooser, judge)]
    truth = [shot.act.label for shot in shots]
    assert min(np.mean(np.array(said) == truth) for said in named) > 0.5
    said = [who(shots[0].frames).units for who in (chooser, judge)]
    assert np.abs(said[0] - said[1]).max() > 1e-3


def test_a_clip_is_named_by_its_liveliest_frames() -> None:
    calm, lively = np.full(7, 0.02), np.full(7, 0.05)
    calm[0], lively[3] = 0.88, 0.7
    units = np.zeros((6, 20), np.float32)
    units[4:, 2] = 0.8
    said = Judgement(
        units, np.log([calm] * 4 + [lively] * 2).astype(np.float32), np.eye(6, 41, dtype=np.float32)
    )
    np.testing.assert_allclose(np.exp(said.log_probabilities), lively, rtol=1e-6)
    assert said.label == BASIC[3]


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="missing"):
        load_network(tmp_path / "no.safetensors", make_reader())
    from safetensors.numpy import save_file

    save_file({"0.weight": np.zeros((2, 2), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelUnavailable, match="not this network's"):
        load_network(tmp_path / "other.safetensors", make_reader())


def test_stills_say_what_each_frame_shows() -> None:
    stills = [shoot_stills("reader", i, wild=0.5) for i in range(12)]
    assert all(s.frames.shape == (3, 64, 64, 3) for s in stills)
    assert {int(e) for s in stills for e in s.expressions} <= {-1, *range(7)}
    assert any((s.expressions[0] != s.expressions[1]) for s in stills)


def test_uses_never_share_people() -> None:
    uses = ("embedded", "reader", "judge", "evaluation")
    people = {use: {direct(use, i).person for i in range(20)} for use in uses}
    assert len(set.union(*people.values())) == sum(len(p) for p in people.values())


def test_landmarks_come_back_from_their_components() -> None:
    points = np.stack([shoot("reader", i).landmarks[0].reshape(-1) for i in range(15)])
    basis, mean = shape_basis(points)
    codes = (points - mean) @ (basis.T / (basis**2).sum(axis=1))
    assert np.abs(codes @ basis + mean - points).mean() < 0.5
    assert torch.isfinite(torch.from_numpy(codes)).all()
