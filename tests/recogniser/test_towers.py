"""Towers: any CLIP of transformers from a folder, three ways of tuning; the small one beside it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from argen.errors import ModelUnavailable
from argen.recogniser.checkpoint import load_trained
from argen.recogniser.predict import predict
from argen.recogniser.towers import ClipTower, SmallTower, make_tower
from argen.recogniser.training import train
from tests.recogniser.conftest import CLASSES, SMALL

TEXTS = ("a person with a happy expression", "the inner brows rise", "the outer brows rise")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights, saved as any CLIP is."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("clip")
    words = ["<pad>", "<bos>", "<eos>", "<unk>", *sorted({w for text in TEXTS for w in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(words), "max_position_embeddings": 32, "eos_token_id": 2},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=24,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    return folder


def settings(folder: Path, tuning: str):
    return replace(SMALL, tower=str(folder), tuning=tuning, heads=4, tower_rate=1e-3)


def frames() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8)


def test_clips_features_are_those_of_transformers(clip_folder):
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    tower = ClipTower(settings(clip_folder, "frozen"), TEXTS).eval()
    model = CLIPModel.from_pretrained(clip_folder).eval()
    tokens = AutoTokenizer.from_pretrained(clip_folder)(list(TEXTS), padding=True, return_tensors="pt")
    x = frames()
    prepared = CLIPImageProcessor(do_resize=False, do_center_crop=False)(
        list(x.flatten(0, 1).permute(0, 3, 1, 2)), return_tensors="pt"
    )
    with torch.inference_mode():
        texts = model.text_projection(
            model.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).pooler_output
        )
        images = model.visual_projection(model.vision_model(**prepared).pooler_output)
        assert torch.allclose(tower.texts(), texts, atol=1e-5)
        assert torch.allclose(tower.frames(x).flatten(0, 1), images, atol=1e-4)


@pytest.mark.parametrize(
    ("tuning", "trained"),
    [("frozen", set()), ("lora", {"lora_A", "lora_B"}), ("full", {"vision", "projection"})],
)
def test_only_what_is_to_be_tuned_is(clip_folder, tuning, trained):
    tower = ClipTower(settings(clip_folder, tuning), TEXTS)
    names = [name for name, weight in tower.named_parameters() if weight.requires_grad]
    assert {word for word in ("lora_A", "lora_B") if any(word in name for name in names)} == trained & {
        "lora_A",
        "lora_B",
    }
    assert bool(names) == (tuning != "frozen")
    if tuning == "full":
        assert len(names) == len(list(tower.named_parameters()))


@pytest.mark.parametrize("tuning", ["frozen", "lora", "full"])
def test_a_clip_trains_and_its_checkpoint_says_the_same(
    tmp_path, clip_folder, train_clips, test_clips, cache, tuning
):
    folder = train(settings(clip_folder, tuning), train_clips, CLASSES, tmp_path, cache=cache)
    tensors = load_file(folder / "model.safetensors")
    inside = [name for name in tensors if name.startswith("tower.vision")]
    assert bool(inside) == (tuning != "frozen")
    assert all("lora" in name for name in inside) or tuning == "full"  # frozen weights are not written again
    found = predict(folder, test_clips, cache)
    again = predict(folder, test_clips[::-1], cache)
    assert abs(found.probabilities - again.probabilities[::-1]).max() < 1e-5
    assert load_trained(folder).model.tower.width == 24


def test_what_is_no_clip_is_named(tmp_path):
    with pytest.raises(ModelUnavailable, match="cannot be loaded as a CLIP"):
        make_tower(settings(tmp_path, "full"), TEXTS)


def test_the_small_tower_shares_words_and_sees_motion_not_the_person():
    tower = SmallTower(32, 32, TEXTS)
    texts = tower.texts()
    assert texts.shape == (3, 32)
    moved = texts.detach().clone()
    tower.vectors.weight.data[tower.vocabulary.index("brows") + 1] += 1
    change = (tower.texts() - moved).abs().sum(dim=1)
    assert change[0] == 0
    assert (change[1:] > 0).all()
    still = torch.randint(0, 256, (1, 1, 32, 32, 3), dtype=torch.uint8).expand(-1, 3, -1, -1, -1)
    tokens = tower.frames(still)
    assert torch.allclose(tokens[:, 0], tokens[:, 2], atol=1e-5)


def test_the_small_tower_takes_any_size_of_sixteen_pixels_or_more():
    for size in (16, 32, 48, 64, 100):
        tower = SmallTower(32, size, TEXTS)
        assert tower.frames(torch.zeros(1, 2, size, size, 3, dtype=torch.uint8)).shape == (1, 2, 32)
