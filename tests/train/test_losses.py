"""Losses: finite, right where something is known, and silent where nothing is."""

import math

import pytest
import torch

from geryon import plugins
from geryon.errors import UsageError
from geryon.train.losses import LOSSES, class_cross_entropy, get_loss


def example(channels=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, channels, 8, 8, generator=g, requires_grad=True)
    target = (torch.rand(2, channels, 8, 8, generator=g) > 0.6).float()
    return logits, target, torch.rand(2, 8, 8, generator=g)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_unknown_pixels_give_exactly_nothing(name):
    logits, target, weight = example()
    loss = get_loss(name)(logits, target * 0, weight * 0)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_unknown_pixels_change_nothing(name):
    logits, target, weight = example()
    weight = weight * (torch.arange(8) < 4)
    loss = get_loss(name)(logits, target, weight)
    loss.backward()
    other = torch.where(torch.arange(8) < 4, logits.detach(), 50.0)
    assert loss.item() > 0
    assert math.isclose(get_loss(name)(other, target, weight).item(), loss.item(), rel_tol=1e-6)
    assert logits.grad[..., 4:].abs().max() == 0 and logits.grad[..., :4].abs().max() > 0


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_scale_of_the_weight_does_not_matter(name):
    logits, target, weight = example()
    if name == "bce_dice":
        weight = (weight > 0.5).float()
    first, second = (get_loss(name)(logits, target, weight * k).item() for k in (1.0, 4.0))
    assert math.isclose(first, second, rel_tol=0.02)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_right_answer_costs_less_than_the_wrong_one(name):
    target = torch.zeros(1, 2, 4, 4)
    target[:, 0] = 1
    right = torch.tensor([8.0, -8.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    weight = torch.ones(1, 4, 4)
    assert get_loss(name)(right, target, weight) < 0.01 < 0.9 < get_loss(name)(-right, target, weight)


def test_huge_logits_stay_finite():
    for name in LOSSES:
        logits = torch.tensor([3e4, -3e4]).view(1, 2, 1, 1).requires_grad_()
        loss = get_loss(name)(logits, torch.tensor([0.0, 1.0]).view(1, 2, 1, 1), torch.ones(1, 1, 1))
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_a_coarse_label_asks_for_the_sum_of_its_leaves():
    p = torch.tensor([0.1, 0.2, 0.7])
    target = torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    loss = class_cross_entropy(p.log().view(1, 3, 1, 1), target, torch.ones(1, 1, 1))
    assert math.isclose(loss.item(), -math.log(0.9), rel_tol=1e-5)


def test_a_pixel_without_class_is_unknown():
    logits, target, weight = example()
    target[:, :, 0] = 0
    loss = class_cross_entropy(logits, target, weight)
    loss.backward()
    assert logits.grad[:, :, 0].abs().max() == 0 and torch.isfinite(logits.grad).all()


def test_bce_agrees_with_its_definition():
    logits, target, weight = example(channels=1)
    p = torch.sigmoid(logits[:, 0])
    each = -(target[:, 0] * p.log() + (1 - target[:, 0]) * (1 - p).log())
    assert torch.allclose(get_loss("bce")(logits, target, weight), (each * weight).sum() / weight.sum(), rtol=1e-4)


def test_every_name_of_the_table_loads_and_others_do_not():
    assert all(callable(plugins.load(path)) for path in LOSSES.values())
    with pytest.raises(UsageError, match="bce_dice"):
        get_loss("no such loss")
