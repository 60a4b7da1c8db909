"""The loop: it learns, resumes bit for bit, counts what it must, and its refusals leave the run intact."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from argen.errors import RecipeError
from argen.generate.adapter import load_adapter
from argen.tuning import memory
from argen.tuning.admission import admit
from argen.tuning.checkpoint import Checkpoint, check_recipe, load_checkpoint, save_checkpoint
from argen.tuning.course import Files, follow
from argen.tuning.diagnostics import Meter
from argen.tuning.evaluation import contact_sheet, course, evaluate
from argen.tuning.lora import adapter, save_adapter, swapped, untuned
from argen.tuning.rollout import record
from argen.tuning.sampling import draws
from argen.tuning.scoring import Case, Scorer, call_reward
from argen.tuning.settings import TuneRecipe, TuneSettings
from argen.tuning.trainer import Tuner
from argen.tuning.transition import STILL
from tests.tiny import tiny_pipeline

pytestmark = pytest.mark.filterwarnings("ignore")


def bright(frames, **_):
    return frames.flatten(1).mean(1)


def settings_of(**changes):
    plain = {
        "iterations": 4, "prompts": 1, "num_generations": 4, "batch": 4, "rank": 2, "learning_rate": 1e-2,
        "rewards": {"bright": 1.0}, "evaluate_every": 2, "checkpoint_every": 2, "tracker": "none",
    }  # fmt: skip
    return TuneSettings(**(plain | changes))


@pytest.fixture
def tuner_of(call_of):
    def make(folder=None, family="ltx", rewards=None, gates=None, cases=2, **changes):
        call = call_of(family, num_inference_steps=4, guidance_scale=1.0)
        scorer = Scorer(rewards or {"bright": bright}, gates or {})
        listed = [Case(f"job{i}", call) for i in range(cases)]
        options = {name: changes.pop(name, None) for name in ("teaching", "origin")}
        settings = settings_of(**changes)
        return Tuner(tiny_pipeline(family), listed, scorer, settings, seed=3, folder=folder, **options)

    return make


def state(tuner):
    tensors = {f"w {k}": v.detach().clone() for k, v in tuner.weights.items()}
    tensors |= {f"a {k}": v.clone() for k, v in tuner.average.items()}
    for name, weight in tuner.weights.items():
        tensors |= {f"o {name} {k}": v.clone() for k, v in tuner.optimizer.state[weight].items()}
    return tensors


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_two_and_two_iterations_are_four(tuner_of, tmp_path):
    whole = tuner_of(objective="ddpo", prompts=2)
    for _ in range(4):
        whole.step()
    first = tuner_of(tmp_path, objective="ddpo", prompts=2)
    first.step()
    first.step()
    first.save()
    second = tuner_of(tmp_path, objective="ddpo", prompts=2)
    assert second.iteration == 2
    second.step()
    second.step()
    assert same(state(whole), state(second))
    assert whole.statistics.state() == second.statistics.state()


def test_an_iteration_moves_the_adapter_and_nothing_else(tuner_of):
    tuner = tuner_of()
    base = {
        name: p.detach().clone()
        for name, p in tuner.pipe.transformer.named_parameters()
        if "lora" not in name
    }
    before = {name: w.detach().clone() for name, w in tuner.weights.items()}
    report = tuner.step()
    assert any(not torch.equal(before[name], w) for name, w in tuner.weights.items())
    after = dict(tuner.pipe.transformer.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in base.items())
    assert report.values["ratio_deviation"] == 0.0
    for key in ("reward/bright", "spread/bright", "gate_rate", "idle_groups", "kl", "clip_fraction", "motion",
                "gradient_norm", "seconds/rollout", "seconds/update"):  # fmt: skip
        assert key in report.values, key
    assert sum(key.startswith("gradient_of_step/") for key in report.values) == 2


def test_at_the_start_the_adapter_changes_nothing(tuner_of):
    tuner = tuner_of()
    call = tuner.call(tuner.cases[0], 1, 3)
    make = lambda: tuner.pipe(**call, generator=torch.Generator().manual_seed(0), return_dict=False)[0]  # noqa: E731
    tuned = make()
    with untuned(tuner.pipe):
        assert torch.equal(make(), tuned)


def test_encoders_are_asked_once(tuner_of):
    tuner = tuner_of(cases=1)
    tuner.step()
    asked = tuner.memory.asked - tuner.memory.known
    tuner.step()
    assert tuner.memory.asked - tuner.memory.known == asked


@pytest.mark.parametrize("objective", ["grpo", "ddpo", "nft", "reflow"])
def test_every_objective_takes_steps(tuner_of, objective):
    tuner = tuner_of(objective=objective)
    for _ in range(2):
        assert np.isfinite(tuner.step().values["gradient_norm"])
    assert all(weight.isfinite().all() for weight in tuner.weights.values())


def test_several_updates_kl_and_coupled_noise_work_together(tuner_of):
    report = tuner_of(updates=2, beta=0.1, rho=0.4).step()
    assert report.values["kl"] > 0
    assert report.values["ratio_deviation"] == 0.0


def test_beta_is_steered_to_a_target_and_goes_on_where_it_was(tuner_of, tmp_path):
    changes = {"beta": 1.0, "reference": {"guidance_scale": 3.0}}
    loose = tuner_of(kl_target=1e9, **changes)
    found = [loose.step().values["beta"] for _ in range(2)]
    assert found == [1.0, pytest.approx(1 / 1.5)]
    tight = tuner_of(tmp_path, kl_target=1e-9, **changes)
    for _ in range(12):
        tight._steer(Far())
    assert tight.beta == 64.0  # and no further
    tight.save()
    assert tuner_of(tmp_path, kl_target=1e-9, **changes).beta == 64.0


class Far(Meter):
    """A meter of an iteration that went far from the untuned model."""

    def mean(self, name):
        return 1.0


def test_the_gradient_of_each_step_is_counted_and_none_is_lost():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    meter = Meter()
    for index, factor in ((0, 3.0), (1, 4.0), (0, 0.0)):
        with meter.gradient_of_step(index, {"w": weight}):
            (factor * weight[0]).backward()
    values = meter.report(1).values
    assert values["gradient_of_step/0"] == pytest.approx(3.0)
    assert values["gradient_of_step/1"] == pytest.approx(4.0)
    assert weight.grad.tolist() == [7.0, 0.0]


@pytest.mark.parametrize(("together", "calls"), [(1, [1] * 4), (2**24, [4])])
def test_large_clips_are_decoded_one_by_one_and_small_ones_together(tuner_of, monkeypatch, together, calls):
    monkeypatch.setattr(memory, "TOGETHER", together)
    tuner = tuner_of()
    seen = []
    hook = tuner.pipe.vae.decoder.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    tuner.step()
    hook.remove()
    assert seen == calls


def test_beta_pulls_toward_the_untuned_model_asked_otherwise(tuner_of):
    own = tuner_of(beta=1.0).step().values["kl_to_reference"]
    guided = tuner_of(beta=1.0, reference={"guidance_scale": 3.0}).step().values["kl_to_reference"]
    assert own == 0.0  # before the first update it is the same model
    assert guided > 0.0
    with pytest.raises(RecipeError, match="did you mean 'guidance_scale'"):
        tuner_of(beta=1.0, reference={"guidance_scal": 3.0})


def test_reflow_moves_guidance_and_steps_into_the_weights(tuner_of):
    reference = {"guidance_scale": 4.0, "num_inference_steps": 6}
    tuner = tuner_of(objective="reflow", reference=reference, steps=(2,), learning_rate=0.02, updates=4)
    call = tuner.call(tuner.cases[0], 4, 2) | {"output_type": "latent"}

    def made(**changes):
        with torch.no_grad():
            generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
            return tuner.pipe(**call | changes, generator=generators, return_dict=False)[0]

    with untuned(tuner.pipe):
        wanted, before = made(**reference), made()
    for _ in range(8):
        tuner.step()
    assert (made() - wanted).pow(2).mean() < 0.7 * (before - wanted).pow(2).mean()


def test_the_learning_rate_falls_at_the_end_and_a_resumed_run_knows_where(tuner_of, tmp_path):
    tuner = tuner_of(tmp_path, iterations=4, cooldown=0.5)
    rates = []
    for _ in range(4):
        tuner.step()
        rates.append(tuner.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.005])
    tuner.iteration = 3
    tuner.save()
    resumed = tuner_of(tmp_path, iterations=4, cooldown=0.5)
    resumed.step()
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0.005)


def test_reflow_imitates_the_best_of_a_group(tuner_of):
    def later_is_better(frames, **_):
        return torch.arange(len(frames), dtype=torch.float32)

    tuner = tuner_of(objective="reflow", rewards={"later": later_is_better}, best=1, cases=1)
    (draw,) = tuner._draws()
    walked = []
    walk = tuner._walk
    tuner._walk = lambda call, lessons, *rest: walked.extend(lessons) or walk(call, lessons, *rest)
    assert tuner.step().values["gradient_norm"] > 0
    assert [lesson.seeds for lesson in walked] == [draw.seeds[-1:]]
    assert len(walked[0].clean) == 1


def test_a_contact_sheet_stays_short_enough_to_look_at(tmp_path):
    clips = [np.full((9, 8, 8, 3), shade, np.uint8) for shade in range(84)]
    contact_sheet(clips, tmp_path / "sheet.png")
    rows = np.asarray(Image.open(tmp_path / "sheet.png"))[::96, 0, 0]
    assert len(rows) == 21
    assert (rows[0], rows[-1]) == (0, 83)
    contact_sheet([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_reflow_tries_several_references_from_the_same_latents(tuner_of):
    reference = {"guidance_scale": (1.0, 4.0), "num_inference_steps": 4}
    tuner = tuner_of(objective="reflow", reference=reference, cases=1)
    weak, strong = tuner._draws()
    assert weak.seeds == strong.seeds
    assert len(set(weak.seeds)) == 2
    call = tuner.call(tuner.cases[0], 2, 4) | {"output_type": "latent"}
    wanted = []
    for draw, guidance in ((weak, 1.0), (strong, 4.0)):
        asked = call | {"guidance_scale": guidance}
        with torch.no_grad(), untuned(tuner.pipe):
            _, made = record(tuner.pipe, asked, draw.seeds, noise=STILL, window=range(0), layout=tuner.layout)
        wanted.append(made.clean)
    tuner.step()
    (lesson,) = tuner.lessons.of(3, 0, 0)
    assert torch.equal(lesson.clean, torch.cat(wanted))
    assert not torch.equal(*wanted)


def test_something_may_surround_the_calls_of_the_reference(tuner_of):
    asked = []

    @contextmanager
    def teaching(case, call, count):
        asked.append((case.id, call["guidance_scale"], count))
        yield

    reference = {"guidance_scale": (2.0, 4.0), "num_inference_steps": 3}
    tuner_of(objective="reflow", reference=reference, cases=1, teaching=teaching, updates=2).step()
    assert asked == [("job0", 2.0, 2), ("job0", 4.0, 2)]
    with pytest.raises(RecipeError, match="given no `teaching`"):
        tuner_of(objective="reflow", reference=reference, reference_follows_intensity=True)


def test_what_reflow_imitates_comes_in_calls_of_the_batch(tuner_of):
    tuner = tuner_of(objective="reflow", batch=2, best=3, cases=1)
    walked = []
    walk = tuner._walk
    tuner._walk = lambda call, *rest: walked.append(len(call["prompt"])) or walk(call, *rest)
    tuner.step()
    assert walked == [2, 1]


def test_reflow_learns_nothing_from_a_group_that_a_gate_refused(tuner_of):
    gate = (lambda frames, **_: torch.zeros(len(frames)), 0.5)
    assert tuner_of(objective="reflow", gates={"gate": gate}).step().values["gradient_norm"] == 0


@pytest.mark.parametrize("remember", [None, 1, 3])
def test_reflow_goes_on_as_if_it_had_not_stopped(tuner_of, tmp_path, remember):
    options = {"objective": "reflow", "updates": 3, "remember": remember}
    whole = tuner_of(**options)
    for _ in range(6):
        whole.step()
    for lost in (1, 2, 0):  # iterations that a kill undoes, as it does nearly always
        parts = tuner_of(tmp_path, **options)
        parts.step()
        parts.step()
        parts.save()
        for _ in range(lost):
            parts.step()
    assert same(state(whole), state(parts))


def test_reflow_goes_on_from_the_older_checkpoint_where_the_newest_is_damaged(tuner_of, tmp_path):
    parts = tuner_of(tmp_path, objective="reflow", remember=1)
    for _ in range(5):
        parts.step()
        parts.save()
    (tmp_path / "checkpoints" / "000005" / "state.safetensors").write_bytes(b"torn")
    again = tuner_of(tmp_path, objective="reflow", remember=1)
    assert again.iteration == 4
    again.step()
    assert same(state(parts), state(again))
    assert len(list((tmp_path / "lessons").iterdir())) == 2


def test_reflow_makes_one_call_for_lessons_of_different_jobs(tuner_of):
    tuner = tuner_of(objective="reflow", prompts=2, num_generations=2, best=1)
    walked = []
    walk = tuner._walk
    tuner._walk = lambda call, *rest: walked.append(call["prompt"]) or walk(call, *rest)
    tuner.step()
    assert walked == [[case.call["prompt"] for case in tuner.cases]]


def test_what_reflow_learns_from_must_be_readable(tuner_of, tmp_path):
    tuner = tuner_of(tmp_path, objective="reflow")
    tuner.step()
    tuner.save()
    (tmp_path / "lessons" / "000000-0.safetensors").write_bytes(b"torn")
    with pytest.raises(RecipeError, match="can't be read, which this run learns from"):
        tuner_of(tmp_path, objective="reflow")


def test_reflow_teaches_each_number_of_steps_in_turn(tuner_of):
    tuner = tuner_of(objective="reflow", steps=(2, 3), updates=2)
    assert set(tuner.step().values) >= {f"gradient_of_step/{index}" for index in range(3)}


def test_steps_vary_within_a_group_so_that_efficiency_can_teach(tuner_of):
    seen = []

    def efficiency(steps, **_):
        seen.extend(steps)
        return [-float(count) for count in steps]

    report = tuner_of(rewards={"efficiency": efficiency}, steps=(3, 5)).step()
    assert sorted(seen) == [3, 3, 5, 5]
    assert report.values["idle_groups/efficiency"] == 0
    report = tuner_of(rewards={"efficiency": efficiency}, steps=(4,)).step()
    assert report.values["idle_groups/efficiency"] == 1
    assert report.values["gradient_norm"] == 0


def test_reflow_imitates_no_clip_that_a_reward_could_not_judge(tuner_of):
    def moody(frames, **_):
        return [None, *[0.9] * (len(frames) - 1)]

    tuner = tuner_of(objective="reflow", num_generations=2, best=1, rewards={"moody": moody})
    tuner.step()
    ((lesson,),) = (list(tuner.lessons.of(3, 0, 0)),)
    draw = next(iter(draws(tuner.settings, 3, 0, 2)))
    assert lesson.seeds == (draw.seeds[1],)
    blind = tuner_of(objective="reflow", rewards={"blind": lambda frames, **_: [None] * len(frames)})
    assert blind.step().values["gradient_norm"] == 0


def test_a_run_does_not_go_on_with_other_jobs_or_code(tuner_of, tmp_path):
    tuner = tuner_of(tmp_path)
    tuner.step()
    tuner.save()
    with pytest.raises(RecipeError, match=r"begun with others than now .jobs: .* put them back"):
        tuner_of(tmp_path, cases=3)
    with pytest.raises(RecipeError, match=r"rewards\.mine: None -> 1f"):
        tuner_of(tmp_path, origin={"rewards": {"mine": "1f"}})
    assert tuner_of(tmp_path).iteration == 1


def test_an_iteration_that_teaches_nothing_says_so(tuner_of, caplog):
    report = tuner_of(rewards={"flat": lambda frames, **_: torch.ones(len(frames))}).step()
    assert "nothing is learnt" in caplog.text
    assert "idle_groups 1" in report.line()


def test_losing_the_faces_of_hard_jobs_does_not_look_better(tuner_of):
    """The judge can't judge what has no face; that must count as the worst and not be left out."""
    said = iter([[0.1], [0.9], [None], [0.9], [None], [None]])
    judge = Scorer({"sees": lambda frames, **_: next(said)}, {"gate": (lambda frames, **_: [0.0], 0.5)})
    tuner = tuner_of()
    sound, hard, none = (evaluate(tuner, tuner.cases, judge, {"sees": 1.0}) for _ in range(3))
    assert (sound.worth, hard.worth, none.worth) == pytest.approx((0.5, 0.5, 0.1))
    assert (hard.values["missing"], hard.values["gate_rate"]) == (1, 1)
    blind = Scorer({"sees": lambda frames, **_: [None]})
    assert evaluate(tuner_of(), tuner.cases, blind, {"sees": 1.0}).worth == -np.inf


