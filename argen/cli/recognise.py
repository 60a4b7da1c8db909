"""`argen recognise train | predict | score | explain`: the recogniser of dynamic expressions (DuSE)."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from argen.dataset.clip import Clip, Dataset
    from argen.recogniser.frames import FrameCache
    from argen.recogniser.predict import Predictions

log = logging.getLogger(__name__)
Source = Annotated[Path, typer.Argument(metavar="SRC", help="Folder of face clips.")]
Trained = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Folder that `train` wrote.")]
Cache = Annotated[
    Path | None, typer.Option("--cache", metavar="FOLDER", help="Decoded frames, shared by runs.")
]
CacheSize = Annotated[float, typer.Option("--cache-gb", min=0, help="Most that the cache may hold.")]
Split = Annotated[str, typer.Option("--split", help="test, val, or train.")]
Fold = Annotated[int, typer.Option("--fold", min=1, max=10, help="Of a dataset with official folds.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    topic = typer.Typer(help="Train and score a recogniser of dynamic expressions.", no_args_is_help=True)
    topic.command("train")(train)
    topic.command("predict")(predict)
    topic.command("score")(score)
    topic.command("explain")(explain)
    app.add_typer(topic, name="recognise")


def train(
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the run; run again to go on.")],
    settings: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE", help="Settings, YAML.")
    ] = None,
    put: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrule one; repeatable.")
    ] = None,
    real_only: Annotated[bool, typer.Option("--real-only", help="Leave synthetic clips out.")] = False,
    fold: Fold = 1,
    cache: Cache = None,
    cache_gb: CacheSize = 8.0,
) -> None:
    """Learn the classes of SRC's training split, for a fixed number of steps."""
    from argen.recogniser.settings import Settings
    from argen.recogniser.training import train as run

    overrides = _overrides(put or [])
    chosen = Settings.read(settings, overrides) if settings else Settings.from_dict(overrides, "--set")
    dataset = _read(source, fold)
    _warn_of_unknown(dataset)
    clips = dataset.sources if real_only else dataset.train
    classes = sorted({clip.label for clip in clips})
    frames = _frames(cache or out / "frames", cache_gb)
    every = max(1, chosen.steps // 20)

    def tell(told: Any) -> None:  # noqa: ANN401 (a mapping of numbers)
        if told["step"] % every == 0 or "validation_uar" in told:
            typer.echo("  ".join(f"{name} {value:.4g}" for name, value in told.items()), err=True)

    print(run(chosen, clips, classes, out, cache=frames, callback=tell))


def predict(
    checkpoint: Trained,
    source: Source,
    table: Annotated[Path, typer.Argument(metavar="CSV", help="Where the predictions go.")],
    split: Split = "test",
    fold: Fold = 1,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Allow synthetic clips (of the training split).")
    ] = False,
    cache: Cache = None,
    cache_gb: CacheSize = 8.0,
    device: Device = "cpu",
) -> None:
    """Write the class probabilities of a split: id, subject, label, predicted, p_<class>, ..."""
    from argen.recogniser.predict import predict as run

    frames = _frames(cache, cache_gb) if cache else None
    dataset = _read(source, fold)
    clips = _clips(dataset, split)
    _warn_of_unknown(dataset)
    run(checkpoint, clips, frames, allow_synthetic=synthetic, device=device).save(table)
    print(table)


