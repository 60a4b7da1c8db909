"""Trains the puppet world's small networks from nothing: the reader; the chooser; the judge that only scores.

    python -m pipelines.train_readers runs/reader --who reader
    python -m pipelines.train_readers runs/judge --who judge --clips 16000 --steps 3000
    python -m pipelines.train_readers runs/chooser --who chooser --clips 16000 --steps 3000

All see rendered stills of people that nobody else sees; on one core about a quarter of an hour each. The
reader also learns what no puppet is, from backgrounds and photographs of installed packages (none is kept).
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy import ndarray
from safetensors.numpy import save_file

from argen.dataset.clip import Clip
from argen.dataset.video import read_frames
from argen.puppets import examiner, learning, reader

HELD = 0.1  # share of stills kept for the figures of the log
SEEDS = {"reader": (11, 1), "judge": (23, 2), "chooser": (37, 3)}  # of weights; of what is shown when


def main() -> None:
    """Render, train, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--who", choices=("reader", "chooser", "judge"), required=True)
    parser.add_argument("--clips", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--weights", type=Path, help="where to write; default: OUT/WHO.safetensors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    is_reader = options.who == "reader"
    seeds = SEEDS[options.who]
    torch.manual_seed(seeds[0])
    learning.render_stills(
        options.out / "stills", options.who, options.clips, wild=0.5 if is_reader else 0.25
    )
    stills = learning.load_stills(options.out / "stills")
    count = int(len(stills.frames) * (1 - HELD)) // 3 * 3
    network = reader.make_reader() if is_reader else examiner.make_examiner()
    others = None
    if is_reader:
        rng = np.random.default_rng(3)
        others = np.concatenate([learning.negatives(800, rng), learning.negatives(4000, rng, photographs())])
    started = time.time()
    losses = []
    known = learning.part(stills, slice(0, count))
    lessons = learning.learn(network, known, options.steps, seeds[1], others=others)
    for step, loss in enumerate(lessons):
        losses.append(loss)
        if step % 200 == 199:
            print(step + 1, round(time.time() - started), round(float(np.mean(losses[-200:])), 4), flush=True)
    network.eval()
    extra = learning.measure(network, learning.part(stills, slice(count, None)))
    if is_reader:
        extra["shape_basis"], extra["shape_mean"] = learning.shape_basis(known.landmarks)
    path = options.weights or options.out / f"{options.who}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.numpy() for name, value in network.state_dict().items()} | extra
    save_file({name: np.ascontiguousarray(_half(value)) for name, value in tensors.items()}, path)
    print({name: value.round(3).tolist() for name, value in extra.items() if value.size <= 20})


def _half(value: ndarray) -> ndarray:
    return value.astype(np.float16) if value.dtype.kind == "f" and value.size > 64 else value


def _read(path: Path) -> ndarray:
    picture = cv2.imread(str(path))
    if picture is None:
        raise ValueError(f"{path}: no picture that OpenCV reads")
    return np.asarray(picture[..., ::-1])


def photographs() -> list[ndarray]:
    """Pictures that come with installed packages, faces among them; some are left for the tests."""
    pictures = []
    sample = importlib.util.find_spec("skimage")
    if sample and sample.origin:
        folder = Path(sample.origin).parent / "data"
        names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png")
        pictures += [_read(folder / n) for n in names if (folder / n).exists()]
        faces = np.load(folder / "lfw_subset.npy", allow_pickle=False)[:80]
        pictures += [np.repeat((face * 255).astype(np.uint8)[..., None], 3, axis=2) for face in faces]
    feat = importlib.util.find_spec("feat")
    if feat and feat.origin:
        folder = Path(feat.origin).parent / "tests" / "data"
        pictures += [_read(path) for path in sorted(folder.glob("*.jpg"))]
        film = folder / "single_face.mp4"
        if film.exists():
            clip = Clip("film", "none", "train", film, "video", "film")
            pictures += list(read_frames(clip, 6))
    return [np.ascontiguousarray(picture) for picture in pictures]


if __name__ == "__main__":
    main()
