"""Tune an image-to-video model against rewards: accelerate launch pipelines/tune.py --config CONFIG

Reads the recipe, plans jobs from its dataset, and writes a LoRA adapter with its model card and curves. Run
the same command again to go on where it stopped. One GPU, several (`--multi_gpu`, or FSDP2 as `accelerate
config` says) or several CPU processes (`ACCELERATE_USE_CPU=true accelerate launch --multi_gpu`): the adapter
is the same up to rounding.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from argen import assets
from argen.config import load_recipe
from argen.dataset.read import read_dataset
from argen.errors import ArgenError, JobError, MissingPackage, RecipeError, UsageError
from argen.face.track import FaceTrack
from argen.generate.diffusion import DiffusionGenerator
from argen.plan import Plan, make_plan
from argen.tuning.apart import apart, check_device, measured_by, scorer_with_reader
from argen.tuning.card import use_of
from argen.tuning.checkpoint import check_recipe
from argen.tuning.course import Files, follow
from argen.tuning.imitation import Teaching
from argen.tuning.scoring import Case, Measure, Scorer, load_scorer
from argen.tuning.settings import TuneRecipe, TuneSettings
from argen.tuning.trainer import Tuner
from argen.workshop import Workshop, open_workshop

log = logging.getLogger("argen.tune")


def tune(recipe: TuneRecipe) -> str:
    """The whole program; how it ended, in words."""
    data, out = recipe.tune.data, recipe.tune.out
    if data is None or out is None:
        raise RecipeError("tune.data and tune.out: name the folder of clips and the folder of the adapter")
    check_device(recipe.tune.reward_device)
    accelerator = make_accelerator(recipe, out)
    if accelerator.is_main_process:
        check_recipe(out, recipe.deciding())
    accelerator.wait_for_everyone()
    dataset = read_dataset(data, recipe.dataset)
    with open_workshop(dataset, recipe, out / "cache") as workshop:
        generator = workshop.generator
        if not isinstance(generator, DiffusionGenerator):
            raise RecipeError("generate.generator: only diffusion can be tuned; warp has no weights")
        plan = make_plan(dataset, recipe, workshop.why_not)
        workshop.learn(plan.add)
        cases, held_out = split(make_cases(plan, workshop, generator), recipe.tune.evaluate_jobs)
        known = dataset.subjects_from != "clip"
        made_of = variety(cases, known)
        log.info("to try: %s; to judge by: %s", made_of, variety(held_out, known))
        constants = {
            "same_person": workshop.reader.same_person,
            "most_steps": max(recipe.tune.steps or (recipe.generate.steps,)),
        }
        device = recipe.tune.reward_device
        told = recipe.tune.rewards, recipe.tune.gates
        here = load_scorer(*told, measured_by(workshop.reader), constants, device)
        make = partial(scorer_with_reader, recipe.face, *told, constants, device)
        judge = load_judge(recipe, workshop, constants)
        teaching = following_intensity(generator) if recipe.tune.reference_follows_intensity else None
        with apart(here, make, recipe.tune.reward_processes) as scorer:
            tuner = Tuner(
                generator.pipe, cases, scorer, recipe.tune,
                seed=recipe.seed, folder=out, accelerator=accelerator, teaching=teaching,
                origin={"models": workshop.models, "rewards": reward_code(recipe.tune)},
            )  # fmt: skip
            ended = follow(tuner, recipe, held_out, judge, {**workshop.made_by, "jobs": made_of})
    accelerator.end_training()
    return ended


def make_accelerator(recipe: TuneRecipe, out: Path) -> Any:  # noqa: ANN401  accelerate is untyped
    """Processes and trackers, as `accelerate launch` set them up."""
    from accelerate import Accelerator

    tracker = None if recipe.tune.tracker == "none" else recipe.tune.tracker
    accelerator = Accelerator(log_with=tracker, project_dir=out)
    if tracker and not accelerator.log_with:  # accelerate drops what isn't installed without a word
        raise MissingPackage(
            f"tune.tracker: {tracker} is not installed: pip install {tracker}, or set tune.tracker=none"
        )
    accelerator.init_trackers("argen-tune")
    return accelerator


def make_cases(plan: Plan, workshop: Workshop, generator: DiffusionGenerator) -> list[tuple[str, Case]]:
    """Each job of the plan as a call of the pipeline and the columns of the rewards; with its subject."""
    jobs = [plan.job(label, index) for label, count in plan.add.items() for index in range(count)]
    cases = []
    for job, prepared in zip(jobs, workshop.requests(jobs), strict=True):
        if isinstance(prepared, JobError):
            log.warning("%s: passed over: %s", job.source, prepared)
            continue
        source, request = prepared
        call = generator.form.arguments([generator.item(request)])
        for ours in ("generator", "output_type"):
            del call[ours]
        picture = np.asarray(call["image"])
        columns = {"affect": request.affect, "source": picture, "person": source.person, "origin": source}
        cases.append((source.clip.subject, Case(job.id, call, columns)))
    if not cases:
        raise RecipeError("tune: no job of the plan has a usable source; `argen scan` says why")
    return cases


def following_intensity(generator: DiffusionGenerator) -> Teaching:
    """A reference whose guidance follows the target's intensity, whatever the scale it is called with.

    Raises RecipeError for a pipeline that can't be guided frame by frame.
    """

    def around(case: Case, call: Mapping[str, Any], count: int) -> AbstractContextManager[None]:
        return generator.following([case.columns["affect"].trajectory] * count, call["guidance_scale"])

    try:
        with generator.following([np.zeros((2, 20), np.float32)], scale=2.0):  # found out before the run
            return around
    except UsageError as error:
        name = type(generator.pipe).__name__
        raise RecipeError(
            f"tune.reference_follows_intensity: {name} can't be guided frame by frame; leave it out"
        ) from error


def split(cases: Sequence[tuple[str, Case]], held_out: int) -> tuple[list[Case], list[Case]]:
    """Jobs to try and fixed jobs to judge by, no subject in both; of a single subject, the same jobs."""
    subjects = sorted({subject for subject, _ in cases})
    kept: set[str] = set()
    for subject in subjects[::-1]:
        if len(kept) + 1 < len(subjects) and sum(name in kept for name, _ in cases) < held_out:
            kept.add(subject)
    judged = [case for subject, case in cases if subject in kept]
    count = min(held_out, len(judged))
    judged = [judged[i * len(judged) // count] for i in range(count)]  # jobs come by label: some of each
    tried = [case for subject, case in cases if subject not in kept]
    return tried, judged or tried[:held_out]


def variety(cases: Sequence[Case], people_known: bool) -> str:
    """What jobs are made of, in words: an adapter learns few clips of few people by heart."""
    clips = [case.columns["origin"].clip for case in cases]
    people = f" of {len({clip.subject for clip in clips})} people" if people_known else ""
    return f"{len(cases)} jobs from {len({clip.id for clip in clips})} clips{people}"


def reward_code(settings: TuneSettings) -> dict[str, str]:
    """Hashes of the files of all rewards, gates and judges: a run goes on only with the same ones."""
    asked = {**settings.rewards, **settings.gates, **settings.judge}
    return {name: assets.code_hash("rewards", name) for name in sorted(asked)}


def load_judge(recipe: TuneRecipe, workshop: Workshop, constants: Mapping[str, Any]) -> Scorer | None:
    """What chooses the adapter, if the recipe names anything; warns where it can't tell fooled rewards."""
    if not recipe.tune.judge:
        log.warning("tune.judge: none, so nothing tells better clips from fooled rewards")
        return None
    both = sorted(set(recipe.tune.judge) & set(recipe.tune.rewards) - {"label_agreement"})
    if both and workshop.reader.name != "puppet":
        log.warning(
            "tune.judge: on real faces only expressions are measured anew, so %s says what the reward says; "
            "label_agreement is a judge there", " and ".join(both),
        )  # fmt: skip
    return load_scorer(recipe.tune.judge, measure=judged_by(workshop), constants=constants)


