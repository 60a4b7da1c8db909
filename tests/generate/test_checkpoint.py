"""What is refused before a weight is loaded, and in which words."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from argen.config import GenerateSettings
from argen.errors import ModelUnavailable, RecipeError, UsageError
from argen.generate.checkpoint import Statement, inspect_folder, locate, unfit, weights_variant
from argen.generate.load import load_generator


@pytest.fixture
def copy(tiny_folder, tmp_path):
    """A copy of the tiny LTX checkpoint, to be damaged."""
    return shutil.copytree(tiny_folder("ltx"), tmp_path / "ltx")


def rename_pipeline(folder, name):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))


def state(folder, **statement):
    (folder / "argen.json").write_text(json.dumps(statement))


def load(folder, **changed):
    settings = {"generator": "diffusion", "model": str(folder), "frames": 5, "size": 32, "steps": 1}
    return load_generator(GenerateSettings(**(settings | changed)))


def test_a_text_to_video_checkpoint_is_refused_with_the_way_out(copy, make_request):
    rename_pipeline(copy, "LTXPipeline")
    with pytest.raises(
        UsageError, match=r"LTXPipeline makes videos from text alone.*LTXImageToVideoPipeline"
    ):
        load(copy)
    other = load(copy, pipeline="LTXImageToVideoPipeline")  # these weights do serve both
    assert other([make_request()])[0].shape == (5, 32, 32, 3)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("StableDiffusionImg2ImgPipeline", UsageError, "makes no video"),
        ("WanAnimatePipeline", UsageError, "makes no video"),
        ("WanPipeline", UsageError, "WanImageToVideoPipeline"),
        ("LTXImagetoVideoPipeline", ModelUnavailable, "did you mean 'LTXImageToVideoPipeline'?"),
        ("LTXVideoTransformer3DModel", ModelUnavailable, "has no LTXVideoTransformer3DModel"),
        (["mine.py", "MyPipeline"], ModelUnavailable, "code that comes with a checkpoint is never run"),
        (None, ModelUnavailable, "names None"),
    ],
)
def test_pipelines_that_do_not_turn_an_image_into_a_video(copy, name, error, said):
    rename_pipeline(copy, name)
    with pytest.raises(error) as caught:
        inspect_folder(copy)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_argument_that_we_do_not_have_is_named():
    class Needy:
        def __call__(self, image, pose_video, num_frames=9):
            """Needs a pose."""

    assert unfit(Needy) == "cannot be called without pose_video"


def damage_pickle(folder):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def damage_shards(folder):
    shard = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    (folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps(
            {"weight_map": {"a": shard.name, "b": "diffusion_pytorch_model-00002-of-00002.safetensors"}}
        )
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_pickle, "vae/diffusion_pytorch_model.bin: a pickle"),
        (damage_shards, "transformer/diffusion_pytorch_model-00002-of-00002.safetensors: missing"),
        (lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").unlink(), "vae: no .safetensors file"),
        (lambda f: shutil.rmtree(f / "scheduler"), "scheduler: missing or without a config"),
        (lambda f: (f / "model_index.json").unlink(), "model_index.json: missing"),
        (lambda f: (f / "model_index.json").write_text("{"), "model_index.json: cannot be read as JSON"),
        (lambda f: (f / "model_index.json").write_text("[]"), "model_index.json: not a JSON object"),
        (
            lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"hello"),
            "does not load",
        ),
        (lambda f: (f / "transformer" / "config.json").write_text("{}"), "does not load as LTXImageToVideo"),
        (lambda f: state(f, domian="puppets"), "argen.json: domian"),
        (
            lambda f: state(f, sha256={"vae/config.json": "00"}),
            "vae/config.json: not the file that argen.json names",
        ),
        (
            lambda f: state(f, sha256={"vae/more.json": "00"}),
            "vae/more.json: missing, but argen.json names it",
        ),
        (lambda f: state(f, call={"frame_rat": 25}), "argen.json: call.frame_rat"),
    ],
)
def test_damaged_folders_are_named_to_the_file(copy, damage, said):
    damage(copy)
    with pytest.raises(ModelUnavailable) as caught:
        load(copy)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_checkpoint_states_is_kept_to(copy):
    weights = "vae/diffusion_pytorch_model.safetensors"
    digest = hashlib.sha256((copy / weights).read_bytes()).hexdigest()
    state(copy, domain="puppets", frames=7, sizes=[32, 64], call={"frame_rate": 25}, sha256={weights: digest})
    generator = load(copy)
    assert generator.domain == "puppets"
    assert generator.form.shared["frame_rate"] == 25
    assert load(copy, extra={"frame_rate": 8}).form.shared["frame_rate"] == 8
    with pytest.raises(RecipeError) as caught:
        load(copy, frames=9, size=96)
    assert "at most 7; set generate.frames=7" in str(caught.value)
    assert "trained on 32 or 64; set generate.size=32" in str(caught.value)


def test_without_a_statement_nothing_is_claimed(tiny_folder):
    assert inspect_folder(tiny_folder("ltx"))[1] == Statement()
    assert load(tiny_folder("ltx")).domain is None


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (None, RecipeError, "generate.model: the diffusion generator needs one"),
        ("./nowhere", ModelUnavailable, "no folder ./nowhere"),
        ("/nowhere/at/all", ModelUnavailable, "no folder /nowhere/at/all"),
        ("nobody/nothing-like-this", ModelUnavailable, "hf download nobody/nothing-like-this"),
    ],
)
def test_models_that_are_not_at_hand(model, error, said, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(error) as caught:
        locate(model, None, None)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_embedded_checkpoint_goes_by_its_name(tiny_folder, monkeypatch):
    monkeypatch.setattr("argen.puppets.checkpoint.folder", lambda: tiny_folder("ltx"))
    assert locate("puppets", None, None)[0] == tiny_folder("ltx")
    assert load("puppets").provenance["model"] == "puppets"


def test_a_file_is_not_a_folder(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ModelUnavailable, match=r"is a file; name the folder with model_index\.json"):
        locate(str(file), None, None)


def test_a_snapshot_of_the_hub_is_known_by_its_commit(tiny_folder, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "snapshots" / commit
    folder.parent.mkdir()
    folder.symlink_to(tiny_folder("ltx"))
    assert locate(str(tiny_folder("ltx")), None, None)[1].startswith("sha256:")
    folder.unlink()
    shutil.copytree(tiny_folder("ltx"), folder)
    assert locate(str(folder), None, None)[1] == commit


def test_the_hash_of_a_folder_follows_its_weights(copy):
    before = locate(str(copy), None, None)[1]
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert locate(str(copy), None, None)[1] != before


def test_a_folder_of_half_precision_files_is_read(copy, make_request):
    for weights in copy.glob("*/*.safetensors"):
        weights.rename(weights.with_name(weights.name.replace(".safetensors", ".fp16.safetensors")))
    assert weights_variant(copy) == "fp16"
    assert load(copy)([make_request()])[0].shape == (5, 32, 32, 3)
