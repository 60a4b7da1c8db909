"""Commands that look: report, doctor, list, copy, and `gate calibrate`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from argen.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from argen.config import Settings

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    app.command("report")(report)
    app.command("doctor")(doctor)
    app.command("list")(list_shipped)
    app.command("copy")(copy)
    gate = typer.Typer(help="The gate that every clip must pass.", no_args_is_help=True)
    gate.command("calibrate")(calibrate)
    app.add_typer(gate, name="gate")


def report(out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that ARGen filled.")]) -> None:
    """Build the report of a finished or interrupted run again, from its records."""
    from argen.report.page import write_report

    print(write_report(out))


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has, what it lacks, and how to mend it. Paste it into bug reports."""
    from argen.doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            print(f"{finding.mark}  {finding.name:<22} {finding.says}")
            if finding.remedy:
                print(f"   {'':<22} -> {finding.remedy}")
    sys.exit(4 if any(finding.needed and not finding.well for finding in findings) else 0)


def list_shipped(
    kind: Annotated[
        str, typer.Argument(help="presets, prompts, rewards, pipelines, configs, layouts, settings")
    ] = "",
) -> None:
    """List what ships with ARGen and can be named in a recipe or copied; or all settings of a recipe."""
    from argen import assets

    kinds = ("presets", *get_args(assets.Folder), "layouts")
    if kind and kind not in (*kinds, "settings"):
        raise UsageError(f"list: nothing called '{kind}'{did_you_mean(kind, (*kinds, 'settings'))}")
    for name in (kind,) if kind else kinds:
        print(f"{name}:")
        for line in shipped(name):
            print(f"  {line}")


def shipped(kind: str) -> list[str]:
    """Names of one kind, each with the first line of what it says about itself."""
    from argen import assets

    if kind == "layouts":
        from argen.dataset.layouts import LAYOUTS

        return [layout.name for layout in LAYOUTS]
    if kind == "settings":
        from argen.tuning.settings import TuneRecipe

        return list(_settings(TuneRecipe()))
    folder: assets.Folder = "configs" if kind == "presets" else kind  # type: ignore[assignment]
    files = assets.names(folder)
    if kind == "presets":
        files = {n.removeprefix("augment/"): p for n, p in files.items() if n.startswith("augment/")}
    return [f"{name:<24} {first_words(path)}" for name, path in files.items()]


def _settings(section: Settings, before: str = "") -> Iterator[str]:
    """A line a setting: its key, its default, what it is."""
    from argen.config import Settings

    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Settings):
            yield from _settings(value, f"{before}{name}.")
        else:
            default = json.dumps(section.model_dump(mode="json")[name])
            others = [word for word in _words(field.annotation) if word != value]
            choice = f" (or {', '.join(others)})" if others else ""
            yield f"{before}{name} = {default}{choice}: {field.description}"


def _words(annotation: object) -> list[str]:
    """The words of a Literal, wherever in an annotation it is."""
    found = get_args(annotation)
    return [word for part in found for word in ([part] if isinstance(part, str) else _words(part))]


def first_words(path: Path) -> str:
    """First line of a file's comment or docstring."""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.strip("#\"' ")
        if words and not line.startswith(("{", "from ")):
            return words[:90]
    return ""


def copy(
    name: Annotated[
        str, typer.Argument(help="What to copy, for example rewards/integrity or configs/augment/balance.")
    ],
    to: Annotated[Path, typer.Argument(help="Folder or file to copy to.")] = Path(),
) -> None:
    """Copy a shipped prompt, reward, pipeline or recipe here, to edit it."""
    from argen import assets

    kind, _, rest = name.partition("/")
    if kind not in get_args(assets.Folder) or not rest:
        known = [f"{folder}/{key}" for folder in get_args(assets.Folder) for key in assets.names(folder)]
        raise UsageError(f"copy: nothing called '{name}'{did_you_mean(name, known)}")
    source = assets.find(kind, rest)  # type: ignore[arg-type]
    target = to / source.name if to.is_dir() else to
    if target.exists():
        raise UsageError(f"{target}: exists already; name another file")
    shutil.copyfile(source, target)
    print(target)


def calibrate(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of real face clips.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="Your recipe, YAML.")
    ] = None,
    reject: Annotated[
        float, typer.Option(min=0, max=1, help="Share of real clips that the gate may reject per check.")
    ] = 0.05,
    most: Annotated[int, typer.Option(min=1, help="Most clips measured, spread over the classes.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Measure what real training clips score, and say the thresholds that would reject few of them."""
    from argen.calibration import calibrate_gate
    from argen.config import Recipe, load_recipe
    from argen.dataset.read import read_dataset

    chosen: Recipe = load_recipe(recipe)
    result = calibrate_gate(read_dataset(src, chosen.dataset), chosen, reject, most)
    print(json.dumps(result.as_dict()) if as_json else result.as_yaml())