def test_gates_are_counted(tuner_of):
    gate = (lambda frames, **_: torch.tensor([0.0, 1.0, 1.0, 1.0]), 0.5)
    assert tuner_of(gates={"gate": gate}).step().values["gate_rate"] == 0.25


def test_both_denoisers_of_two_get_an_adapter(tuner_of):
    tuner = tuner_of(family="wan22_a14b", cases=1)
    assert {name.partition(".")[0] for name in tuner.weights} == {"transformer", "transformer_2"}
    before = {name: w.detach().clone() for name, w in tuner.weights.items()}
    for _ in range(3):
        tuner.step()
    moved = {name.partition(".")[0] for name, w in tuner.weights.items() if not torch.equal(before[name], w)}
    assert "transformer" in moved


def test_the_adapter_loads_where_clips_are_made_and_in_diffusers(tuner_of, tmp_path):
    tuner = tuner_of()
    tuner.step()
    tuner.step()
    file = tmp_path / "adapter.safetensors"
    save_adapter(tuner.weights, file, 2, 2.0)
    call = {**tuner.call(tuner.cases[0], 1, 3), "output_type": "latent"}
    make = lambda pipe: pipe(**call, generator=torch.Generator().manual_seed(0), return_dict=False)[0]  # noqa: E731
    ours = make(tuner.pipe)
    fresh = tiny_pipeline("ltx")
    untouched = make(fresh)
    load_adapter(fresh, file)
    assert torch.allclose(make(fresh), ours, atol=1e-5)
    assert not torch.allclose(untouched, ours, atol=1e-5)
    theirs = tiny_pipeline("ltx")
    theirs.load_lora_weights(tmp_path, weight_name=file.name)
    assert torch.allclose(make(theirs), ours, atol=1e-5)


