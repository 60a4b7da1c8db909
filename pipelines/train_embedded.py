"""Makes the embedded checkpoint from nothing: puppets, autoencoder, words, denoiser, export.

    python -m pipelines.train_embedded runs/embedded --minutes 210         # two cores: hours
    python -m pipelines.train_embedded runs/embedded --export argen/puppets/checkpoint
    python -m pipelines.train_embedded runs/more --start argen/puppets/checkpoint --rate 1e-3 --minutes 60

`--start` goes on from an exported checkpoint, which keeps weights but no optimisers. Running it again goes
on where it stopped. `--minutes` is the training time of the denoiser; a larger value on a finished run
continues it. The log (OUT/log.jsonl) and contact sheets (OUT/samples) are
written while it runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import LTXImageToVideoPipeline

from argen.puppets import autoencoder, denoiser, shards, words
from argen.puppets.export import export, pipeline_of, sample_sheet


def main() -> None:
    """Parse, then one stage after another; each skips what exists."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=210, help="of processor time for the denoiser")
    parser.add_argument(
        "--clips", type=int, default=11_000, help="rendered training clips, up to this number"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--word-steps", type=int, default=1000)
    parser.add_argument("--decoder-steps", type=int, default=0, help="tune the decoder this long, then stop")
    parser.add_argument("--first", type=int, default=0, help="first clip to render, a multiple of 250")
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from, instead of from nothing")
    parser.add_argument("--export", type=Path, help="write the checkpoint here and stop")
    options = parser.parse_args()
    torch.set_num_threads(1 if not torch.cuda.is_available() else 4)
    torch.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.export:
        export(load_pipeline(options.out), options.export)
        return
    renderer = multiprocessing.get_context("spawn").Process(
        target=shards.render_shards,
        args=(options.out / "footage", "embedded", options.clips, options.first),
        daemon=True,
    )
    renderer.start()
    while len(list((options.out / "footage").glob("*.npz"))) < 2 and renderer.is_alive():
        time.sleep(2)
    if options.start:
        begin_from(options.start, options.out)
    make_vae(options.out)
    if options.decoder_steps:
        tune(options.out, options.decoder_steps)
    else:
        make_words(options.out, options.word_steps)
        train(options)
    renderer.terminate()


def say(out: Path, **facts: object) -> None:
    """One line of the log."""
    line = json.dumps({"at": time.strftime("%H:%M:%S"), **facts})
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


def begin_from(start: Path, out: Path) -> None:
    """Take over the parts of a checkpoint, so that only the denoiser learns on."""
    for part in ("vae", "tokenizer", "text_encoder", "transformer"):
        if not (out / part).exists():
            shutil.copytree(start / part, out / part)


def make_vae(out: Path) -> None:
    """Set the autoencoder from the first shard."""
    if (out / "vae").exists():
        return
    started = time.process_time()
    frames = shards.frames_of(out / "footage", 2)
    vae = autoencoder.make_autoencoder()
    autoencoder.initialise(vae, autoencoder.to_tensor(frames[:160]))
    autoencoder.set_normalisation(vae, autoencoder.encode(vae, frames[160:400]))
    held = frames[-32:]
    with torch.no_grad():
        seen = vae.decode(autoencoder.encode(vae, held)).sample
    quality = autoencoder.psnr(seen, autoencoder.to_tensor(held))
    vae.save_pretrained(out / "vae")
    say(out, stage="autoencoder", psnr=round(quality, 2), cpu_seconds=round(time.process_time() - started))


def make_words(out: Path, steps: int) -> None:
    """Teach the text encoder what captions mean."""
    if (out / "text_encoder").exists():
        return
    tokenizer = words.make_tokenizer()
    encoder = words.make_encoder(len(tokenizer))
    losses = list(words.teach_words(encoder, tokenizer, steps))
    tokenizer.save_pretrained(out / "tokenizer")
    encoder.save_pretrained(out / "text_encoder")
    say(
        out,
        stage="words",
        steps=steps,
        first=round(losses[0], 4),
        last=round(float(np.mean(losses[-20:])), 4),
    )


def train(options: argparse.Namespace) -> None:
    """Flow matching until the time is used up; a checkpoint every two minutes, a sheet every ten."""
    out: Path = options.out
    pipe = load_pipeline(out, average=False)
    state = denoiser.Training(pipe.transformer, pipe.text_encoder, options.rate)
    if (out / "training.pt").exists():
        state.load(torch.load(out / "training.pt", weights_only=True))
    generator = torch.Generator().manual_seed(1000 + state.steps)
    rng = np.random.default_rng([0x7A, state.steps])
    data = shards.load_latents(out / "footage", pipe.vae)
    weights = denoiser.motion_weights(data.latents)
    rows = denoiser.drawn(data.weights, options.batch, generator)
    budget, saved, losses = 60 * options.minutes, time.time(), []
    while state.seconds < budget:
        started = time.process_time()  # not wall time, which a busy machine takes without teaching anything
        chosen = next(rows)
        batch = denoiser.Batch(data.latents[chosen], *data.tokens(chosen, pipe.tokenizer, rng))
        losses.append(state.step(batch, weights, state.seconds / budget, generator))
        state.seconds += time.process_time() - started
        if time.time() - saved > 120 or state.seconds >= budget:
            save(out, state)
            say(out, stage="denoiser", steps=state.steps, seconds=round(state.seconds), 
                clips=len(data.labels), loss=round(float(np.mean(losses)), 4))  # fmt: skip
            saved, losses = time.time(), []
            if shards.SHARD * len(list((out / "footage").glob("*.npz"))) > len(data.labels):
                data = shards.load_latents(out / "footage", pipe.vae)
            rows = denoiser.drawn(data.weights, options.batch, generator)
        if state.steps % 600 == 0:
            sample_sheet(load_pipeline(out), out / "samples" / f"{state.steps:06d}.png")


def save(out: Path, state: denoiser.Training) -> None:
    """Whole or not at all."""
    torch.save(state.state(), out / "training.tmp")
    (out / "training.tmp").replace(out / "training.pt")


def load_pipeline(out: Path, average: bool = True) -> LTXImageToVideoPipeline:
    """The pipeline of a run, with the averaged weights where there are any."""
    return pipeline_of(out, average)


def tune(out: Path, steps: int) -> None:
    """Train the decoder on pixels; the encoder, and so all latents, stay as they are."""
    pipe = load_pipeline(out, average=False)
    frames = shards.frames_of(out / "footage", 16)
    held, frames = frames[:32], frames[32:]

    def batches() -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(5)
        for chosen in denoiser.drawn(torch.ones(len(frames)), 4, generator):
            yield frames[chosen]

    tuner = autoencoder.tune_decoder(pipe.vae, batches(), steps)
    for step, loss in enumerate(tuner):
        if step % 50 == 0 or step == steps - 1:
            with torch.no_grad():
                seen = pipe.vae.decode(autoencoder.encode(pipe.vae, held)).sample
            quality = autoencoder.psnr(seen, autoencoder.to_tensor(held))
            say(out, stage="decoder", steps=step, loss=round(loss, 4), psnr=round(quality, 2))
            pipe.vae.save_pretrained(out / "vae_tuned")


if __name__ == "__main__":
    main()
