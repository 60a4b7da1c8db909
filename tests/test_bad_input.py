"""Sixty ways of getting it wrong: each has its exit code, names the thing and the remedy, leaves nothing."""

# ruff: noqa: E501 - a table reads better in long lines

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from argen.cli import run as run_app
from argen.dataset.video import write_mp4
from tests import fakes


@dataclass(frozen=True)
class Case:
    """What the user did, and what they must be told."""

    name: str
    code: int
    says: str  # words that the message must hold, separated by |
    arguments: tuple[str, ...] = ()
    prepare: Callable[[Path], None] = lambda root: None
    src: str = "src"
    out: str = "out"
    recipe: str | None = None
    writes: bool = False  # OUT may exist afterwards (the run began, or was there before)


def case(name: str, code: int, says: str, **rest) -> Case:
    arguments = tuple(shlex.split(rest.pop("arguments", "")))
    return Case(name, code, says, arguments=arguments, **rest)


def make(root: Path, name: str = "src", **options) -> Path:
    return fakes.painted_dataset(root / name, **options)


def touch(path: Path, content: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def still(path: Path, level: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(fakes.paint(np.full((1, 20), 0.02), level)[0]).save(path)


def metadata(root: Path, rows: list[dict], split: str = "train") -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    touch(root / "src" / split / "metadata.jsonl", lines.encode())


def listed(root: Path, subject: str = "anna", second: str = "test") -> None:
    for split in ("train", second):
        write_mp4(root / "src" / split / f"{split}.mp4", fakes.paint(np.full((3, 20), 0.02)), 24.0)
        metadata(root, [{"file_name": f"{split}.mp4", "label": "neutral", "subject": subject}], split)


def old_output(root: Path) -> None:
    from argen.augmentation import augment
    from argen.config import load_recipe
    from argen.dataset.read import read_dataset

    chosen = load_recipe(settings={"plan": {"classes": ["disgust"], "count": 2}, **SMALL})
    list(augment(read_dataset(root / "src"), chosen, root / "out"))


SMALL = {"generate": {"frames": 6, "size": 64}}
QUICK = "--class disgust --count 2 --set generate.frames=6 --set generate.size=64"


def edited(root: Path) -> None:
    make(root)
    old_output(root)
    still(root / "src/train/happy/new.png")


def begun(root: Path) -> None:
    make(root)
    old_output(root)


CASES = [
    # the folder of clips
    case("missing folder", 2, "nowhere: no such folder", src="nowhere"),
    case("a file for a folder", 2, "a file; give the folder", prepare=lambda r: touch(r / "src")),
    case("an empty folder", 2, "src: no clips", prepare=lambda r: (r / "src").mkdir()),
    case("only notes in it", 2, "src: no clips", prepare=lambda r: touch(r / "src/train/happy/notes.txt", b"x")),
    case(
        "no training split", 2, "train",
        prepare=lambda r: still(r / "src/test/happy/a.png"),
    ),
    case(
        "case twins", 2, "Disgust|disgust",
        prepare=lambda r: (make(r), still(r / "src/train/Disgust/a.png")),
    ),
    case("one subject in two splits", 2, "anna|train|test", prepare=listed),
    case(
        "a path that climbs out", 2, "../other.mp4",
        prepare=lambda r: metadata(r, [{"file_name": "../other.mp4", "label": "happy"}]),
    ),
    case(
        "metadata without labels", 2, "label",
        prepare=lambda r: (touch(r / "src/train/a.mp4", b"x"), metadata(r, [{"file_name": "a.mp4"}])),
    ),
    case(
        "metadata that is not JSON", 2, "metadata.jsonl",
        prepare=lambda r: touch(r / "src/train/metadata.jsonl", b"{file_name: 1"),
    ),
    case("unknown layout", 2, "dataset.layout|dfwe", arguments="--set dataset.layout=dfwe", prepare=make),
    case(
        "a layout that it is not", 2, "dataset.layout|folder",
        arguments="--set dataset.layout=zorp", prepare=make,
    ),
    case("a pattern without a subject", 2, "subject", arguments="--set dataset.subjects=(a+)", prepare=make),
    case("a pattern that is none", 2, "subjects", arguments="--set dataset.subjects=(?P<subject>[", prepare=make),
    # the plan
    case("one class", 2, "nothing to add", prepare=lambda r: make(r, counts={"happy": 3})),
    case("balanced already", 2, "nothing to add", prepare=lambda r: make(r, counts={"happy": 2, "sad": 2})),
    case("unknown class", 2, "'disgst'; did you mean 'disgust'?", arguments="--class disgst", prepare=make),
    case(
        "no prototype and no clips", 2, "zorp|no prototype|enough_clips",
        arguments="--class zorp --count 3", prepare=make,
    ),
    case(
        "a class with one clip and no prototype", 2, "zorp|1 training clips",
        arguments="--class zorp --count 3", prepare=lambda r: (make(r), still(r / "src/train/zorp/a.png")),
    ),
    case("unknown strategy", 2, "'minorty'; did you mean 'minority'?", arguments="--strategy minorty", prepare=make),
    case("ratio above one", 2, "ratio|1.5", arguments="--strategy 1.5", prepare=make),
    case("ratio of nothing", 2, "ratio", arguments="--strategy 0", prepare=make),
    case("ratio already reached", 2, "increase it", arguments="--strategy 0.1", prepare=make),
    case("total below what is there", 2, "'happy' has 2|1 are asked", arguments="--set 'plan.strategy={happy: 1}'",
         prepare=make),
    case("total of a class not there", 2, "did you mean 'happy'", arguments="--set 'plan.strategy={hapy: 9}'",
         prepare=make),
    case("count of zero", 2, "count", arguments="--class disgust --count 0", prepare=make),
    case("negative seed", 2, "seed", arguments="--seed -1", prepare=make),
    # the recipe and the flags
    case("a model for warp", 2, "generate.model|generator=diffusion", arguments="--set generate.model=puppets", prepare=make),
    case("an adapter for warp", 2, "generate.adapter|warp", arguments="--set generate.adapter=a.safetensors", prepare=make),
    case("missing recipe", 2, "none.yaml: cannot be read", arguments="--recipe none.yaml", prepare=make),
    case("recipe that is not YAML", 2, "recipe.yaml:3|not YAML", recipe="plan:\n  a: [1\n", prepare=make),
    case("recipe that is a list", 2, "a recipe is a mapping", recipe="- 1\n", prepare=make),
    case(
        "five mistakes at once", 2,
        "recipe.yaml:1: seed|recipe.yaml:3: generate.step: unknown key; did you mean 'steps'?|"
        "recipe.yaml:4: generate.size|recipe.yaml:5: gate.identity|recipe.yaml:6: bogus",
        recipe="seed: -3\ngenerate:\n  step: 4\n  size: 1\ngate: {identity: 1.7}\nbogus: 1\n", prepare=make,
    ),
    case("unknown key by --set", 2, "--set generate.step|did you mean 'steps'", arguments="--set generate.step=4",
         prepare=make),
    case("--set without a value", 2, "write it as key=value", arguments="--set generate.steps", prepare=make),
    case("--set of the wrong kind", 2, "generate.steps|many", arguments="--set generate.steps=many", prepare=make),
    case("--set into a value", 2, "'seed' is a value", arguments="--set seed=1 --set seed.x=2", prepare=make),
    case("unknown preset", 2, "--preset|did you mean 'faces'", arguments="--preset face", prepare=make),
    case("preset and recipe", 2, "give one", arguments="--preset faces", recipe="seed: 1\n", prepare=make),
    case("shard that is none", 2, "r/n", arguments="--shard 2", prepare=make),
    case("shard beyond the last", 2, "r/n|0 <= r < n", arguments="--shard 2/2", prepare=make),
    case("unknown flag", 2, "--counts", arguments="--counts 3", prepare=make),
    case("unknown reader", 2, "face.reader|mediapip", arguments="--set face.reader=mediapip", prepare=make),
    case("unknown generator", 2, "generate.generator|wrap", arguments="--set generate.generator=wrap", prepare=make),
    case("unknown caption writer", 2, "affect.captions", arguments="--set affect.captions=poet", prepare=make),
    case("intensity upside down", 2, "affect: intensity is", arguments="--set affect.intensity=[0.9,0.2]", prepare=make),
    # the output
    case("OUT inside SRC", 2, "may not lie inside the source", out="src/out", prepare=make),
    case("OUT is SRC", 2, "may not lie inside the source", out="src", prepare=make, writes=True),
    case("SRC inside OUT", 2, "lies inside it", src="out/src", prepare=lambda r: make(r, "out/src"), writes=True),
    case("OUT is a file", 2, "is a file", prepare=lambda r: (make(r), touch(r / "out")), writes=True),
    case(
        "OUT holds something else", 2, "not made by ARGen|thesis.tex",
        prepare=lambda r: (make(r), touch(r / "out/thesis.tex")), writes=True,
    ),
    case("another recipe on the same OUT", 2, "plan.count: 2 -> 3", prepare=begun, writes=True,
         arguments="--class disgust --count 3 --set generate.frames=6 --set generate.size=64"),
    case("SRC edited between runs", 2, "edited since|1 new|happy/new", arguments=QUICK, prepare=edited, writes=True),
    case("OUT below a file", 2, "file: is a file", out="file/out", prepare=lambda r: (make(r), touch(r / "file"))),
    # what the run depends on
    case(
        "no pixels in any source", 2, "train/neutral/a.mp4: empty file",
        arguments=QUICK, prepare=lambda r: touch(r / "src/train/neutral/a.mp4", b""),
    ),
    case(
        "sources without a face", 3, "",
        arguments=QUICK, writes=True,
        prepare=lambda r: [
            (r / "src/train/neutral").mkdir(parents=True),
            Image.new("RGB", (64, 64)).save(r / "src/train/neutral/a.png"),
        ],
    ),
    case("diffusion without a model", 2, "generate.model", arguments="--set generate.generator=diffusion", prepare=make),
    case(
        "a model folder that is not there", 4, "nomodel",
        arguments="--set generate.generator=diffusion --set generate.model=./nomodel", prepare=make,
    ),
    case(
        "a folder that is no checkpoint", 4, "model_index.json",
        arguments="--set generate.generator=diffusion --set generate.model={root}/empty",
        prepare=lambda r: (make(r), (r / "empty").mkdir()),
    ),
    case(
        "captions by a model without one", 2, "affect.vlm", arguments="--set affect.captions=vlm", prepare=make,
    ),
    case(
        "a landmarker that is not there", 4, "gone.task",
        arguments="--set face.reader=mediapipe --set face.landmarker={root}/gone.task", prepare=make,
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def painted(monkeypatch):
    """Painted models, except where the case asks for a real one."""
    from argen.face.reader import load_reader
    from argen.generate.load import load_generator

    real = lambda s: s.reader != "auto"  # noqa: E731
    monkeypatch.setattr(
        "argen.workshop.load_reader", lambda s, _: load_reader(s) if real(s) else fakes.PaintedReader()
    )
    monkeypatch.setattr(
        "argen.workshop.load_generator",
        lambda s: load_generator(s) if s.generator == "diffusion" else fakes.PaintedGenerator(),
    )


def call(monkeypatch, *arguments: str) -> int:
    """Run `argen-augment` in this process; its exit code."""
    from argen.cli import augment_main

    monkeypatch.setattr("sys.argv", ["argen-augment", *arguments])
    assert run_app
    with pytest.raises(SystemExit) as stop:
        augment_main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize("wrong", CASES, ids=lambda wrong: wrong.name)
def test_it_says_what_is_wrong_and_leaves_nothing(wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wrong.prepare(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / wrong.src).rglob("*")} if wrong.src else {}
    arguments = [part.replace("{root}", str(tmp_path)) for part in wrong.arguments]
    if wrong.recipe is not None:
        (tmp_path / "recipe.yaml").write_text(wrong.recipe)
        arguments += ["--recipe", "recipe.yaml"]
    code = call(monkeypatch, wrong.src, wrong.out, *arguments)
    said = capsys.readouterr()
    assert code == wrong.code, said.err
    for words in wrong.says.split("|"):
        assert words in said.err
    assert "Traceback" not in said.err
    assert {p: p.stat().st_mtime_ns for p in before} == before
    if not wrong.writes:
        assert not (tmp_path / wrong.out).exists()


def test_there_are_at_least_sixty_cases_with_the_ones_below():
    assert len({wrong.name for wrong in CASES}) == len(CASES)
    assert len(CASES) + 6 >= 60