def test_tuning_goes_on_from_an_adapter(tuner_of, tmp_path):
    first = tuner_of()
    first.step()
    file = tmp_path / "adapter.safetensors"
    save_adapter(first.weights, file, 2, 2.0)
    pipe = tiny_pipeline("ltx")
    load_adapter(pipe, file)
    second = Tuner(pipe, first.cases, first.scorer, settings_of())
    assert same(state_of_weights(second), state_of_weights(first))
    second.step()
    assert not same(state_of_weights(second), state_of_weights(first))
    with pytest.raises(RecipeError, match="to go on from it set"):
        Tuner(pipe, first.cases, first.scorer, settings_of(rank=4))


def state_of_weights(tuner):
    return {name: weight.detach().clone() for name, weight in tuner.weights.items()}


def test_swapped_weights_come_back(tuner_of):
    tuner = tuner_of()
    before = {name: w.detach().clone() for name, w in adapter(tuner.pipe).items()}
    with swapped(tuner.pipe, {name: torch.ones_like(w) for name, w in before.items()}):
        assert all((w == 1).all() for w in adapter(tuner.pipe).values())
    assert same(before, {name: w.detach() for name, w in adapter(tuner.pipe).items()})


def test_a_whole_run_leaves_adapter_card_curves_and_sheets(tuner_of, tmp_path):
    tuner = tuner_of(tmp_path)
    recipe = TuneRecipe(tune=settings_of(judge={"bright": 1.0}))
    ended = follow(tuner, recipe, tuner.cases[:1], Scorer({"bright": bright}), {"jobs": "3 of 2 people"})
    files = Files(tmp_path)
    assert ended == "ran to the end"
    assert files.adapter.is_file()
    card = (tmp_path / "README.md").read_text()
    assert "bright" in card
    assert "| jobs | 3 of 2 people |" in card
    assert (tmp_path / "curves.svg").read_text().startswith("<svg")
    assert sorted(path.stem for path in (tmp_path / "sheets").iterdir()) == ["000000", "000002", "000004"]
    kinds = [json.loads(line)["kind"] for line in files.log.read_text().splitlines()]
    assert kinds.count("iteration") == 4
    assert kinds.count("evaluation") == 3


