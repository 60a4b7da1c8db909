"""`argen augment` (also installed as `argen-augment`) and `argen plan`."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from argen.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress

    from argen.config import Recipe
    from argen.manifest import Record
    from argen.output import Summary
    from argen.plan import Plan

SHORT_OF_TARGET = 3
INTERRUPTED = 130
HEARTBEAT_SECONDS = 30

Source = Annotated[Path, typer.Argument(metavar="SRC", help="Folder of face clips sorted by emotion.")]
Output = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to fill; begun ones are gone on with.")]
Classes = Annotated[
    list[str] | None, typer.Option("--class", metavar="NAME", help="Only this class; repeatable.")
]
Count = Annotated[
    int | None, typer.Option("--count", min=1, help="Add exactly this many clips to each class.")
]
Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy", help="minority, not minority, not majority, all, auto, median, sqrt, or a ratio."
    ),
]
Preset = Annotated[str | None, typer.Option("--preset", help="A shipped recipe: see `argen list presets`.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="Your recipe, YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting of the recipe; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the run.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    app.command("augment")(augment_command)
    app.command("plan")(plan_command)


def augment_command(
    src: Source,
    out: Output,
    classes: Classes = None,
    count: Count = None,
    strategy: Strategy = None,
    preset: Preset = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its cost; write nothing.")
    ] = False,
    as_json: AsJson = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do failed jobs again.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Throw away what ARGen made in OUT, start over.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="R/N", help="Do the R-th of N shares, R from 0.")
    ] = None,
    seed: Seed = None,
) -> None:
    """Expand a folder of face clips with judged synthetic clips of its rare emotions.

    Examples: `argen-augment clips bigger --class disgust --count 50` adds 50 clips of disgust;
    `argen-augment clips bigger --dry-run` shows what balancing all classes would take.
    Everything else is in the recipe (`--recipe`, `--set`): `argen copy configs/augment/balance`.
    """
    chosen = choose_recipe(classes, count, strategy, preset, recipe, overrides, seed)
    if dry_run:
        show_plan(src, chosen, as_json)
        return
    from argen.augmentation import augment
    from argen.output import read_summary
    from argen.run import claim
    from argen.workshop import read_source

    if chosen.dataset.subjects == "identity":
        claim(out, src)
    dataset = read_source(src, chosen, out / "cache")
    records = augment(dataset, chosen, out, shard=read_shard(shard), retry_failed=retry_failed, fresh=fresh)
    try:
        for _ in with_progress(records, out):
            pass
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    summary = read_summary(out)
    print(json.dumps(summary.as_dict()) if as_json else describe(summary))
    if not summary.left and (summary.short or asked_in_vain(chosen, out)):
        sys.exit(SHORT_OF_TARGET)


def asked_in_vain(recipe: Recipe, out: Path) -> bool:
    """Whether a class that the user named could not be expanded."""
    told = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return bool(set(recipe.plan.classes) & set(told["plan"]["refused"]))


def plan_command(
    src: Source,
    classes: Classes = None,
    count: Count = None,
    strategy: Strategy = None,
    preset: Preset = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    seed: Seed = None,
) -> None:
    """Show what would be added per class, and what it would cost; writes nothing."""
    show_plan(src, choose_recipe(classes, count, strategy, preset, recipe, overrides, seed), as_json)


def choose_recipe(
    classes: list[str] | None,
    count: int | None,
    strategy: str | None,
    preset: str | None,
    recipe: Path | None,
    overrides: list[str] | None,
    seed: int | None,
) -> Recipe:
    """The recipe that the flags describe; flags overrule the file, --set overrules both."""
    from argen.config import load_recipe, preset_file

    if preset and recipe:
        raise RecipeError(
            "--preset and --recipe: give one; `argen copy configs/augment/NAME` makes a file of a preset"
        )
    plan: dict[str, Any] = {}
    if classes:
        plan["classes"] = list(classes)
    if count is not None:
        plan["count"] = count
    if strategy is not None:
        plan["strategy"] = float(strategy) if re.fullmatch(r"\d*\.?\d+", strategy) else strategy
    settings: dict[str, Any] = {"plan": plan} if plan else {}
    if seed is not None:
        settings["seed"] = seed
    chosen: Recipe = load_recipe(preset_file(preset) if preset else recipe, overrides or (), settings)
    for name in ("model", "adapter"):
        if chosen.generate.generator == "warp" and getattr(chosen.generate, name):
            raise RecipeError(
                f"generate.{name}: warp has no weights, so it would be ignored; set "
                "generate.generator=diffusion too, or leave it out"
            )
    return chosen


def read_shard(text: str | None) -> tuple[int, int]:
    """`r/n` as numbers; without it, what `accelerate launch` or torchrun tells this process."""
    if text is None:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise RecipeError(f"--shard {text}: write it as r/n with 0 <= r < n, for example 0/4")
    return int(match[1]), int(match[2])


def show_plan(src: Path, recipe: Recipe, as_json: bool) -> None:
    """Print the plan of a run and its estimated cost."""
    from argen.augmentation import estimate
    from argen.workshop import read_source

    plan, cost = estimate(read_source(src, recipe), recipe)
    if as_json:
        print(json.dumps({**plan.as_dict(), "cost": cost.as_dict()}, ensure_ascii=False))
        return
    print(plan_table(plan))
    print(cost.in_words())


def plan_table(plan: Plan) -> str:
    """Per class: have, add, after; and why a class is not expanded."""
    labels = sorted(set(plan.have) | set(plan.add) | set(plan.refused))
    width = max(len(label) for label in labels)
    rows = [f"{'class':<{width}}  {'have':>7}  {'add':>7}  {'after':>7}"]
    for label in labels:
        have, add = plan.have.get(label, 0), plan.add.get(label, 0)
        note = f"  not expanded: {plan.refused[label]}" if label in plan.refused else ""
        rows.append(f"{label:<{width}}  {have:>7,}  {add:>7,}  {have + add:>7,}{note}")
    return "\n".join(rows)


def describe(summary: Summary) -> str:
    """The last words of a run: what came of it, where it is, and what to do next."""
    lines = list(summary.by_class)
    if summary.left:
        lines.append(
            f"{summary.left} jobs are left to other shards; run those, or this command without --shard"
        )
    elif summary.short:
        lines.append(
            "short of the target: the report says what was dropped and why; see gate.* and plan.tries"
        )
    report = [f"report  {summary.report}"] if Path(summary.report).exists() else []  # the last shard's work
    lines += [f"clips   {summary.out / 'train'}", *report, f"load    {summary.loading}"]
    return "\n".join(lines)


def with_progress(records: Iterator[Record], out: Path) -> Iterator[Record]:
    """Draw a bar on a terminal; elsewhere say one plain line every half minute."""
    counts = {"kept": 0, "dropped": 0, "failed": 0}
    spoken = time.monotonic()
    progress = None
    for record in records:
        if not any(counts.values()):
            wanted, kept = wanted_and_kept(out)
            before = kept - (record.status == "kept")
            progress = bar(wanted) if sys.stderr.isatty() else None
        counts[record.status] += 1
        line = f"{counts['kept']} kept, {counts['dropped']} dropped, {counts['failed']} failed"
        if progress:
            progress.update(progress.task_ids[0], completed=before + counts["kept"], description=line)
        elif time.monotonic() - spoken >= HEARTBEAT_SECONDS:
            spoken = time.monotonic()
            print(f"{before + counts['kept']} of {wanted} clips: {line}", file=sys.stderr, flush=True)
        yield record
    if progress:
        progress.stop()


def bar(total: int) -> Progress:
    """A progress bar on stderr, started."""
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True))
    progress.add_task("", total=total)
    progress.start()
    return progress


def wanted_and_kept(out: Path) -> tuple[int, int]:
    """Clips that the run in a folder wants, and has so far."""
    from argen.manifest import Ledger

    ledger = Ledger(out / "manifest")
    ledger.refresh()
    plan = json.loads((out / "run.json").read_text(encoding="utf-8"))["plan"]
    return sum(plan["add"].values()), sum(entry.status == "kept" for entry in ledger.entries.values())
