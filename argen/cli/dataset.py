"""`argen scan`, `argen export` and `argen verify`: a dataset looked at, handed on, and checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from argen.config import DatasetSettings
    from argen.dataset.clip import Problem

UNSOUND = 3  # an output that is short of what it claims

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Layout = Annotated[str, typer.Option("--layout", help="auto, or a name: see `argen list layouts`.")]
Fold = Annotated[int, typer.Option("--fold", min=1, max=10, help="Fold of a dataset with official folds.")]
Subjects = Annotated[
    str, typer.Option("--subjects", help="auto, column, clip, or a regular expression with a group subject.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    app.command("scan")(scan_command)
    app.command("export")(export_command)
    app.command("verify")(verify_command)


def scan_command(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="A dataset as released, or any class folders.")
    ],
    deep: Annotated[
        bool, typer.Option("--deep", help="Also decode: near-duplicates, damage, faces in a sample.")
    ] = False,
    layout: Layout = "auto",
    fold: Fold = 1,
    subjects: Subjects = "auto",
    as_json: AsJson = False,
) -> None:
    """Say what a folder is: classes, splits, balance, lengths, what cannot be read, what leaks.

    Examples: `argen scan DFEW --fold 2`, `argen scan clips --deep --json`
    """
    from argen.dataset.scan import scan
    from argen.dataset.scan_page import as_text
    from argen.face.models import cache_folder

    cache = cache_folder() / "scan"
    wishes = _settings(layout, fold, subjects)
    found = scan(source, wishes, deep=deep, cache=cache, **(_face_tools() if deep else {}))
    print(json.dumps(found.as_dict(), ensure_ascii=False) if as_json else as_text(found))


def export_command(
    source: Annotated[Path, typer.Argument(metavar="OUT", help="An output of ARGen, or any dataset.")],
    codebase: Annotated[
        str,
        typer.Option(
            "--format",
            help="dfer-clip, mae-dfer, s2d, s4d, claip-emo, videomae, csv, videofolder, webdataset.",
        ),
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where; beside OUT by default.")
    ] = None,
    crop: Annotated[
        int, typer.Option("--crop", metavar="PIXELS", help="Crop faces to this size, as 224; 0: as they are.")
    ] = 0,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", help="What stands before paths in lists: another machine's place."),
    ] = None,
    silence: Annotated[
        bool, typer.Option("--silence", help="claip-emo: silence for clips without sound.")
    ] = False,
    train_on_val: Annotated[
        bool, typer.Option("--train-on-val", help="Give validation back to train.")
    ] = False,
    layout: Layout = "auto",
    fold: Annotated[
        int | None, typer.Option("--fold", min=1, max=10, help="Of a dataset with official folds; else 1.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the lists that a codebase of the field reads, and the media where it looks for them.

    Examples: `argen export OUT --format dfer-clip`, `argen export OUT --format s2d --to S2D/data --crop 224`
    """
    from dataclasses import asdict

    from argen.dataset.exporting.export import export
    from argen.dataset.exporting.gather import gather

    exported = _fold_of(source, fold)
    dataset = gather(source, _settings(layout, fold or 1, "auto"))
    root = source.resolve()
    place = to or root.with_name(f"{root.name}-{codebase}")
    done = export(
        dataset,
        place,
        codebase,
        fold=exported,
        prefix=prefix,
        crop=_face_crop(crop) if crop else None,
        size=crop,
        silence=silence,
        train_on_val=train_on_val,
    )
    if as_json:
        print(json.dumps({**asdict(done), "out": str(done.out)}, ensure_ascii=False))
    else:
        _tell_export(done)


def _tell_export(done: Exported) -> None:
    for name, count in done.counts.items():
        print(f"{name:<16} {count:>8,}")
    print(f"labels           {', '.join(f'{number} {label}' for label, number in _in_order(done.labels))}")
    _tell(done.problems)
    print(f"written to {done.out}")


def verify_command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="An output of ARGen.")],
    quick: Annotated[bool, typer.Option("--quick", help="Do not decode the clips.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check an output: hashes, every clip a record and every record a clip, nothing synthetic held out.

    Exit code 0 if all is sound, 3 if something is wrong.
    """
    from dataclasses import asdict

    from argen.dataset.verify import verify_output

    problems = verify_output(out, decode=not quick, find_weights=_weights_at_hand)
    if as_json:
        print(
            json.dumps({"sound": not problems, "problems": [asdict(p) for p in problems]}, ensure_ascii=False)
        )
    else:
        _tell(problems)
        print(f"{out}: {f'{len(problems):,} problems' if problems else 'sound'}")
    if problems:
        sys.exit(UNSOUND)


def _fold_of(source: Path, wish: int | None) -> int:
    """The fold to export: an output's own, else the one that was asked for."""
    from argen.dataset.layouts.argen_output import run_fold
    from argen.errors import UsageError

    own = run_fold(source)
    if own and wish and own != wish:
        raise UsageError(f"--fold {wish}: {source} was made in fold {own}; leave --fold out")
    return own or wish or 1


def _settings(layout: str, fold: int, subjects: str) -> DatasetSettings:
    from argen.config import DatasetSettings

    return DatasetSettings(layout=layout, fold=fold, subjects=subjects)


def _in_order(labels: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401 (a mapping)
    return iter(sorted(labels.items(), key=lambda pair: pair[1]))


def _tell(problems: tuple[Problem, ...] | list[Problem]) -> None:
    for problem in problems:
        print(f"{problem.where}: {problem.what}")


def _face_tools() -> dict[str, Any]:
    """Counting and recognising faces, where a reader is at hand; nothing where none is."""
    import logging

    import numpy as np

    from argen.config import FaceSettings
    from argen.dataset.video import read_frames
    from argen.errors import ArgenError
    from argen.face.reader import load_reader

    try:
        reader = load_reader(FaceSettings())
    except ArgenError as error:
        logging.getLogger(__name__).warning("faces are not looked at: %s", error)
        return {}

    def embed(clip: Any) -> Any:  # noqa: ANN401
        person = reader(read_frames(clip, 3)).person
        return person if np.isfinite(person).all() else None

    return {
        "count_faces": lambda frames: [int(n) for n in reader(frames).face_count],
        "embed": embed,
        "same_person": reader.same_person,
    }


def _face_crop(size: int) -> Callable[..., Any]:
    from argen.config import FaceSettings
    from argen.dataset.exporting.crops import face_crop
    from argen.face.reader import load_reader

    return face_crop(load_reader(FaceSettings()), size)


def _weights_at_hand(name: str, sha256: str) -> bool:
    from argen.errors import ArgenError
    from argen.face.models import MODELS, locate

    known = [key for key, model in MODELS.items() if model.file == name and model.sha256 == sha256]
    if not known:
        return True  # a file that the recipe names: its presence is checked by path
    try:
        return locate(known[0], download=False).is_file()
    except ArgenError:
        return False