def test_an_interrupted_run_ends_as_if_it_had_not_been(tuner_of, tmp_path):
    recipe = TuneRecipe(tune=settings_of())
    for folder, stop in (("whole", None), ("parts", 3)):
        tuner = tuner_of(tmp_path / folder)
        if stop:
            step, count = tuner.step, 0

            def dying(step=step):
                nonlocal count
                count += 1
                if count == 4:
                    raise KeyboardInterrupt
                return step()

            tuner.step = dying
            with pytest.raises(KeyboardInterrupt):
                follow(tuner, recipe, tuner.cases[:1], None, {})
            tuner = tuner_of(tmp_path / folder)
        follow(tuner, recipe, tuner.cases[:1], None, {})
    whole, parts = Files(tmp_path / "whole"), Files(tmp_path / "parts")
    # Tensors and metadata, not bytes: safetensors writes its metadata in no fixed order.
    first, second = load_file(whole.adapter), load_file(parts.adapter)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    timeless = [
        [
            {k: v for k, v in json.loads(line).items() if not k.startswith("seconds")}
            for line in f.read_text().splitlines()
        ]
        for f in (whole.log, parts.log)
    ]
    assert timeless[0] == timeless[1]


def test_fooled_rewards_stop_a_run_before_the_judge_has_lost_much():
    """A proxy with an exploit: it keeps rising while what it stands for turns at iteration 5."""
    proxy = [0.1 * i for i in range(12)]
    judge = [0.1 * i if i <= 5 else 0.5 - 0.04 * (i - 5) for i in range(12)]
    words = [course(judge[: i + 1], proxy[: i + 1], patience=3) for i in range(12)]
    assert words[5] == "best"
    assert words[6:8] == ["on", "on"]
    assert words[8] == "stop"
    assert judge[8] > 0.75 * max(judge)
    falling = [0.5 - 0.01 * i for i in range(12)]  # both fall: nothing is fooled
    assert "stop" not in [course(judge[: i + 1], falling[: i + 1], 3) for i in range(12)]


