"""From a training run to a checkpoint folder, and contact sheets of what it makes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from argen.puppets import denoiser
from argen.puppets.animate import animate
from argen.puppets.expressions import BASIC
from argen.puppets.footage import FRAMES, SIZE, shoot

if TYPE_CHECKING:
    from diffusers import LTXImageToVideoPipeline

SHIFT = 0.6  # of the sampler's times: more steps where faces form, see flow matching in denoiser.py


def pipeline_of(run: Path, average: bool = True) -> LTXImageToVideoPipeline:
    """The pipeline of a training run; with the averaged weights, where there are any."""
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXImageToVideoPipeline,
        LTXVideoTransformer3DModel,
    )
    from transformers import PreTrainedTokenizerFast, T5EncoderModel

    tuned = run / "vae_tuned"
    encoder = T5EncoderModel.from_pretrained(run / "text_encoder")
    begun = run / "transformer"  # of the checkpoint that the run goes on from
    transformer = (
        LTXVideoTransformer3DModel.from_pretrained(begun) if begun.exists() else denoiser.make_transformer()
    )
    if average and (run / "training.pt").exists():
        weights = torch.load(run / "training.pt", weights_only=True)["average"]
        models = torch.nn.ModuleDict({"transformer": transformer, "encoder": encoder})
        models.load_state_dict(weights)
    pipe = LTXImageToVideoPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT, use_dynamic_shifting=False),
        vae=AutoencoderKLLTXVideo.from_pretrained(tuned if average and tuned.exists() else run / "vae"),
        text_encoder=encoder,
        tokenizer=PreTrainedTokenizerFast.from_pretrained(run / "tokenizer"),
        transformer=transformer,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def export(pipe: LTXImageToVideoPipeline, folder: Path) -> None:
    """Write the checkpoint in half precision, and `argen.json`: its domain and its files' hashes."""
    for part in (pipe.vae, pipe.transformer):  # transformers would load a half-precision encoder as such
        part.half()
    pipe.save_pretrained(folder, safe_serialization=True)
    for part in (
        "vae",
        "text_encoder",
        "transformer",
    ):  # the place a part was loaded from is nobody's business
        file = folder / part / "config.json"
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings.pop("_name_or_path", None)
        file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    files = sorted(
        p for p in folder.rglob("*") if p.suffix in {".safetensors", ".json"} and p.name != "argen.json"
    )
    facts = {
        "domain": "puppets",
        "frames": FRAMES,
        "sizes": [SIZE],
        "call": {"frame_rate": denoiser.FRAME_RATE},
        "sha256": {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
    }
    (folder / "argen.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def sample_sheet(pipe: LTXImageToVideoPipeline, path: Path) -> None:
    """One held-out puppet a row, one strong emotion each: the source, then five of the frames made."""
    sources = [shoot("evaluation", 900 + i, "neutral", "neutral", 0.1).frames[0] for i in range(len(BASIC))]
    captions = [f"a person with a strong {emotion} expression." for emotion in BASIC]
    made = animate(pipe, sources, captions, [0] * len(BASIC))
    rows = [
        np.concatenate([source, *clip[[0, 4, 8, 12, 16]]], axis=1)
        for source, clip in zip(sources, made, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = cv2.resize(np.concatenate(rows), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), sheet[..., ::-1])
