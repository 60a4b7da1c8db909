"""Do the synthetic clips help? python -m pipelines.measure_gain OUT --config configs/gain/quick.yaml

Trains one recogniser on several training sets at equal steps, scores all on real clips of people that nothing
has met, and says yes, partly, no or harmful by a rule that is fixed beforehand (`argen/gain/verdict.py`).
Run the same command again to go on where it stopped; run it in several terminals, one a device
(`CUDA_VISIBLE_DEVICES=1 ...`), and they share the work. Finished runs are never repeated.

    OUT/gain.json      one object an arm, the figures by name, the verdict
    OUT/report.html    the same for people
    OUT/arms/ARM/seed-N/predictions.csv   what each run said of each test clip; score it again as you like
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from argen import assets
from argen.config import load_recipe
from argen.errors import ArgenError, RecipeError, UsageError
from argen.gain.arms import adapter_file, choose, every_arm, why_not
from argen.gain.findings import as_json, figures, find
from argen.gain.folder import Experiment, write_json
from argen.gain.report import write_gain_report
from argen.gain.settings import GainRecipe
from argen.gain.work import work_together


def measure_gain(
    experiment: Experiment, arms: list[str] | None, seeds: list[int] | None, jobs: int, report_only: bool
) -> dict[str, object]:
    """The whole program: do what is left, score what is there, write it down; gain.json's content."""
    gain = experiment.gain
    if not gain.arms:
        raise RecipeError("gain.arms: the recipe names no arms; see configs/gain/full.yaml")
    adapter_file(gain.adapter)  # a path that leads nowhere is a mistake; no path is a choice
    choose(arms, every_arm(gain))
    strangers = [seed for seed in seeds or () if seed not in gain.seeds]
    if strangers:
        raise UsageError(f"--seeds: {strangers[0]} is none of gain.seeds: {', '.join(map(str, gain.seeds))}")
    for name, arm in every_arm(gain).items():
        reason = why_not(arm, gain)
        if reason and (not arms or name in arms):
            logging.getLogger(__name__).warning("%s: not run: %s", name, reason)
    if not report_only:
        work_together(experiment, arms, seeds or gain.seeds, jobs)
    found = find(experiment)
    tree = as_json(found)
    write_json(experiment.out / "gain.json", tree)
    write_gain_report(experiment, found)
    return {**tree, "figures": list(figures(found))}


def main() -> int:
    """Command line; exit codes as everywhere in ARGen."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = arguments.config or assets.find("configs", "gain/quick" if arguments.quick else "gain/full")
        recipe = load_recipe(config, arguments.set, kind=GainRecipe)
        arms = arguments.arms.split(",") if arguments.arms else None
        seeds = read_seeds(arguments.seeds) if arguments.seeds else None
        experiment = Experiment(arguments.out, recipe)
        done = measure_gain(experiment, arms, seeds, arguments.jobs, arguments.report_only)
    except ArgenError as error:
        print(f"argen: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; run the same command to go on", file=sys.stderr)
        return 130
    say(done, arguments.out, arguments.json)
    return 0


def read_seeds(text: str) -> list[int]:
    """Numbers separated by commas. Raises UsageError."""
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds: '{text}' is no list of numbers; write it as 0,1,2") from error


def say(done: dict[str, object], out: Path, as_lines: bool) -> None:
    """Figures, one JSON object a line; or a table, the verdict, and where the report is."""
    rows: list[dict[str, object]] = done["figures"]  # type: ignore[assignment]
    if as_lines:
        for row in rows:
            print(json.dumps(row))
        return
    for row in rows:
        interval = f"{row['low']:.3f} .. {row['high']:.3f}"
        mark = "met" if row["met"] else "MISSED"
        print(f"{row['name']:<28}{row['value']:>8.3f}{interval:>20}{row['n']:>8}  {row['bar']} {mark}")
    print(f"\n{done['verdict']}\nreport  {out / 'report.html'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the experiment, new or begun")
    parser.add_argument(
        "--config", type=Path, help="recipe with a gain section; default: configs/gain/full.yaml"
    )
    parser.add_argument("--quick", action="store_true", help="configs/gain/quick.yaml: 3 arms, 2 seeds")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--arms", help="only these, separated by commas")
    parser.add_argument("--seeds", help="only these of gain.seeds, separated by commas")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes on this machine")
    parser.add_argument("--report-only", action="store_true", help="score what is finished, run nothing")
    parser.add_argument("--json", action="store_true", help="figures as JSON, one object a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
