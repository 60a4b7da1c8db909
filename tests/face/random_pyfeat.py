"""Random weights of py-feat's real classes, saved as the hub has them."""

import json
from dataclasses import asdict
from pathlib import Path


def save_multitask(path: Path, *, small: bool) -> None:
    """The multitask network of Detectorv2; `small` has the same heads on a smaller backbone."""
    import torch
    from feat.multitask.model_v2 import MEGraphAUv2, ModelV2Config
    from safetensors.torch import save_file

    size = {"backbone": "convnextv2_atto.fcmae", "afg_channels": 32, "mefl_channels": 32} if small else {}
    heads = {"n_au": 20, "n_emotion": 7, "n_blendshape": 52, "use_head_v3": True, "drop_mefl": True}
    config = ModelV2Config(**size, **heads, mesh_normalized=True, emotion_use_au_prob=True, pretrained=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MEGraphAUv2(config)
    save_file(network.state_dict(), path, metadata={"config": json.dumps(asdict(config))})


def save_arcface(path: Path) -> None:
    from feat.identity_detectors.arcface.arcface_model import ArcFace
    from safetensors.torch import save_file

    save_file(ArcFace(backbone="r50").net.state_dict(), path)


def save_retinaface(path: Path) -> None:
    from feat.face_detectors.Retinaface.Retinaface_model import RETINAFACE_R34_CFG, RetinaFace
    from safetensors.torch import save_file

    save_file(RetinaFace(RETINAFACE_R34_CFG).state_dict(), path)