@pytest.mark.slow
def test_a_live_run_whose_rewards_are_fooled_stops_and_keeps_the_best(tuner_of, tmp_path):
    """The judge likes the brightness of the start; the reward wants ever more of it."""
    seen = []

    def likes_the_start(frames, **_):
        seen.append(bright(frames))
        return -((seen[-1] - seen[0]) ** 2)

    changes = {"evaluate_every": 1, "iterations": 30, "patience": 2, "learning_rate": 3e-2, "ema": 0.0}
    recipe = TuneRecipe(tune=settings_of(judge={"start": 1.0}, **changes))
    tuner = tuner_of(tmp_path, **changes)
    kept = {name: weight.detach().clone() for name, weight in tuner.weights.items()}
    ended = follow(tuner, recipe, tuner.cases[:1], Scorer({"start": likes_the_start}), {})
    assert ended.startswith("stopped")
    assert tuner.iteration < 10
    best = load_file(Files(tmp_path).adapter)
    assert all(torch.equal(best[name], weight) for name, weight in kept.items())


def test_a_random_reward_teaches_nothing_that_a_judge_would_see(tuner_of):
    def gain(reward):
        tuner = tuner_of(rewards={"it": reward}, num_generations=8, batch=8, cases=1, learning_rate=1e-2)

        def judged():
            call = tuner.call(tuner.cases[0], 4, 4)
            frames, _ = record(tuner.pipe, call, range(4), noise=STILL, window=range(0), layout=tuner.layout)
            return float(bright(frames.float()).mean())

        before = judged()
        for _ in range(10):
            tuner.step()
        return judged() - before

    generator = torch.Generator().manual_seed(0)
    learnt = gain(bright)
    assert learnt > 0
    assert abs(gain(lambda frames, **_: torch.rand(len(frames), generator=generator))) < learnt / 2


