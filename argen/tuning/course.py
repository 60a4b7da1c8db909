"""A whole run: iterations, evaluations, checkpoints, the best adapter, and what is written of it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argen.tuning.card import write_card
from argen.tuning.evaluation import Course, Evaluation, contact_sheet, course, evaluate
from argen.tuning.lora import save_adapter
from argen.tuning.scoring import Case, Scorer
from argen.tuning.settings import TuneRecipe
from argen.tuning.trainer import Tuner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The folder of a run."""

    folder: Path

    @property
    def adapter(self) -> Path:
        """The best adapter so far, by the held-out judge."""
        return self.folder / "adapter.safetensors"

    @property
    def log(self) -> Path:
        """Every iteration and evaluation, one JSON object a line."""
        return self.folder / "log.jsonl"

    def sheet(self, iteration: int) -> Path:
        """The contact sheet of the fixed jobs after an iteration."""
        return self.folder / "sheets" / f"{iteration:06d}.png"


def follow(
    tuner: Tuner,
    recipe: TuneRecipe,
    held_out: Sequence[Case],
    judge: Scorer | None,
    about: Mapping[str, str],
) -> str:
    """Run to the end, or until the rewards are fooled; how it ended, in words.

    Goes on where the tuner's checkpoint left. The folder then has the best adapter, its card and curves.
    `about` is what the card says of the model (`pipeline`, `model`, `revision`) and of the `jobs`.
    """
    if tuner.folder is None:
        raise ValueError("a run needs a folder")
    files, settings = Files(tuner.folder), tuner.settings
    main = bool(tuner.accelerator.is_main_process)
    if main:
        files.sheet(0).parent.mkdir(parents=True, exist_ok=True)
        _forget_after(files.log, tuner.iteration)
    ended = "ran to the end"
    while True:
        due = tuner.iteration % settings.evaluate_every == 0 or tuner.iteration >= settings.iterations
        if due and tuner.notes.get("evaluated") != tuner.iteration:
            verdict = _evaluate(tuner, recipe, held_out, judge, files)
            if verdict == "stop":
                ended = "stopped: the rewards rose while the judge fell"
                break
        if due or tuner.iteration % settings.checkpoint_every == 0:
            tuner.save()
        if tuner.iteration >= settings.iterations:
            break
        report = tuner.step()
        log.info("%s", report.line())
        _note(tuner, files, "iteration", report.iteration, report.values)
    if main:
        write_card(files.folder, recipe, about, ended)
    return ended


def _evaluate(
    tuner: Tuner, recipe: TuneRecipe, held_out: Sequence[Case], judge: Scorer | None, files: Files
) -> Course:
    from accelerate.utils import broadcast_object_list

    found: Evaluation = evaluate(tuner, held_out, judge, recipe.tune.judge)
    history = tuner.notes.setdefault("history", [])
    history.append([found.worth, found.proxy])
    tuner.notes["evaluated"] = tuner.iteration
    said = course([worth for worth, _ in history], [proxy for _, proxy in history], tuner.settings.patience)
    verdict: Course = broadcast_object_list([said])[0]  # rounding must not let processes part ways
    values = {**found.values, "worth": found.worth, "proxy": found.proxy}
    _note(tuner, files, "evaluation", tuner.iteration, values)
    log.info("%d: %s  (%s)", tuner.iteration, "  ".join(f"{k} {v:.4g}" for k, v in values.items()), verdict)
    if tuner.accelerator.is_main_process:
        contact_sheet(found.clips, files.sheet(tuner.iteration))
        if verdict == "best":
            rank = tuner.settings.rank
            save_adapter(tuner.average, files.adapter, rank, tuner.settings.alpha or float(rank))
    return verdict


def _note(tuner: Tuner, files: Files, kind: str, iteration: int, values: Mapping[str, float]) -> None:
    tuner.accelerator.log({f"{kind}/{name}": value for name, value in values.items()}, step=iteration)
    if tuner.accelerator.is_main_process:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with files.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "iteration": iteration, **finite}) + "\n")


def _forget_after(path: Path, iteration: int) -> None:
    """Drop what a killed run logged after its last checkpoint; it will happen again."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _before(line, iteration)]
    partial = path.with_suffix(".part")
    partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    partial.replace(path)


def _before(line: str, iteration: int) -> bool:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return False
    return bool(entry["iteration"] <= iteration)
