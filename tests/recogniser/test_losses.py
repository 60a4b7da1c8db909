"""Each loss against its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from argen.recogniser.aggregator import concept_loss
from argen.recogniser.losses import effective_weights, make_loss
from argen.recogniser.settings import Settings

COUNTS = [100.0, 20.0, 5.0]
LOGITS = torch.tensor([[1.0, 0.5, -0.5], [0.2, 0.1, 2.0], [-1.0, 3.0, 0.0]])
TRUTH = torch.tensor([0, 2, 1])
HARD = functional.one_hot(TRUTH, 3).float()


def loss(step: int = 0, **changes):
    return make_loss(replace(Settings(), **changes), COUNTS, step)


def test_plain_is_cross_entropy():
    expected = functional.cross_entropy(LOGITS, TRUTH, reduction="none")
    assert torch.allclose(loss()(LOGITS, HARD), expected)


def test_logit_adjustment_shifts_by_the_prior_and_tau_zero_is_plain():
    prior = torch.tensor(COUNTS).float().div(sum(COUNTS)).log()
    expected = functional.cross_entropy(LOGITS + prior, TRUTH, reduction="none")
    assert torch.allclose(loss(loss="logit_adjustment")(LOGITS, HARD), expected)
    assert torch.allclose(loss(loss="logit_adjustment", tau=0.0)(LOGITS, HARD), loss()(LOGITS, HARD))


def test_focal_fades_what_is_sure_and_gamma_zero_is_plain():
    p = LOGITS.softmax(-1).gather(1, TRUTH[:, None])[:, 0]
    expected = (1 - p) ** 2 * -p.log()
    assert torch.allclose(loss(loss="focal")(LOGITS, HARD), expected, atol=1e-6)
    assert torch.allclose(loss(loss="focal", focal_gamma=0.0)(LOGITS, HARD), loss()(LOGITS, HARD))


def test_ldam_takes_most_from_the_rarest_and_weighs_late_only():
    settings = {"loss": "ldam_drw", "ldam_margin": 0.5, "ldam_scale": 10.0}
    moved = LOGITS.clone()
    for row, label in enumerate(TRUTH):
        moved[row, label] -= 10 * 0.5 * (5 / COUNTS[label]) ** 0.25
    expected = functional.cross_entropy(moved, TRUTH, reduction="none")
    assert torch.allclose(loss(**settings)(LOGITS, HARD), expected)
    weights = effective_weights(torch.tensor(COUNTS).float(), Settings().beta)
    late = loss(step=290, **settings)(LOGITS, HARD)
    assert torch.allclose(late, weights[TRUTH] * expected)


def test_effective_numbers_lie_between_none_and_inverse_frequency():
    number = torch.tensor(COUNTS).float()
    assert torch.allclose(effective_weights(number, 0.0), torch.ones(3))
    inverse = (1 / number) * 3 / (1 / number).sum()
    assert torch.allclose(effective_weights(number, 0.9999999), inverse, rtol=0.05)
    weights = effective_weights(number, 0.999)
    assert weights.sum() == pytest.approx(3)
    assert (weights.diff() > 0).all()  # the rarer, the heavier
    assert torch.allclose(
        loss(balance="effective_number")(LOGITS, HARD), weights[TRUTH] * loss()(LOGITS, HARD)
    )


@pytest.mark.parametrize("changes", [{"loss": "logit_adjustment"}, {"loss": "ldam_drw", "drw_from": 0.0},
                                     {"balance": "effective_number"}])  # fmt: skip
def test_a_class_without_weight_counts_as_one_clip(changes):
    settings = replace(Settings(), **changes)
    found = make_loss(settings, [100.0, 0.25, 0.0], 0)(LOGITS, HARD)
    assert torch.isfinite(found).all()
    assert torch.equal(found, make_loss(settings, [100.0, 1.0, 1.0], 0)(LOGITS, HARD))


@pytest.mark.parametrize("kind", ["cross_entropy", "logit_adjustment"])
def test_soft_targets_mix_the_losses(kind):
    soft = 0.3 * HARD + 0.7 * HARD.roll(1, dims=1)
    both = loss(loss=kind)
    mixed = 0.3 * both(LOGITS, HARD) + 0.7 * both(LOGITS, HARD.roll(1, dims=1))
    assert torch.allclose(both(LOGITS, soft), mixed, atol=1e-6)


def test_concepts_want_the_shares_of_the_class_and_nothing_of_unknown_classes():
    shares = torch.rand(3, 20)
    shares[2] = float("nan")
    right = torch.logit(shares.nan_to_num(0.5), eps=1e-6)
    targets = HARD[[0, 1, 2]]  # classes 0, 2, 1
    best = concept_loss(right[TRUTH], targets, shares)
    worse = concept_loss(right[TRUTH] + 1, targets, shares)
    assert best[1] == worse[1] == 0
    assert (best[[0, 2]] < worse[[0, 2]]).all()
