"""`argen anomaly fit | score | evaluate | parts`: few-shot anomaly detection on its own ground."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from argen.anomaly.evaluate import Result
    from argen.anomaly.settings import CifSettings

Layout = Annotated[str, typer.Option("--layout", help="mvtec3d, eyecandies, or folder.")]
Shots = Annotated[int, typer.Option("--k", min=1, help="Normal samples to learn from.")]
Rgb = Annotated[
    str,
    typer.Option(
        "--rgb", help="colour-hog (no weights), or a vision transformer: folder, hub id, timm name."
    ),
]
Points = Annotated[
    str, typer.Option("--points", help="fpfh (no weights), none, or Point-MAE's pretrain.pth.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, auto, cuda, cuda:1, ...")]
Preset = Annotated[str, typer.Option("--preset", help="ours, or released: the authors' published setting.")]
Fusion = Annotated[str | None, typer.Option("--fusion", help="product, z-sum, or max.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, nothing else.")]
Maps = Annotated[
    Path | None, typer.Option("--maps", metavar="FOLDER", help="Write heat maps there as pictures.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    topic = typer.Typer(help="Spot what is strange from a few normal samples (CIF).", no_args_is_help=True)
    topic.command("fit")(fit)
    topic.command("score")(score)
    topic.command("evaluate")(evaluate)
    topic.command("parts")(parts)
    app.add_typer(topic, name="anomaly")


def fit(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The benchmark, or your folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the detector.")],
    layout: Layout = "folder",
    category: Annotated[str | None, typer.Option("--category", help="Which one, if several.")] = None,
    k: Shots = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which k normals are drawn.")] = 0,
    rgb: Rgb = "colour-hog",
    points: Points = "fpfh",
    preset: Preset = "ours",
    fusion: Fusion = None,
    device: Device = "cpu",
) -> None:
    """Learn one category from k of its normal samples."""
    from argen.anomaly.detector import Detector
    from argen.anomaly.evaluate import draw_normals
    from argen.anomaly.extract import SIZE, Extractor
    from argen.anomaly.layouts import load, read_layout
    from argen.errors import UsageError

    found = read_layout(source, layout, (category,) if category else ())
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UsageError(f"{source}: has several categories; choose one with --category: {names}")
    normals = draw_normals(found[0].train, k, seed)
    extract = Extractor.load(rgb, points, _there(device))
    info = {"category": found[0].name, "rgb": rgb, "points": points, "normals": [n.id for n in normals]}
    patches = extract(load(normal) for normal in normals)
    Detector.fit(patches, _settings(preset, layout, fusion), SIZE, info).save(out)
    print(f"{out}: learnt {found[0].name} from {', '.join(info['normals'])}")


def score(
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="Folder that `fit` filled.")],
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="Pictures; name.tiff beside one is its points.")
    ],
    maps: Maps = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Say of each picture how strange it is; with --maps, where."""
    from argen.anomaly.detector import Detector
    from argen.anomaly.extract import SIZE, Extractor
    from argen.anomaly.heatmap import map_names, write_heatmaps
    from argen.anomaly.layouts import beside, load
    from argen.anomaly.samples import resize

    names = map_names(pictures)
    if maps is not None:
        _keep_pictures(maps, names, pictures)
    device = _there(device)
    judge = Detector.load(detector, device)
    extract = Extractor.load(judge.info.get("rgb", ""), judge.info.get("points", ""), device)
    sources = [replace(beside(picture, "unknown"), id=str(picture)) for picture in pictures]
    samples = [resize(load(source), SIZE) for source in sources]
    scores = judge.score(extract(samples))
    if maps is not None:
        write_heatmaps(maps, samples, scores, names)
    for picture, value in zip(pictures, scores.image.tolist(), strict=True):
        print(
            json.dumps({"picture": str(picture), "score": value}) if as_json else f"{value:12.4f}  {picture}"
        )


def evaluate(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The benchmark's folder.")],
    layout: Layout = "mvtec3d",
    k: Shots = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of the k normals.")] = 5,
    categories: Annotated[
        list[str] | None, typer.Option("--category", help="Only this one; repeatable.")
    ] = None,
    rgb: Rgb = "colour-hog",
    points: Points = "fpfh",
    preset: Preset = "ours",
    fusion: Fusion = None,
    maps: Maps = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure on a benchmark: mean and spread over draws of the k normals, per category."""
    from argen.anomaly.evaluate import evaluate as measure
    from argen.anomaly.extract import Extractor
    from argen.anomaly.layouts import read_layout

    found = read_layout(source, layout, tuple(categories or ()))
    extract, settings = Extractor.load(rgb, points, _there(device)), _settings(preset, layout, fusion)
    for category in found:
        result = measure(category, extract, k=k, seeds=range(seeds), settings=settings, maps=maps)
        print(_as_json(result) if as_json else _as_text(result))


def parts(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the benchmark into.")],
    train: Annotated[int, typer.Option("--train", min=1, help="Normal samples a kind.")] = 20,
    good: Annotated[int, typer.Option("--good", min=1, help="Sound test samples a kind.")] = 15,
    per_size: Annotated[int, typer.Option("--per-size", min=1, help="Defects a kind, type and size.")] = 2,
) -> None:
    """Make our synthetic benchmark of machined parts, in MVTec 3D-AD's layout."""
    from argen.anomaly.parts import KINDS, write_parts

    write_parts(out, train, good, per_size)
    print(f"{out}: {', '.join(KINDS)}; try `argen anomaly evaluate {out} --layout mvtec3d`")


def _there(device: str) -> str:
    """The device, if this machine has it: one line here, not a traceback of torch's later."""
    from argen.device import torch_device

    return str(torch_device(device, "--device"))


def _keep_pictures(maps: Path, names: list[str], pictures: list[Path]) -> None:
    """Refuse a folder in which a map would replace one of the pictures."""
    from argen.anomaly.heatmap import map_path
    from argen.errors import UsageError

    own = {picture.resolve() for picture in pictures}
    lost = [path for name in names if (path := map_path(maps, name)).resolve() in own]
    if lost:
        raise UsageError(f"{lost[0]}: a heat map would replace this picture; give --maps another folder")


def _settings(preset: str, layout: str, fusion: str | None) -> CifSettings:
    from argen.anomaly.settings import PRESETS
    from argen.errors import UsageError, did_you_mean

    if preset not in PRESETS:
        raise UsageError(f"--preset {preset}: no such preset{did_you_mean(preset, PRESETS)}")
    settings = PRESETS[preset]
    if layout == "eyecandies":
        settings = replace(settings, K=8)
    return replace(settings, fusion=fusion) if fusion else settings


def _as_json(result: Result) -> str:
    from argen.anomaly.evaluate import METRICS

    spread = {f"{name}_spread": result.spread(name) for name in METRICS}
    mean = {name: result.mean(name) for name in METRICS}
    head = {"category": result.category, "k": result.k, "draws": len(result.draws)}
    return json.dumps(head | {"unmasked": result.unmasked} | mean | spread)


def _as_text(result: Result) -> str:
    from argen.anomaly.evaluate import METRICS

    cells = [f"{name} {result.mean(name):.3f} ± {result.spread(name):.3f}" for name in METRICS]
    if result.unmasked:
        cells.append(f"({result.unmasked:,} defective without a mask: not in p_auroc, aupro, p_ap)")
    return f"{result.category:<16} k={result.k}  " + "  ".join(cells)