def test_a_reward_that_raises_midway_leaves_the_last_checkpoint(tuner_of, tmp_path):
    calls = []

    def fragile(frames, **_):
        calls.append(1)
        if len(calls) > 5:
            raise ZeroDivisionError("division by zero")
        return bright(frames)

    recipe = TuneRecipe(tune=settings_of(evaluate_every=100))
    tuner = tuner_of(tmp_path, rewards={"bright": fragile}, evaluate_every=100, iterations=20)
    with pytest.raises(RecipeError, match="bright failed: division by zero"):
        follow(tuner, recipe, tuner.cases[:1], None, {})
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found.iteration == 4
    assert tuner_of(tmp_path, iterations=20).iteration == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.zeros(3), "shape"),
        (torch.zeros(4, 1), "shape"),
        ("good", "one number a clip"),
        (None, "one number a clip"),
        ([1.0, 2.0], "shape"),
        ([[1.0], [2.0], [3.0], [4.0]], "one number a clip"),
        (["a", "b", "c", "d"], "one number a clip"),
        ([torch.zeros(2)] * 4, "one number a clip"),
        (np.array(["a"] * 4), "mine failed"),
    ],
)
def test_a_reward_of_the_wrong_shape_is_named(given, words):
    with pytest.raises(RecipeError, match=words) as caught:
        call_reward("mine", lambda **_: given, {"frames": torch.zeros(4)}, 4)
    assert "mine" in str(caught.value)


