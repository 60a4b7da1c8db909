"""LoRA adapters on families with diffusers' loader, without it, and with two denoisers."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from argen.errors import ModelUnavailable
from argen.generate.adapter import load_adapter
from argen.generate.probe import denoisers
from tests.tiny import tiny_pipeline


def random_lora(pipe, rank=2, alpha=4, seed=0):
    """Weights of a LoRA on every attention projection, and diffusers' metadata for them."""
    random = torch.Generator().manual_seed(seed)
    weights, metadata = {}, {}
    for component, module in denoisers(pipe).items():
        for name, layer in module.named_modules():
            if name.endswith((".to_q", ".to_v")) and isinstance(layer, torch.nn.Linear):
                key = f"{component}.{name}"
                weights[f"{key}.lora_A.weight"] = torch.randn(rank, layer.in_features, generator=random)
                weights[f"{key}.lora_B.weight"] = torch.randn(layer.out_features, rank, generator=random)
        metadata |= {f"{component}.r": rank, f"{component}.lora_alpha": alpha}
        metadata[f"{component}.target_modules"] = ["to_q", "to_v"]
    return weights, metadata


def write(folder, weights, metadata=None, name="pytorch_lora_weights.safetensors"):
    header = {"format": "pt"} | ({"lora_adapter_metadata": json.dumps(metadata)} if metadata else {})
    save_file(weights, folder / name, header)
    return folder / name


def merged(pipe, weights, scale):
    """The same pipeline with the LoRA multiplied out, by hand."""
    for key in {name.rsplit(".lora_", 1)[0] for name in weights}:
        component, _, name = key.partition(".")
        layer = denoisers(pipe)[component].get_submodule(name)
        layer.weight.data += scale * weights[f"{key}.lora_B.weight"] @ weights[f"{key}.lora_A.weight"]
    return pipe


@pytest.mark.parametrize("family", ["ltx", "cogvideox", "svd", "wan22_a14b"])
def test_an_adapter_is_what_its_product_says(family, load_tiny, make_request, tmp_path):
    plain = load_tiny(family)
    weights, metadata = random_lora(plain.pipe)
    path = write(tmp_path, weights, metadata)
    adapted = load_tiny(family, adapter=path)
    assert adapted.provenance["adapter"] == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    request = make_request(3)
    before, after = plain([request])[0], adapted([request])[0]
    assert not np.array_equal(before, after)
    plain.pipe = merged(plain.pipe, weights, scale=4 / 2)
    assert np.abs(plain([request])[0].astype(int) - after).max() <= 1
    assert not any(p.requires_grad for m in denoisers(adapted.pipe).values() for p in m.parameters())


def test_it_equals_diffusers_own_loader(load_tiny, make_request, tmp_path):
    weights, metadata = random_lora(tiny_pipeline("ltx"))
    path = write(tmp_path, weights, metadata)
    ours, theirs = load_tiny("ltx", adapter=path), load_tiny("ltx")
    theirs.pipe.load_lora_weights(tmp_path, weight_name=path.name)
    assert np.array_equal(ours([make_request()])[0], theirs([make_request()])[0])


def test_without_metadata_alpha_is_the_rank(tmp_path):
    pipe = tiny_pipeline("ltx")
    weights, metadata = random_lora(pipe, rank=3, alpha=3)
    with_it, without = tiny_pipeline("ltx"), tiny_pipeline("ltx")
    load_adapter(with_it, write(tmp_path, weights, metadata, "a.safetensors"))
    load_adapter(without, write(tmp_path, weights, None, "b.safetensors"))
    layer = "transformer_blocks.0.attn1.to_q"
    assert (
        with_it.transformer.get_submodule(layer).scaling == without.transformer.get_submodule(layer).scaling
    )


def test_names_of_other_trainers_go_through_the_familys_converter(load_tiny, make_request, tmp_path):
    layer = "diffusion_model.blocks.0.self_attn.q"
    random = torch.Generator().manual_seed(0)
    weights = {
        f"{layer}.lora_A.weight": torch.randn(2, 24, generator=random),
        f"{layer}.lora_B.weight": torch.randn(24, 2, generator=random),
    }
    adapted = load_tiny("wan21", adapter=write(tmp_path, weights))
    assert not np.array_equal(adapted([make_request()])[0], load_tiny("wan21")([make_request()])[0])
    with pytest.raises(ModelUnavailable, match="StableVideoDiffusionPipeline has no converter"):
        load_tiny("svd", adapter=tmp_path)


def test_an_adapter_of_another_model_is_refused(tmp_path):
    weights, _ = random_lora(tiny_pipeline("wan21"))
    with pytest.raises(ModelUnavailable, match=r"has no layer blocks.*made for another model"):
        load_adapter(tiny_pipeline("ltx"), write(tmp_path, weights))
    weights, _ = random_lora(tiny_pipeline("ltx"))
    wider = {name: torch.cat([w, w], dim=-1) if "lora_A" in name else w for name, w in weights.items()}
    with pytest.raises(ModelUnavailable, match="does not fit this model"):
        load_adapter(tiny_pipeline("ltx"), write(tmp_path, wider))
    name = next(name for name in weights if "lora_B" in name)
    with pytest.raises(ModelUnavailable, match="does not fit this model"):
        load_adapter(tiny_pipeline("ltx"), write(tmp_path, {k: w for k, w in weights.items() if k != name}))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("lora.safetensors", b"not a tensor in sight", "not a safetensors file"),
        ("lora.bin", b"\x80\x04", "only .safetensors is read"),
        (None, b"", "does not exist"),
    ],
)
def test_files_that_are_no_adapter(tmp_path, name, content, said):
    path = tmp_path / (name or "absent.safetensors")
    if name:
        path.write_bytes(content)
    with pytest.raises(ModelUnavailable) as caught:
        load_adapter(tiny_pipeline("ltx"), path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_folder_must_hold_one_file(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"holds 0 \.safetensors files; name one LoRA file"):
        load_adapter(tiny_pipeline("ltx"), tmp_path)


def test_tensors_that_are_no_lora_are_refused(tmp_path):
    path = write(tmp_path, {"something.weight": torch.zeros(2)})
    for family in ("ltx", "wan21", "svd"):
        with pytest.raises(ModelUnavailable, match=r"generate\.adapter"):
            load_adapter(tiny_pipeline(family), path)
