"""The two streams: what they start as, what they depend on, what they are worth in size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from argen.face.action_units import ACTION_UNITS
from argen.recogniser.cluster import PromptCluster
from argen.recogniser.model import Recogniser
from argen.recogniser.texts import LEVELS, NODES, class_texts
from tests.recogniser.conftest import CLASSES, SIZE, SMALL


def clips(count: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 4, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


def model(streams: str = "both", classes=CLASSES, **changes) -> Recogniser:
    torch.manual_seed(0)
    return Recogniser(replace(SMALL, streams=streams, **changes), classes)


def test_texts_come_from_the_prompts_on_every_level():
    texts = class_texts(("Disgusted", "neutral", "nostalgia"), 3)
    assert len(texts.levels) == len(LEVELS)
    for level, nodes in zip(texts.levels, NODES, strict=True):
        assert [len(node) for of_class in level for node in of_class] == [3] * (3 * nodes)
    assert "disgust" in texts.levels[0][0][0][0]
    assert any("nose" in text or "upper lip" in text for text in texts.levels[2][0][0])
    onset, apex, _ = texts.levels[1][0]
    assert onset != apex
    assert "rest" in texts.levels[2][1][0][0]  # nothing moves in a neutral face
    assert "nostalgia" in texts.levels[0][2][0][0]
    assert np.isnan(texts.shares[2]).all()
    assert texts.shares[0][ACTION_UNITS.index("AU10")] > 0.5
    assert len(texts.concepts) == 20


@pytest.mark.parametrize("classes", [CLASSES, ("happy", "nostalgia")])
@pytest.mark.parametrize("streams", ["both", "prompts", "aggregator", "baseline"])
def test_gradients_reach_every_parameter(streams, classes):
    made = model(streams, classes)
    if made.cluster is not None:
        made.cluster.gates.data.fill_(0.1)  # closed gates let nothing through, by design
    outputs = made(clips())
    assert outputs.logits.shape == (3, len(classes))
    (outputs.logits.square().sum() + sum(_extras(outputs))).backward()
    idle = [name for name, weight in made.named_parameters() if weight.grad is None]
    assert not [name for name in idle if streams != "aggregator" or "vectors" not in name]


def _extras(outputs):
    if outputs.alignment is not None:
        yield outputs.alignment.levels.square().sum()
    if outputs.aggregate is not None:
        yield outputs.aggregate.evidence.square().sum()


def test_priming_starts_as_nothing_and_text_moves_tokens_once_the_gate_opens():
    cluster = PromptCluster(32, 4, 3, 2)
    tokens = torch.randn(2, 4, 32)
    banks = cluster.banks([torch.randn(3, nodes, 2, 32) for nodes in NODES])
    assert torch.equal(cluster.prime(tokens, banks), tokens)
    cluster.gates.data.fill_(0.5)
    primed = cluster.prime(tokens, banks)
    assert not torch.allclose(primed, tokens)
    other = cluster.banks([torch.randn(3, nodes, 2, 32) for nodes in NODES])
    assert not torch.allclose(cluster.prime(tokens, other), primed)


def test_membership_sums_to_one_and_phases_start_in_their_order():
    cluster = PromptCluster(32, 8, 3, 2)
    clip, phases, windows = cluster.membership(torch.zeros(2, 8, 32))
    for group in (clip, phases, windows):
        assert torch.allclose(group.sum(dim=-1), torch.ones(group.shape[:2]))
    centre = (phases[0] * torch.arange(8)).sum(dim=-1)
    assert (centre.diff() > 0).all()
    assert windows.shape == (2, 4, 8)
    odd = PromptCluster(32, 5, 3, 2).membership(torch.zeros(1, 5, 32))[2]
    assert odd.shape == (1, 3, 5)
    assert torch.allclose(odd.sum(dim=-1), torch.ones(1, 3))


def test_parts_sum_to_the_logits_and_each_stream_alone_is_whole():
    made = model()
    outputs = made(clips())
    parts = [made.part(outputs, level) for level in (0, 1, 2, None)]
    assert torch.allclose(torch.stack(parts).sum(dim=0), outputs.logits, atol=1e-5)
    assert outputs.alignment is not None
    alone = model("prompts")(clips())
    assert alone.aggregate is None
    weights = torch.tensor(SMALL.level_weights)
    mean = torch.einsum("l,blc->bc", weights / weights.sum(), alone.alignment.levels)
    assert torch.allclose(alone.logits, mean, atol=1e-5)
    only = model("aggregator")(clips())
    assert only.alignment is None
    assert torch.equal(only.logits, only.aggregate.logits)
    fused = model(fusion=0.0)(clips())
    assert torch.allclose(fused.logits, fused.aggregate.logits, atol=1e-6)


def test_a_concept_left_out_changes_only_what_the_aggregator_says():
    made = model()
    without = torch.zeros(20, dtype=torch.bool)
    before, after = made(clips(), without), made(clips(), ~without)
    assert torch.equal(before.logits, made(clips()).logits)
    assert torch.equal(before.alignment.levels, after.alignment.levels)
    assert not torch.allclose(before.aggregate.logits, after.aggregate.logits)


def test_knowledge_starts_from_the_prompts():
    made = model(classes=("happy", "disgust", "nostalgia"))
    knowledge = made.aggregator.knowledge.weight
    assert knowledge[1, ACTION_UNITS.index("AU10")] > 0.3 > knowledge[0, ACTION_UNITS.index("AU10")]
    assert (knowledge[2] == 0).all()


@pytest.mark.parametrize("depth", [1, 2])
def test_the_baseline_is_of_equal_size_and_has_no_words(depth):
    both, plain = model(depth=depth).parameter_count(), model("baseline", depth=depth).parameter_count()
    assert abs(both - plain) < 0.01 * both
    assert not [name for name, _ in model("baseline").named_parameters() if "vectors" in name]


def test_order_in_a_batch_does_not_matter_but_order_in_time_does():
    made = model().eval()
    x = clips(4)
    with torch.inference_mode():
        assert torch.allclose(made(x).logits[[2, 0]], made(x[[2, 0]]).logits, atol=1e-5)
        assert not torch.allclose(made(x).logits, made(x.flip(1)).logits, atol=1e-3)
