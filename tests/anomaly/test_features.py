"""Features: what they must not notice, what they must, and that published weights load safely."""

import json
import math

import numpy as np
import pytest
import torch

from argen.anomaly.colour_hog import describe_colour
from argen.anomaly.extract import SIZE, Extractor
from argen.anomaly.fpfh import describe_points
from argen.anomaly.patches import Patches
from argen.anomaly.point_mae import PointMae, load_point_mae
from argen.anomaly.points import farthest_points, interpolate, nearest_points, to_grid
from argen.anomaly.samples import make_sample, resize
from argen.anomaly.vit import load_vit
from argen.errors import ModelUnavailable


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(seed=0, size=64):
    return torch.randint(0, 256, (1, size, size, 3), generator=seeded(seed), dtype=torch.uint8)


def test_colour_hog_sees_colour_and_direction():
    flat = torch.full((1, 64, 64, 3), 128, dtype=torch.uint8)
    red = flat.clone()
    red[:, 8:16, 8:16, 0] = 200
    changed = (describe_colour(red, (8, 8)) - describe_colour(flat, (8, 8))).norm(dim=2)[0]
    assert int(changed.argmax()) == 9  # the patch of row 1, column 1
    assert float(changed[63]) < 0.05 * float(changed[9])  # only by the picture's mean brightness

    stripes = flat.clone()
    stripes[:, :, ::4] = 0  # vertical lines: gradients across, direction 0
    hog = describe_colour(stripes, (8, 8), scales=(1,))[0, 20, 6:15]
    assert int(hog.argmax()) == 0
    turned = describe_colour(stripes.transpose(1, 2), (8, 8), scales=(1,))[0, 20, 6:15]
    assert int(turned.argmax()) in (4, 5)  # 90 degrees lie between two of nine directions


def rotation(seed=1):
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=seeded(seed), dtype=torch.float64))
    q = q * torch.diagonal(r).sign()
    return q if torch.det(q) > 0 else q[:, [1, 0, 2]]


def surface(count=30):
    """A gently curved sheet below the viewer, in irregular steps so that no neighbours tie."""
    g = torch.rand(count * count, 2, generator=seeded(3), dtype=torch.float64)
    return torch.cat([g, 2 + 0.3 * (5 * g[:, :1]).sin() * g[:, 1:]], dim=1)


def test_fpfh_does_not_notice_pose_or_scale():
    points, R, shift = surface(), rotation(), torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64)
    plain = describe_points(points)
    moved = describe_points(3 * points @ R.T + shift, view=tuple(shift.tolist()))
    torch.testing.assert_close(plain, moved, atol=1e-6, rtol=0)


def test_fpfh_tells_a_bump_from_a_plane():
    g = torch.rand(900, 2, generator=seeded(4))
    plane = torch.cat([g, torch.ones(900, 1)], dim=1)
    bump = plane.clone()
    near = (g - 0.5).norm(dim=1) < 0.1
    bump[near, 2] -= 0.08
    changed = (describe_points(bump) - describe_points(plane)).norm(dim=1)
    assert changed[near].mean() > 10 * changed[(g - 0.5).norm(dim=1) > 0.35].mean()
    histograms = describe_points(bump).view(-1, 3, 11).sum(dim=2)
    torch.testing.assert_close(histograms, torch.ones_like(histograms), atol=1e-5, rtol=0)


def test_fpfh_of_hardly_any_points():
    assert describe_points(torch.rand(3, 3)).abs().sum() == 0
    assert describe_points(torch.rand(6, 3, generator=seeded())).isfinite().all()


def test_farthest_points_spread_and_do_not_depend_on_order():
    points = torch.rand(200, 3, generator=seeded(5))
    chosen = points[farthest_points(points, 12)]
    order = torch.randperm(200, generator=seeded(6))
    again = points[order][farthest_points(points[order], 12)]
    torch.testing.assert_close(chosen, again)
    gap = torch.cdist(chosen, chosen).fill_diagonal_(math.inf).min()
    assert gap >= torch.cdist(points, chosen).amin(dim=1).max() - 1e-6  # greedy k-centre's own bound
    assert len(farthest_points(points[:5], 12)) == 5


def test_nearest_and_interpolated_points():
    points = torch.rand(50, 3, generator=seeded(7))
    distance, index = nearest_points(points, points, 4)
    assert index[:, 0].tolist() == list(range(50))
    assert (distance.diff(dim=1) >= 0).all()
    features = torch.randn(50, 6, generator=seeded(8))
    torch.testing.assert_close(interpolate(features, points, points), features, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        interpolate(torch.ones(5, 2), points[:5], points), torch.ones(50, 2), atol=1e-5, rtol=0
    )


def test_grid_keeps_place():
    where = torch.tensor([[5, 6]])
    grid = to_grid(torch.tensor([[9.0, 18.0]]), where, 8, (4, 4))
    assert int(grid[:, 0].argmax()) == 2 * 4 + 3
    torch.testing.assert_close(grid[:, 1], 2 * grid[:, 0])
    torch.testing.assert_close(grid.sum(dim=0) * 4, torch.tensor([9.0, 18.0]))  # means of 2x2 of a 3x3 mean