def score(
    tables: Annotated[
        list[Path], typer.Argument(metavar="CSV [CSV]", help="Predictions; two of the same clips: compared.")
    ],
    draws: Annotated[int, typer.Option("--draws", min=100, help="Of the bootstrap over subjects.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Score predictions again; of two, also say whether the first is better."""
    from argen.errors import UsageError
    from argen.recogniser import scores
    from argen.recogniser.predict import Predictions

    if len(tables) > 2:
        raise UsageError(f"score: one table, or two to compare, not {len(tables)}")
    read = [Predictions.read(path) for path in tables]
    found = [_scores(predictions) for predictions in read]
    compared: dict[str, Any] = {}
    if len(read) == 2:
        for name, metric in (("uar", scores.uar), ("war", scores.war)):
            compared[f"{name}_difference"] = scores.paired_bootstrap(
                read[0], read[1], metric, draws=draws, seed=seed
            )
        compared["mcnemar"] = scores.mcnemar(read[0], read[1])
    if as_json:
        print(json.dumps({"tables": dict(zip(map(str, tables), found, strict=True)), **compared}))
        return
    for path, one in zip(tables, found, strict=True):
        print("\n".join([str(path), *_as_text(one)]))
    for name, values in compared.items():
        print(f"{name:<16} " + "  ".join(f"{value:.4g}" for value in values))


def explain(
    checkpoint: Trained,
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for one picture a clip.")],
    split: Split = "test",
    fold: Fold = 1,
    most: Annotated[int, typer.Option("--most", min=1, help="Clips, spread over the classes.")] = 14,
    cache: Cache = None,
    cache_gb: CacheSize = 8.0,
    device: Device = "cpu",
) -> None:
    """Show which frames, which Action Units and which prompt level drove each decision."""
    from argen.recogniser.checkpoint import load_trained
    from argen.recogniser.explain import draw
    from argen.recogniser.explain import explain as run

    trained = load_trained(checkpoint, device)
    frames = _frames(cache or out / "frames", cache_gb)
    by_class: dict[str, list[Any]] = {}
    for clip in _clips(_read(source, fold), split):
        by_class.setdefault(clip.label, []).append(clip)
    rounds = [clip for turn in range(most) for clips in by_class.values() for clip in clips[turn : turn + 1]]
    for clip in rounds[:most]:
        print(draw(run(trained, clip, frames), out / f"{clip.id.replace('/', '-')}.png"))


def _frames(folder: Path, gigabytes: float) -> FrameCache:
    from argen.recogniser.frames import FrameCache

    return FrameCache(folder, int(gigabytes * (1 << 30)))


def _read(source: Path, fold: int) -> Dataset:
    from argen.config import DatasetSettings
    from argen.dataset.read import read_dataset

    return read_dataset(source, DatasetSettings(fold=fold))


def _clips(dataset: Dataset, split: str) -> list[Clip]:
    from argen.errors import UsageError, did_you_mean

    found = [clip for clip in dataset.clips if clip.split == split]
    if not found:
        known = {clip.split for clip in dataset.clips}
        raise UsageError(f"{dataset.root}: no clips of the split '{split}'{did_you_mean(split, known)}")
    return found


def _warn_of_unknown(dataset: Dataset) -> None:
    if dataset.subjects_from == "clip":
        log.warning(
            "%s: who is in which clip is unknown, so a person may be in two splits and scores too good; "
            "a metadata column 'subject' tells", dataset.root,
        )  # fmt: skip


def _overrides(pairs: list[str]) -> dict[str, Any]:
    import yaml

    from argen.errors import RecipeError

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RecipeError(f"--set {pair}: write it as key=value, for example steps=600")
        try:
            found[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {pair}: {str(error).splitlines()[0]}") from error
    return found


def _scores(predictions: Predictions) -> dict[str, Any]:
    from dataclasses import asdict

    from argen.recogniser import scores

    truth, said, count = predictions.truth, predictions.said, len(predictions.classes)
    return {
        "clips": len(truth),
        "uar": scores.uar(truth, said, count),
        "war": scores.war(truth, said, count),
        "ece": scores.expected_calibration_error(predictions.probabilities, truth),
        "recalls": [asdict(recall) for recall in scores.recalls(truth, said, predictions.classes)],
        "classes": list(predictions.classes),
        "confusion": scores.confusion(truth, said, count).tolist(),
    }


def _as_text(found: dict[str, Any]) -> list[str]:
    lines = [
        f"  {found['clips']:,} clips   " + "   ".join(f"{k} {found[k]:.4f}" for k in ("uar", "war", "ece"))
    ]
    lines.append("  recall (95 % Wilson), then the clips of the class by what was said of them:")
    for recall, row in zip(found["recalls"], found["confusion"], strict=True):
        numbers = " ".join(f"{count:>5}" for count in row)
        value = f"{recall['value']:.3f} ({recall['low']:.3f}..{recall['high']:.3f})"
        lines.append(f"    {recall['label']:<14} {value} {numbers}")
    return lines
