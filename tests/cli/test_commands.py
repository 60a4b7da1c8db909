"""What a user of the command line can count on: speed, exit codes, JSON alone on stdout."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import argen.cli.augment
from argen.errors import RecipeError
from tests import fakes
from tests.test_augmentation import use

EASY = ("--set", "gate.smooth=0", "--set", "gate.distinct=0")  # six frames jerk


def call(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["argen", *arguments])
    code = 0
    try:
        argen.cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def source(tmp_path):
    return fakes.painted_dataset(tmp_path / "source")


def test_help_imports_nothing_heavy():
    code = (
        "import sys, argen.cli; sys.argv = ['argen', '--help']\n"
        "try: argen.cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'mediapipe', 'faiss', 'cv2', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "augment" in done.stdout


def test_plan_prints_a_table_or_json_and_writes_nothing(monkeypatch, capsys, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator())
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = call(monkeypatch, capsys, "plan", str(source), "--set", "generate.frames=6", "--json")
    row = json.loads(out)
    assert code == 0
    assert row["add"] == {"disgust": 3, "happy": 2}
    assert row["cost"]["seconds_per_clip"] > 0
    code, out, _ = call(monkeypatch, capsys, "plan", str(source), "--set", "generate.frames=6")
    assert "disgust" in out
    assert "measured on one clip" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_augment_ends_with_where_things_are(monkeypatch, capsys, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator())
    small = ("--count", "2", "--class", "disgust", "--set", "generate.frames=6", *EASY)
    code, out, _ = call(monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), *small)
    assert code == 0
    assert "disgust: 2 of 2 kept" in out
    assert str(tmp_path / "out/report/index.html") in out
    assert "load_dataset('videofolder'" in out
    code, out, err = call(
        monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), *small, "--json"
    )
    assert json.loads(out)["kept"] == {"disgust": 2}
    assert "resuming: 2 jobs done" in err


def test_short_of_the_target_is_exit_3_and_says_so(monkeypatch, capsys, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=1))
    small = ("--count", "2", "--class", "disgust", "--set", "generate.frames=6", "--set", "plan.tries=1")
    code, out, _ = call(monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), *small)
    assert code == 3
    assert "short of the target" in out


def test_a_class_that_was_named_in_vain_is_told_and_is_no_success(monkeypatch, capsys, source, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator())
    (source / "train" / "zorp").mkdir()
    small = ("--count", "1", "--set", "generate.frames=6", *EASY)
    classes = ("--class", "disgust", "--class", "zorp")
    code, out, err = call(
        monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), *classes, *small
    )
    assert "1 of 1 kept" in out
    assert "zorp: not expanded: no prototype for this label" in err
    assert code == 3


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys, source, tmp_path):
    class Interrupted(fakes.PaintedGenerator):
        def __call__(self, requests):
            raise KeyboardInterrupt

    use(monkeypatch, Interrupted())
    code, _, err = call(
        monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), "--class", "disgust"
    )
    assert code == 130
    assert "run the same command again" in err


def test_people_are_told_apart_once(monkeypatch, capsys, source, tmp_path):
    """Also where the first run was stopped before it began: the folder is known as ARGen's."""
    use(monkeypatch, fakes.PaintedGenerator())
    read, see = [], fakes.PaintedReader.__call__

    def counted(self, frames, first_units=None):
        read.append(len(frames))
        return see(self, frames, first_units)

    monkeypatch.setattr(fakes.PaintedReader, "__call__", counted)
    small = ("--count", "1", "--class", "disgust", "--set", "generate.frames=6", *EASY)
    small += ("--set", "dataset.subjects=identity")
    with monkeypatch.context() as stopped:
        stopped.setattr("argen.augmentation.make_plan", lambda *_: sys.exit(130))
        call(stopped, capsys, "augment", str(source), str(tmp_path / "out"), *small)
    pictures = sum(1 for _ in source.rglob("*.png"))
    assert len(read) == pictures
    code, out, _ = call(monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), *small)
    assert code == 0
    assert "1 of 1 kept" in out
    clips = len(read) - pictures
    call(monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), *small)
    assert clips < pictures
    assert len(read) == pictures + clips


def test_a_full_disk_is_exit_4_and_loses_nothing(monkeypatch, capsys, source, tmp_path):
    import errno

    from argen.manifest import Journal

    use(monkeypatch, fakes.PaintedGenerator())
    write = Journal.write
    written = []

    def full(self, record):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        written.append(record)
        write(self, record)

    small = ("--count", "4", "--class", "disgust", "--set", "generate.frames=6", *EASY)
    monkeypatch.setattr(Journal, "write", full)
    code, _, err = call(monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), *small)
    assert code == 4
    assert "no space left; free some and run the same command again" in err
    monkeypatch.setattr(Journal, "write", write)
    code, out, err = call(monkeypatch, capsys, "augment", str(source), str(tmp_path / "out"), *small)
    assert "resuming: 2 jobs done" in err
    assert "4 of 4 kept" in out


def test_list_and_copy(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, out, _ = call(monkeypatch, capsys, "list")
    assert "faces" in out
    assert "demo_dataset" in out
    _, out, _ = call(monkeypatch, capsys, "list", "settings")
    assert "generate.steps = 8: diffusion: denoising steps" in out
    assert "tune.rank = 8: of the LoRA matrices" in out
    assert ": None\n" not in out  # every setting says what it is
    code, out, _ = call(monkeypatch, capsys, "copy", "configs/augment/balance")
    assert code == 0
    assert (tmp_path / "balance.yaml").exists()
    code, _, err = call(monkeypatch, capsys, "copy", "configs/augment/balance")
    assert (code, "exists already" in err) == (2, True)
    code, _, err = call(monkeypatch, capsys, "copy", "configs/augment/balanec")
    assert (code, "did you mean 'augment/balance'" in err) == (2, True)


def test_doctor_says_what_is_there(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "doctor", "--json")
    findings = {row["name"]: row for row in json.loads(out)}
    assert findings["landmarker"]["well"]
    assert code == 0


@pytest.mark.parametrize(("text", "shard"), [("0/1", (0, 1)), ("2/3", (2, 3))])
def test_shards_are_read(text, shard):
    assert argen.cli.augment.read_shard(text) == shard


def test_a_launcher_is_believed_where_no_shard_is_given(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert argen.cli.augment.read_shard(None) == (3, 8)
    with pytest.raises(RecipeError):
        argen.cli.augment.read_shard("8/8")
