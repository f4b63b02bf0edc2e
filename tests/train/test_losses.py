"""Losses: finite, right where something is known, and silent where nothing is."""

import math

import numpy as np
import pytest
import torch

from geryon import plugins
from geryon.errors import UsageError
from geryon.tasks import targets
from geryon.tasks.task import ClassTree, Labelled
from geryon.train.losses import LOSSES, class_weight, get_loss

OURS = sorted(name for name in LOSSES if not name.startswith("cerberus"))
"""Normalised by what is known; the published ones are not."""


def example(channels=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, channels, 8, 8, generator=g, requires_grad=True)
    target = (torch.rand(2, channels, 8, 8, generator=g) > 0.5).float()
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
def test_a_batch_costs_what_the_sums_of_its_crops_come_to(name):
    logits, target, weight = example()
    loss = get_loss(name)
    each = [loss.sums(logits[i : i + 1], target[i : i + 1], weight[i : i + 1])[0] for i in range(2)]
    assert torch.allclose(loss.value(each[0] + each[1]), loss(logits, target, weight), rtol=1e-5)
    rows = loss.sums(logits, target, weight)
    assert rows.shape[0] == 2 and torch.allclose(loss.value(rows)[1], loss(logits[1:], target[1:], weight[1:]))
    nothing = loss.sums(logits[:0], target[:0], weight[:0])
    assert torch.equal(nothing.sum(dim=0), torch.zeros(rows.shape[1]))


@pytest.mark.parametrize("name", OURS)
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
    loss = get_loss("class_cross_entropy")(p.log().view(1, 3, 1, 1), target, torch.ones(1, 1, 1))
    assert math.isclose(loss.item(), -math.log(0.9), rel_tol=1e-5)


def test_a_pixel_without_class_is_unknown():
    logits, target, weight = example()
    target[:, :, 0] = 0
    loss = get_loss("class_cross_entropy")(logits, target, weight)
    loss.backward()
    assert logits.grad[:, :, 0].abs().max() == 0 and torch.isfinite(logits.grad).all()


TREE = ClassTree.of({"epithelial": (), "inflammatory": ("lymphocyte", "plasma"), "other": ()})


def labelled(name, *known):
    """Target [1, 4, 1, 1] of one pixel that a source, which tells only `known` apart, calls `name`."""
    source = Labelled(classes={1: name}, classes_known=known)
    target, weight = targets.class_target(np.ones((1, 1), np.int32), source, TREE)
    return torch.from_numpy(target).permute(2, 0, 1)[None], torch.from_numpy(weight)[None]


def pull(name, loss, *known):
    """Of gradient descent on that pixel's logits (epithelial, lymphocyte, plasma, other)."""
    logits = torch.tensor([0.3, -0.2, 0.5, 0.1]).view(1, 4, 1, 1).requires_grad_()
    target, weight = labelled(name, *known)
    get_loss(loss)(logits, target, weight).backward()
    return [round(-g, 6) for g in logits.grad.flatten().tolist()]


@pytest.mark.parametrize("loss", ["class_cross_entropy", "class_cross_entropy_dice"])
def test_a_class_that_a_source_does_not_know_is_neither_right_nor_wrong_there(loss):
    epithelial, lymphocyte, plasma, other = pull("epithelial", loss)
    assert epithelial > 0 > max(lymphocyte, plasma, other), "who knows all classes rules out the rest"
    epithelial, lymphocyte, plasma, other = pull("epithelial", loss, "epithelial", "lymphocyte")
    assert epithelial > 0 > lymphocyte and plasma == other == 0.0
    epithelial, lymphocyte, plasma, other = pull("inflammatory", "class_cross_entropy", "epithelial", "inflammatory")
    assert epithelial < 0 < min(lymphocyte, plasma) and other == 0.0
    assert pull("epithelial", loss, "epithelial") == [0.0] * 4, "a source of one class teaches no difference"


def test_all_but_one_class_asks_for_the_sum_of_the_rest():
    target, _ = labelled("not inflammatory")
    assert target.flatten().tolist() == [1, 0, 0, 1]
    epithelial, lymphocyte, plasma, other = pull("not inflammatory", "class_cross_entropy")
    assert min(epithelial, other) > 0 > max(lymphocyte, plasma)
    assert labelled("not there")[1].sum() == 0


def test_dice_asks_only_for_classes_that_are_there_and_told_to_the_last():
    logits, target, weight = example(channels=3)
    target = torch.zeros_like(target)
    target[:, 0, :4], target[:, 1, 4:6], target[:, 1:, 6:] = 1, 1, 1
    plain, dice = get_loss("class_cross_entropy"), get_loss("class_cross_entropy_dice")
    p = logits.softmax(dim=1)[:, :, :6]
    t, w = target[:, :, :6], torch.ones(2, 8, 8)
    each = [1 - (2 * (p * t)[:, c].sum() + 1) / ((p + t)[:, c].sum() + 1) for c in range(2)]
    assert torch.allclose(dice(logits, target, w) - plain(logits, target, w), sum(each) / 2, rtol=1e-5)


def test_class_weights_are_those_of_a_pixels_class_and_the_mean_of_a_coarse_labels_leaves():
    weights = torch.tensor([1.0, 2.0, 4.0, 8.0])
    for name, expected in (("plasma", 4.0), ("inflammatory", 3.0), ("strange", 0.0)):
        assert class_weight(labelled(name)[0], weights).item() == expected


def test_bce_agrees_with_its_definition():
    logits, target, weight = example(channels=1)
    p = torch.sigmoid(logits[:, 0])
    each = -(target[:, 0] * p.log() + (1 - target[:, 0]) * (1 - p).log())
    assert torch.allclose(get_loss("bce")(logits, target, weight), (each * weight).sum() / weight.sum(), rtol=1e-4)


def test_every_name_of_the_table_loads_and_others_do_not():
    assert all(callable(plugins.load(path)) for path in LOSSES.values())
    with pytest.raises(UsageError, match="bce_dice"):
        get_loss("no such loss")