def published_checkpoint(seed=0):
    """A state dict with the key names of the published pretrain.pth, decoder and mask token included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = PointMae()
    state = {f"module.MAE_encoder.{key}": value for key, value in model.state_dict().items()}
    state |= {"module.mask_token": torch.zeros(1, 1, 384), "module.MAE_decoder.norm.weight": torch.ones(384)}
    return model.eval(), {"base_model": state, "epoch": 300}


def test_published_names():
    _, checkpoint = published_checkpoint()
    names = checkpoint["base_model"]
    for name in (
        "encoder.first_conv.0.weight", "encoder.first_conv.1.running_var", "encoder.second_conv.3.bias",
        "pos_embed.0.weight", "pos_embed.2.bias", "blocks.blocks.0.norm1.weight", "norm.bias",
        "blocks.blocks.11.attn.qkv.weight", "blocks.blocks.11.attn.proj.bias",
        "blocks.blocks.5.mlp.fc2.weight",
    ):  # fmt: skip
        assert f"module.MAE_encoder.{name}" in names
    assert "module.MAE_encoder.blocks.blocks.0.attn.qkv.bias" not in names
    assert names["module.MAE_encoder.encoder.second_conv.3.weight"].shape == (384, 512, 1)


def test_point_mae_loads_and_describes(tmp_path):
    model, checkpoint = published_checkpoint()
    torch.save(checkpoint, tmp_path / "pretrain.pth")
    loaded = load_point_mae(tmp_path / "pretrain.pth")
    points = torch.rand(60, 3, generator=seeded(9))
    features = loaded(points)
    assert features.shape == (60, 1152)
    torch.testing.assert_close(features, model(points))
    torch.testing.assert_close(features, loaded(points * 5 + 2), atol=1e-3, rtol=0)  # unit ball


def test_point_mae_follows_the_order_of_points():
    model, _ = published_checkpoint()
    model.groups, model.size = 16, 8
    points = torch.rand(80, 3, generator=seeded(10))
    order = torch.randperm(80, generator=seeded(11))
    torch.testing.assert_close(model(points)[order], model(points[order]), atol=1e-3, rtol=0)


class Boom:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("content", ["missing", "garbage", "code", "other"])
def test_point_mae_refuses(tmp_path, content, capsys):
    path = tmp_path / "pretrain.pth"
    if content == "garbage":
        path.write_bytes(b"nonsense")
    if content == "code":
        torch.save({"base_model": Boom()}, path)
    if content == "other":
        torch.save({"base_model": {"MAE_encoder.norm.weight": torch.ones(384)}}, path)
    with pytest.raises(ModelUnavailable, match="--points fpfh"):
        load_point_mae(path)
    assert "code ran" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory):
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32,
            patch_size=8,
        )  # fmt: skip
        ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_vit_of_transformers(vit_folder):
    vit = load_vit(str(vit_folder))
    tokens = vit(picture())
    assert vit.grid == (4, 4)
    assert tokens.shape == (1, 16, 24)
    assert not torch.allclose(tokens, vit(picture(seed=1)))
    torch.testing.assert_close(tokens, vit(torch.cat([picture(), picture(1)]))[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["dinov2", "dinov2_with_registers", "clip"])
def test_other_families_of_transformers(tmp_path, kind):
    import transformers

    small = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "clip":
            text = {
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 16,
            }
            config = transformers.CLIPConfig(
                text_config=text, vision_config=small | {"intermediate_size": 32}
            )
            transformers.CLIPModel(config).save_pretrained(tmp_path)
        else:
            name = "Dinov2Model" if kind == "dinov2" else "Dinov2WithRegistersModel"
            model = getattr(transformers, name)
            model(model.config_class(**small)).save_pretrained(tmp_path)
    assert load_vit(str(tmp_path))(picture()).shape == (1, 4, 24)


def test_vit_of_timm(tmp_path):
    import timm
    from safetensors.torch import save_file

    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **shape)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 0}
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 0,
        "model_args": shape,
        "pretrained_cfg": cfg,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    vit = load_vit(str(tmp_path))
    assert vit.grid == (4, 4)
    assert vit.mean == (0.5, 0.5, 0.5)
    pixels = torch.nn.functional.interpolate(
        picture(size=32).permute(0, 3, 1, 2).float() / 255, (32, 32), mode="bicubic", antialias=True
    )
    direct = model.eval().forward_features((pixels - 0.5) / 0.5)[:, 1:]
    torch.testing.assert_close(vit(picture(size=32)), direct, atol=1e-5, rtol=0)


def test_no_vit_there(tmp_path):
    with pytest.raises(ModelUnavailable, match="colour-hog"):
        load_vit(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="colour-hog"):
        load_vit(str(tmp_path))


def cloud_sample():
    return make_sample("a", np.full((8, 8, 3), 90, np.uint8), np.ones((8, 8, 3), np.float32))


def test_the_points_of_a_model_are_moved_to_its_device():
    seen = []

    def cloud(points):
        seen.append(points.device.type)
        return torch.ones(len(points), 4)

    for points in ("pretrain.pth", "fpfh"):  # fpfh has a k-d tree, which is on the CPU
        Extractor("", points, cloud, cloud, (28, 28), "meta")._points(resize(cloud_sample(), SIZE))
    assert seen == ["meta", "cpu"]


def test_patches_come_out_on_the_device_of_the_detector(monkeypatch):
    moved = []
    monkeypatch.setattr(Patches, "to", lambda patches, device: moved.append(device) or patches)
    Extractor.load("colour-hog", "none", "cuda")([cloud_sample()])
    assert moved == ["cuda"]
