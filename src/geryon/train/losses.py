"""Losses by name: each turns logits, a target and a weight into one number, and unknown pixels into nothing.

All take logits [n, c, h, w], target [n, c, h, w] in 0..1 and weight [n, h, w] (0: unknown) and return
sum(loss * weight) / sum(weight): a map is normalised by what is known of it, so that a batch with few
labelled pixels of one task pulls as hard as one with many. Where nothing is known the loss is exactly 0
and so is its gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from geryon import plugins

LOSSES = {
    "bce": "geryon.train.losses:bce",
    "bce_dice": "geryon.train.losses:bce_dice",
    "class_cross_entropy": "geryon.train.losses:class_cross_entropy",
    "mse": "geryon.train.losses:mse",
}
"""Entry points of the group geryon.losses add to it."""

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
EPS = 1e-6
DICE_SMOOTH_PX = 1.0
"""Keeps Dice defined where neither target nor output has any foreground."""


def get_loss(name: str) -> Loss:
    """The loss of that name, ours or another package's."""
    loss: Loss = plugins.find(LOSSES, "geryon.losses", name)
    return loss


def bce(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the channels."""
    each = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return known_mean(each.mean(dim=1), weight)


def mse(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Squared error of the sigmoid output, mean over the channels."""
    each = (torch.sigmoid(logits.float()) - target).square()
    return known_mean(each.mean(dim=1), weight)


def bce_dice(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice (Milletari et al., V-Net, 2016, with plain sums below the bar).

    Dice sums over the known pixels of the whole batch: a crop without foreground, or without labels,
    then can't outweigh the others.
    """
    p = torch.sigmoid(logits.float())
    w = weight.unsqueeze(1)
    both = (p * target * w).sum(dim=(0, 2, 3))
    either = ((p + target) * w).sum(dim=(0, 2, 3))
    dice = 1.0 - (2.0 * both + DICE_SMOOTH_PX) / (either + DICE_SMOOTH_PX)
    return bce(logits, target, weight) + dice.mean() * (weight.sum() > 0)


def class_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """-log(sum_c p_c t_c): a coarse label sets all leaves below it and asks for their sum only.

    Pixels without any class in the target count as unknown.
    """
    known = (weight > 0) & (target.amax(dim=1) > 0)
    target = torch.where(known.unsqueeze(1), target, 1.0)
    log_p = functional.log_softmax(logits.float(), dim=1)
    each = -torch.logsumexp(log_p + target.log(), dim=1)
    return known_mean(each, weight * known)


def known_mean(each: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over known pixels; 0 where there are none."""
    return (each * weight).sum() / weight.sum().clamp_min(EPS)
