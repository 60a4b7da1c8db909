import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from argen.cli import dataset as topic
from argen.errors import DatasetError, UsageError
from tests.dataset import released
from tests.dataset.makers import put_text, put_video


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The three commands, with a cache of their own and no face reader."""
    monkeypatch.setenv("ARGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(topic, "_face_tools", dict)
    app = typer.Typer()
    topic.register(app)

    def invoke(*arguments, code=0):
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout

    return invoke


def test_scan_prints_text_or_one_json_object(tmp_path, run):
    root = released.caer(tmp_path / "CAER")
    assert "layout         caer" in run("scan", root)
    found = json.loads(run("scan", root, "--json"))
    assert found["clips"]["test"]["Anger"] == 1
    assert json.loads(run("scan", root, "--deep", "--json"))["leak"]["near_duplicates"] == 1


def test_scan_takes_layout_fold_and_subjects(tmp_path, run):
    root = released.dfew(tmp_path / "DFEW", per_class=5)
    assert json.loads(run("scan", root, "--fold", 3, "--json"))["clips"]["test"]["happy"] == 1
    assert json.loads(run("scan", root / "Clip", "--layout", "folder", "--json"))["layout"] == "folder"
    with pytest.raises(DatasetError, match="DFEW has folds 1 to 5"):
        run("scan", root, "--fold", 7)


def test_export_goes_beside_its_source_and_says_what_it_wrote(tmp_path, run):
    root = released.dfew(tmp_path / "DFEW", per_class=5)
    said = run("export", root, "--format", "s2d")
    assert "labels           0 happy, 1 sad, 2 neutral, 3 angry, 4 surprise, 5 disgust, 6 fear" in said
    assert (tmp_path / "DFEW-s2d" / "export.json").is_file()
    done = json.loads(run("export", root, "--format", "csv", "--to", tmp_path / "x", "--json"))
    assert done["counts"] == {"train": 21, "train_real": 21, "train_synthetic": 0, "val": 7, "test": 7}
    with pytest.raises(UsageError, match="did you mean 'mae-dfer'"):
        run("export", root, "--format", "mae_dfer")


def test_an_output_is_exported_in_its_own_fold_or_not_at_all(tmp_path, run):
    root = released.argen_output(tmp_path / "out")
    put_text(root / "run.json", '{"recipe": {"dataset": {"fold": 2}}}')
    for fold in (1, 3):
        with pytest.raises(UsageError, match=f"--fold {fold}: .* was made in fold 2; leave --fold out"):
            run("export", root, "--format", "dfer-clip", "--fold", fold)
    for wish in ((), ("--fold", 2), ("--layout", "folder")):
        run("export", root, "--format", "dfer-clip", *wish)
    assert (tmp_path / "out-dfer-clip" / "annotation" / "out_set_2_train.txt").is_file()


def test_verify_tells_by_its_exit_code(tmp_path, run):
    put_text(tmp_path / "out" / "run.json", "{}")
    put_video(tmp_path / "out" / "train" / "sad" / "syn_1.mp4")
    assert "a synthetic clip without a record" in run("verify", tmp_path / "out", code=3)
    told = json.loads(run("verify", tmp_path / "out", "--json", "--quick", code=3))
    assert told["sound"] is False
    with pytest.raises(DatasetError, match="no output of ARGen"):
        run("verify", tmp_path)


def test_the_module_is_light_to_import():
    heavy = ("numpy", "torch", "PIL", "decord", "pydantic")
    code = f"import sys, argen.cli.dataset; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