def test_none_and_nan_and_infinity_mean_not_judged():
    found = call_reward("mine", lambda **_: [None, float("nan"), float("inf"), 1.0], {}, 4)
    assert found.isnan().tolist() == [True, True, True, False]


def test_a_reward_that_wants_an_unknown_column_is_told_what_there_is():
    with pytest.raises(RecipeError, match=r"wants .smell.*frames"):
        call_reward("mine", lambda smell: smell, {"frames": 1}, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_generation": 4}, "num_generation"),
        ({"num_generations": 1}, "greater than or equal to 2"),
        ({"eta": 0.0}, "explores nothing"),
        ({"dropout": 0.1}, "must be 0"),
        ({"objective": "ddpo", "eta": 0.5}, "preset fixes"),
        ({"window": 9, "steps": (4, 8)}, "do not fit"),
        ({"steps": (1, 4)}, "needs 2 at least"),
        ({"reference": {"num_inference_steps": 12}, "beta": 1.0}, "is for reflow"),
        ({"rewards": {"bright": 0.0}}, "above 0"),
        ({"objective": "ppo"}, "objective"),
        ({"reference": {"guidance_scale": 5.0}}, "set beta above 0"),
        ({"reference": {"guidance_scale": [3.0, 5.0]}, "beta": 1.0}, "a list is for reflow"),
        ({"reference": {"guidance_scale": [3, 4, 5, 6, 7]}, "objective": "reflow"}, "no longer than a group"),
        ({"reference": {"a": [3, 4], "b": [1, 2, 3]}, "objective": "reflow"}, "equally long"),
        ({"reference": {"guidance_scale": []}, "objective": "reflow"}, "lists of 0 values"),
        ({"reference_follows_intensity": True}, "grpo imitates nothing"),
        ({"reference_follows_intensity": True, "objective": "reflow"}, "a guidance_scale above 1"),
        ({"kl_target": 0.1}, "set beta above 0"),
        ({"beta": 0.1, "objective": "reflow"}, "reflow has no KL"),
        ({"window": 2, "objective": "reflow"}, "reflow trains every step"),
        ({"best": 2}, "imitates no clip"),
        ({"remember": 2}, "learns from what it just tried"),
        ({"best": 99, "objective": "reflow"}, "of a group of"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        settings_of(**changes)


def test_dropout_trips_the_guard_before_anything_is_trained(tuner_of):
    tuner = tuner_of(family="wan21", cases=1)
    for module in tuner.pipe.transformer.modules():
        if hasattr(module, "lora_dropout") and len(module.lora_dropout):
            module.lora_dropout["argen"] = torch.nn.Dropout(0.5)
    for weight in tuner.weights.values():
        weight.data.normal_(0, 0.3)
    tuner.pipe.transformer.train()
    before = state(tuner)
    with pytest.raises(RecipeError, match="nothing was trained"):
        tuner.step()
    assert same(before, state(tuner))


def test_the_models_own_steps_must_fit_too(tuner_of):
    with pytest.raises(RecipeError, match=r"tune\.window: 9 steps do not fit into 4 steps"):
        tuner_of(window=9)


@pytest.mark.parametrize("name", ["guidance_follows_intensity", "neighbour_weight"])
def test_what_tuning_does_not_do_is_refused(name):
    with pytest.raises(ValueError, match="tuning calls the model without it"):
        TuneRecipe(generate={name: 1})


def test_half_precision_without_exponents_is_refused(call_of):
    pipe = tiny_pipeline("ltx")
    pipe.transformer.half()
    with pytest.raises(RecipeError, match="tune in bfloat16"):
        admit(pipe, call_of("ltx"))


def test_fewer_jobs_than_prompts_are_refused(tuner_of):
    with pytest.raises(RecipeError, match="only 2 jobs"):
        tuner_of(prompts=4)


def test_targets_that_name_no_layer_are_refused(tuner_of):
    with pytest.raises(RecipeError, match="ends with nowhere"):
        tuner_of(targets=("nowhere",))


def test_a_changed_recipe_does_not_go_on(tmp_path):
    check_recipe(tmp_path, TuneRecipe(tune=settings_of(rank=3)).deciding())  # a mistake, nothing made yet
    check_recipe(tmp_path, TuneRecipe(tune=settings_of()).deciding())
    (tmp_path / "log.jsonl").touch()
    check_recipe(tmp_path, TuneRecipe(tune=settings_of(iterations=9)).deciding())  # longer is fine
    with pytest.raises(RecipeError, match=r"tune\.learning_rate: 0\.01 -> 0\.1"):
        check_recipe(tmp_path, TuneRecipe(tune=settings_of(learning_rate=0.1)).deciding())


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path):
    for iteration in (1, 2):
        save_checkpoint(
            tmp_path, Checkpoint(iteration, {"x": torch.full((3,), float(iteration))}, {"notes": {}})
        )
    (tmp_path / "checkpoints" / "000002" / "state.safetensors").write_bytes(b"torn")
    assert load_checkpoint(tmp_path).iteration == 1
    shutil.rmtree(tmp_path / "checkpoints")
    assert load_checkpoint(tmp_path) is None


KILLED = """
import sys, torch
from pathlib import Path
from argen.tuning.checkpoint import Checkpoint, save_checkpoint
i = 0
while True:
    i += 1
    save_checkpoint(Path(sys.argv[1]), Checkpoint(i, {"x": torch.full((200_000,), float(i))}, {"notes": {}}))
    print(i, flush=True)
"""


@pytest.mark.slow
def test_a_kill_during_a_checkpoint_leaves_one_that_loads(tmp_path):
    for after in (2, 5):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(after):
            process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        found = load_checkpoint(tmp_path)
        assert found is not None
        assert (found.tensors["x"] == found.iteration).all()