def judged_by(workshop: Workshop) -> Measure:
    """The same clip as `tune.judge` sees it: by networks that no reward asks.

    On real faces the expressions are of networks of their own, and on puppets units and expressions are the
    chooser's: the judge of final scores is for nothing that is tuned to ask.
    """
    own = measured_by(workshop.reader)
    if workshop.reader.name == "puppet":
        from argen.puppets.chooser import Chooser

        chooser = Chooser()

        def chosen(frames: UInt8[ndarray, "T H W 3"], case: Case) -> FaceTrack:
            said = chooser(frames)
            return replace(own(frames, case), action_units=said.units, expressions=np.exp(said.expressions))

        return chosen
    from argen.face.judge import ExpressionJudge

    judge = ExpressionJudge()

    def measure(frames: UInt8[ndarray, "T H W 3"], case: Case) -> FaceTrack:
        track = own(frames, case)
        return replace(track, expressions=judge(frames, track.landmarks))

    return measure


def main() -> int:
    """Command line; exit codes as everywhere in ARGen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="recipe with a tune section, see configs/tune/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = load_recipe(arguments.config, arguments.set, kind=TuneRecipe)
        ended = tune(recipe)
    except ArgenError as error:
        print(f"argen: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; run the same command to go on", file=sys.stderr)
        return 130
    adapter = Files(Path(str(recipe.tune.out))).adapter
    print(f"{ended}\nadapter: {adapter}\nuse it: argen-augment SRC OUT {use_of(adapter, recipe)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
