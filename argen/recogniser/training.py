"""Train a recogniser: a fixed number of steps, whatever the number of clips."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from argen.config import differing_keys
from argen.dataset.clip import Clip
from argen.errors import ArgenError, DatasetError, RecipeError, did_you_mean
from argen.recogniser.aggregator import concept_loss
from argen.recogniser.batches import Batch, Pool, make_batch, set_aside
from argen.recogniser.checkpoint import own_tensors, save_trained
from argen.recogniser.frames import CachedFrames, FrameCache
from argen.recogniser.losses import Loss, make_loss
from argen.recogniser.model import Outputs, Recogniser
from argen.recogniser.predict import predict_with
from argen.recogniser.scores import uar, war
from argen.recogniser.settings import Settings
from argen.run import write_atomically
from argen.tuning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)

logger = logging.getLogger(__name__)
FREE: Final = ("checkpoint_every", "device")
"""Settings that may change between the parts of a run."""
Callback = Callable[[Mapping[str, Any]], None]


def train(
    settings: Settings,
    train_clips: Sequence[Clip],
    classes: Sequence[str],
    out: Path,
    *,
    cache: FrameCache | None = None,
    callback: Callback | None = None,
) -> Path:
    """Train on `train_clips` and return the checkpoint folder, OUT/checkpoint.

    `classes` fixes the order of the logits. Validation is a share of the *subjects* of `train_clips`
    (`settings.validation`), real clips only; a synthetic clip whose subject is set aside is set aside too.
    A finished OUT returns at once; an interrupted one goes on, and ends bit for bit as if it had not been
    interrupted. Without `cache`, frames are kept in OUT/frames. `callback` is told of every step.

    Raises DatasetError: a class without training clips, a clip of another class, a held-out clip among
    them. Raises RecipeError for an OUT that was begun with other settings, classes or clips.
    """
    check_training(train_clips, classes)
    _begin(out, settings, train_clips, classes)
    finished = out / "checkpoint"
    if finished.is_dir():
        return finished
    course = Course(settings, train_clips, classes, out, cache or FrameCache(out / "frames"))
    while course.step < settings.steps:
        told = course.advance()
        if callback is not None:
            callback(told)
        if course.step % settings.checkpoint_every == 0:
            course.save()
    return course.finish(finished)


def check_training(clips: Sequence[Clip], classes: Sequence[str]) -> None:
    """Raise DatasetError unless these clips can teach these classes."""
    counts = Counter(clip.label for clip in clips)
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise DatasetError(f"classes: need two or more different ones, not {', '.join(classes) or 'none'}")
    missing = [label for label in classes if not counts[label]]
    if missing:
        raise DatasetError(
            f"classes without training clips: {', '.join(missing)}{did_you_mean(missing[0], counts)}"
        )
    strange = sorted(set(counts) - set(classes))
    if strange:
        raise DatasetError(
            f"{counts[strange[0]]:,} training clips are labelled '{strange[0]}', which is none of the classes"
            f"{did_you_mean(strange[0], classes)}"
        )
    held_out = next((clip for clip in clips if clip.split != "train"), None)
    if held_out is not None:
        raise DatasetError(
            f"'{held_out.id}' is a clip of the {held_out.split} split; nothing is trained on it"
        )


class Course:
    """One run: the model, its optimiser, where it is. Everything random is a function of seed and step."""

    def __init__(
        self,
        settings: Settings,
        clips: Sequence[Clip],
        classes: Sequence[str],
        out: Path,
        cache: FrameCache,
    ) -> None:
        from accelerate import Accelerator

        self.settings, self.classes, self.out = settings, tuple(classes), out
        precision = "bf16" if settings.precision == "bfloat16" else "no"
        self.accelerator = Accelerator(cpu=settings.device == "cpu", mixed_precision=precision)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = Recogniser(settings, classes)
        kept, self.validation = set_aside(clips, settings.validation, settings.seed)
        self.subjects = [clip.subject for clip in clips]
        self.cache, size = cache, self.model.tower.size
        truth = np.array([self.classes.index(clip.label) for clip in kept], np.int64)
        self.pool = Pool(kept, CachedFrames(cache, kept, size), truth, len(classes))
        weights = [settings.synthetic_weight if clip.synthetic else 1.0 for clip in kept]
        self.counts = np.bincount(truth, weights, minlength=len(classes)).tolist()  # as the loss weighs them
        self.optimizer = torch.optim.AdamW(_parameters(self.model, settings), betas=(0.9, 0.98))
        self.weights = {name: w for name, w in self.model.named_parameters() if w.requires_grad}
        self.step = 0
        self._resume()
        self.wrapped, self.prepared = self.accelerator.prepare(self.model, self.optimizer)

    def advance(self) -> dict[str, Any]:
        """One step; what is to be told of it. Raises ArgenError where the loss is no number."""
        settings, step = self.settings, self.step
        batch = make_batch(
            settings, self.pool, step, self.accelerator.process_index, self.accelerator.num_processes
        )
        batch = _on(batch, self.accelerator.device)
        _set_rates(self.optimizer, settings, step)
        self.wrapped.train()
        with self.accelerator.autocast():
            outputs = self.wrapped(batch.frames)
            value = total_loss(
                settings, outputs, batch, make_loss(settings, self.counts, step), self.model.shares
            )
        if not math.isfinite(float(value.detach())):
            raise ArgenError(
                f"{self.out}: the loss of step {step + 1} is {float(value.detach())}; lower the rate"
            )
        self.accelerator.backward(value)
        self.accelerator.clip_grad_norm_(list(self.weights.values()), 1.0)
        self.prepared.step()
        self.prepared.zero_grad()
        self.step += 1
        told: dict[str, Any] = {"step": self.step, "loss": float(value.detach())}
        if settings.evaluate_every and self.step % settings.evaluate_every == 0:
            told |= self.validate()
        return told

    def validate(self) -> dict[str, float]:
        """UAR and WAR on the subjects that were set aside; nothing where there are none."""
        if not self.validation:
            return {}
        found = predict_with(self.model, self.classes, self.validation, self.cache)
        count = len(self.classes)
        return {
            "validation_uar": uar(found.truth, found.said, count),
            "validation_war": war(found.truth, found.said, count),
        }

    def save(self) -> None:
        """Write where the run is, on the main process."""
        if self.accelerator.is_main_process:
            tensors = {f"model.{name}": value for name, value in own_tensors(self.model).items()}
            tensors |= optimizer_tensors(self.weights, self.optimizer)
            save_checkpoint(self.out, Checkpoint(self.step, tensors, {}), keep=1)

    def finish(self, folder: Path) -> Path:
        """Look at validation, and write the checkpoint."""
        clips = np.bincount(self.pool.truth, minlength=len(self.classes)).tolist()
        facts = {
            "clips": dict(zip(self.classes, clips, strict=True)),
            "synthetic": sum(clip.synthetic for clip in self.pool.clips),
            "validation_clips": len(self.validation),
            "parameters": self.model.parameter_count(),
            **self.validate(),
        }
        if self.accelerator.is_main_process:
            save_trained(folder, self.model, self.classes, self.subjects, facts)
        self.accelerator.wait_for_everyone()
        return folder

    def _resume(self) -> None:
        found = load_checkpoint(self.out)
        if found is None:
            return
        prefix = "model."
        own = {k.removeprefix(prefix): v for k, v in found.tensors.items() if k.startswith(prefix)}
        self.model.load_state_dict(own, strict=False)
        restore_optimizer(self.weights, self.optimizer, found.tensors)
        self.step = found.iteration
        logger.info("%s: goes on after step %d", self.out, self.step)


def total_loss(
    settings: Settings, outputs: Outputs, batch: Batch, loss: Loss, shares: Float[Tensor, "C 20"]
) -> Float[Tensor, ""]:
    """The fused logits', each level's and the aggregator's losses, and the concepts', weighed per clip."""
    each = loss(outputs.logits, batch.targets)
    if outputs.alignment is not None:
        for level, weight in enumerate(settings.level_weights):
            each = each + weight * loss(outputs.alignment.levels[:, level], batch.targets)
    if outputs.aggregate is not None:
        each = each + loss(outputs.aggregate.logits, batch.targets)
        each = each + settings.concept_weight * concept_loss(
            outputs.aggregate.evidence, batch.targets, shares
        )
    return (each * batch.weights).sum() / batch.weights.sum().clamp(min=1e-6)


def _begin(out: Path, settings: Settings, clips: Sequence[Clip], classes: Sequence[str]) -> None:
    """Write down what a run is of, or refuse to go on with something else."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(f"{clip.id}\0{clip.label}\0{clip.subject}\0{clip.synthetic}\n".encode())
    now: dict[str, Any] = json.loads(
        json.dumps({"settings": settings.as_dict(), "classes": list(classes), "clips": digest.hexdigest()})
    )
    path = out / "run.json"
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(now, indent=1) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before["classes"] != now["classes"]:
        raise RecipeError(
            f"{out}: begun with the classes {', '.join(before['classes'])} in this order, "
            f"not {', '.join(now['classes'])}; choose another folder"
        )
    if before["clips"] != now["clips"]:
        raise RecipeError(f"{out}: begun with other training clips; choose another folder")
    changed = differing_keys(before["settings"], now["settings"])
    changed = [line for line in changed if not line.startswith(FREE)]
    if changed:
        raise RecipeError(
            f"{out}: begun with other settings ({'; '.join(changed)}); choose another folder or put them back"
        )


def _parameters(model: Recogniser, settings: Settings) -> list[dict[str, Any]]:
    """Groups for the optimiser: the tower has its own rate; vectors and scalars do not decay."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            rate = settings.tower_rate if name.startswith("tower.") else settings.rate
            decay = settings.weight_decay if weight.ndim > 1 and "offsets" not in name else 0.0
            groups.setdefault((rate, decay), []).append(weight)
    return [
        {"params": weights, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), weights in groups.items()
    ]


def _set_rates(optimizer: torch.optim.Optimizer, settings: Settings, step: int) -> None:
    """Linear warm-up, then half a cosine to zero."""
    rising = max(1, round(settings.warmup * settings.steps))
    if step < rising:
        share = (step + 1) / rising
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, settings.steps - rising)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def _on(batch: Batch, device: torch.device) -> Batch:
    return Batch(batch.frames.to(device), batch.targets.to(device), batch.weights.to(device))
