"""Expressions and datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from argen.dataset.clip import Dataset
from argen.dataset.read import read_dataset
from argen.dataset.video import read_frames
from argen.errors import UsageError
from argen.face.action_units import AU_INDEX
from argen.puppets import world as world_module
from argen.puppets.expressions import BASIC, PROTOTYPES, act, sample_units
from argen.puppets.world import PROFILES, refuse_foreign, write_dataset


@pytest.mark.parametrize("label", sorted(PROTOTYPES))
def test_an_act_starts_calm_and_reaches_its_apex(label: str) -> None:
    rng = np.random.default_rng(4)
    performed = act(label, rng, 17)
    units = performed.performance.action_units
    assert units.shape == (17, 20)
    assert 0 <= units.min() <= units.max() <= 1
    assert units[0].sum() < 2
    if label != "neutral":
        assert performed.units.sum() > units[0].sum()


def test_neighbours_share_units_and_strangers_do_not() -> None:
    rng = np.random.default_rng(0)
    mean = {label: np.mean([sample_units(label, rng)[0] for _ in range(60)], axis=0) for label in BASIC}

    def alike(first: str, second: str) -> float:
        a, b = mean[first], mean[second]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert alike("fear", "surprise") > alike("fear", "happy")
    assert alike("disgust", "anger") > alike("disgust", "surprise")


def test_contempt_leans_to_one_side_and_difficulty_makes_fainter() -> None:
    leans = [sample_units("contempt", np.random.default_rng(i))[1][AU_INDEX["AU14"]] for i in range(40)]
    assert np.median(np.abs(leans)) > 0.5
    faint = np.mean([sample_units("anger", np.random.default_rng(i), 1.0)[0].sum() for i in range(60)])
    plain = np.mean([sample_units("anger", np.random.default_rng(i), 0.0)[0].sum() for i in range(60)])
    assert faint < plain


def test_an_unknown_emotion_is_named() -> None:
    with pytest.raises(UsageError, match=r"no emotion 'discust'.*disgust"):
        act("discust", np.random.default_rng(0), 17)


TINY = {"happy": (300, 100), "neutral": (400, 100), "disgust": (100, 100)}


@pytest.fixture(scope="module", autouse=True)
def tiny_profile() -> Iterator[None]:
    """Three classes, one clip at least: the mechanics, not the size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world_module, "PROFILES", {**PROFILES, "dfew": TINY, "balanced": TINY})
        patch.setattr(world_module, "LEAST", 1)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_profile: None) -> Path:
    out = tmp_path_factory.mktemp("world") / "data"
    write_dataset(out, "dfew", seed=5, scale=0.01)
    return out


def test_profiles_have_the_fields_long_tails() -> None:
    train = {label: counts[0] for label, counts in PROFILES["dfew"].items()}
    assert train["neutral"] / train["disgust"] == pytest.approx(18.4, abs=0.1)
    assert len(PROFILES["mafw"]) == 11
    assert set(BASIC) == set(PROFILES["ferv39k"])


def test_it_reads_as_a_dataset_with_disjoint_subjects_and_a_long_tail(world: Path) -> None:
    dataset = read_dataset(world)
    assert not dataset.problems
    assert dataset.counts() == {"disgust": 1, "happy": 3, "neutral": 4}
    people = {s: {c.subject for c in dataset.clips if c.split == s} for s in ("train", "val", "test")}
    assert not people["train"] & people["val"]
    assert not people["train"] & people["test"]
    refuse_foreign(dataset)


def test_the_truth_fits_the_frames(world: Path) -> None:
    row = json.loads((world / "metadata.jsonl").read_text().splitlines()[0])
    clip = next(c for c in read_dataset(world).clips if f"{c.id}.mp4" == row["file_name"])
    with np.load(world / row["truth"], allow_pickle=False) as truth:
        frames = read_frames(clip)
        assert truth["action_units"].shape == (len(frames), 20)
        assert truth["landmarks"].shape == (len(frames), 478, 3)
        shown = truth["action_units"][row["apex"]]
    assert row["action_units"] == {
        k: pytest.approx(float(shown[AU_INDEX[k]]), abs=1e-3) for k in row["action_units"]
    }


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path, world: Path) -> None:
    write_dataset(tmp_path / "again", "dfew", seed=5, scale=0.01)
    write_dataset(tmp_path / "other", "dfew", seed=6, scale=0.002)
    files = sorted(p.relative_to(world) for p in world.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    )
    assert all((world / f).read_bytes() == (tmp_path / "again" / f).read_bytes() for f in files)
    name = "train/happy/00000.mp4"
    assert (world / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_a_test_split_of_any_size_leaves_the_rest_as_it_was(tmp_path: Path, world: Path) -> None:
    write_dataset(tmp_path / "even", "dfew", seed=5, scale=0.01, test_per_class=2)
    before, after = read_dataset(world), read_dataset(tmp_path / "even")
    assert after.counts("test") == {"disgust": 2, "happy": 2, "neutral": 2}
    assert [clip.id for clip in after.train] == [clip.id for clip in before.train]
    for old, new in zip(before.train, after.train, strict=True):
        assert old.path.read_bytes() == new.path.read_bytes()


def test_label_noise_keeps_the_shown_emotion_in_the_truth(tmp_path: Path) -> None:
    write_dataset(tmp_path / "noisy", "balanced", scale=0.002, label_noise=1.0)
    rows = [json.loads(line) for line in (tmp_path / "noisy" / "metadata.jsonl").read_text().splitlines()]
    shown = {(row["split"] == "train", row["label"]): row["shown"] for row in rows}
    assert shown[True, "neutral"] == "happy"  # its only neighbour in this profile
    assert shown[True, "disgust"] == "disgust"  # has none here, so it stays
    assert shown[False, "neutral"] == "neutral"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "dfw"}, r"--profile: no 'dfw'.*dfew"),
        ({"difficulty": 1.5}, "--difficulty: 1.5 is not within 0..1"),
        ({"scale": 0.0}, "--scale: 0.0 is not above 0"),
        ({"test_per_class": 0}, "--test-per-class: 0 is not above 0"),
        ({"size": 65}, "--size: 65 is not an even number"),
    ],
)
def test_wrong_dials_are_named(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_dataset(tmp_path / "x", **arguments)  # type: ignore[arg-type]


def test_a_folder_with_something_in_it_is_not_written_to(world: Path) -> None:
    with pytest.raises(UsageError, match="exists and is not empty"):
        write_dataset(world)


def test_a_file_is_no_place_for_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(UsageError, match="is a file; name a new folder"):
        write_dataset(tmp_path / "x")


def test_real_clips_are_refused_by_name_with_the_way_out(world: Path) -> None:
    dataset = read_dataset(world)
    stranger = replace(dataset.clips[0], id="train/happy/photo", extra={})
    mixed = Dataset(dataset.root, (*dataset.clips, stranger), dataset.layout, dataset.subjects_from)
    with pytest.raises(UsageError, match=r"1 clips are no puppets \(train/happy/photo.*generator=warp"):
        refuse_foreign(mixed)
