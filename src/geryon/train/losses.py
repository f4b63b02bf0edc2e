"""Losses by name: each turns logits, a target and a weight into sums a crop, and sums into one number.

All take logits [n, c, h, w], target [n, c, h, w] and weight [n, h, w] (0: unknown). Whatever a loss is, it is a
function of sums over crops: so its value over a batch, over the crops of one source, or over the crops of
several processes comes from the same sums, exactly. Ours are normalised by what is known, so that a batch with
few labelled pixels of one task pulls as hard as one with many; those called cerberus_ are as published (Graham et
al., Medical Image Analysis 2022, 102685). Where nothing is known the loss is exactly 0 and so is its gradient.

A target is 1 where the channel may be true and 0 where it is wrong. In class maps 1/2 stands for a class that the
source does not know: it is neither right nor wrong, and takes no part in the softmax of that pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from geryon import plugins

LOSSES = {
    "bce": "geryon.train.losses:BCE",
    "bce_dice": "geryon.train.losses:BCE_DICE",
    "cerberus_instance": "geryon.train.losses:CERBERUS_INSTANCE",
    "cerberus_type": "geryon.train.losses:CERBERUS_TYPE",
    "class_cross_entropy": "geryon.train.losses:CLASS_CROSS_ENTROPY",
    "class_cross_entropy_dice": "geryon.train.losses:CLASS_CROSS_ENTROPY_DICE",
    "mse": "geryon.train.losses:MSE",
}
"""Entry points of the group geryon.losses add to it."""

EPS = 1e-6
DICE_SMOOTH_PX = 1.0
"""Keeps Dice defined where neither target nor output has any foreground."""
PUBLISHED_EPS, PUBLISHED_SMOOTH_PX = 1e-8, 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A loss as sums over crops, and what sums come to."""

    sums: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(logits, target, weight) -> float32 [n, k], a row a crop."""
    value: Callable[[Tensor], Tensor]
    """Sums [..., k] of any crops -> their loss [...]."""
    channels: str = "independent"
    """"independent" (each its own yes or no), "exclusive" (one is true) or "classes" (so, and some may be rare)."""

    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return self.value(self.sums(logits, target, weight).sum(dim=0))


def get_loss(name: str) -> Loss:
    """The loss of that name, ours or another package's."""
    loss: Loss = plugins.find(LOSSES, "geryon.losses", name)
    return loss


def _weighted(each: Tensor, weight: Tensor) -> Tensor:
    """[n, 2]: sums of loss times weight and of weight."""
    return torch.stack([(each * weight).sum(dim=(1, 2)), weight.sum(dim=(1, 2))], dim=1)


def _mean(sums: Tensor) -> Tensor:
    """Mean over what is known; 0 where nothing is."""
    return sums[..., 0] / sums[..., 1].clamp_min(EPS)


def _bce(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the channels."""
    each = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return _weighted(each.mean(dim=1), weight)


def _mse(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Squared error of the sigmoid output, mean over the channels."""
    each = (torch.sigmoid(logits.float()) - target).square()
    return _weighted(each.mean(dim=1), weight)


def _bce_dice(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    p, w = torch.sigmoid(logits.float()), weight.unsqueeze(1)
    both, either = ((x * w).sum(dim=(2, 3)) for x in (p * target, p + target))
    return torch.cat([_bce(logits, target, weight), both, either], dim=1)


def _bce_dice_value(sums: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice (Milletari et al., V-Net, 2016, with plain sums below the bar).

    Dice is one ratio over all crops: a crop without foreground, or without labels, then can't outweigh the others.
    """
    both, either = sums[..., 2:].chunk(2, dim=-1)
    dice = 1.0 - (2.0 * both + DICE_SMOOTH_PX) / (either + DICE_SMOOTH_PX)
    return _mean(sums) + dice.mean(dim=-1) * (sums[..., 1] > 0)


def asked(target: Tensor) -> tuple[Tensor, Tensor]:
    """bool [n, c, h, w]: the classes that may be true, and those that a pixel's source tells apart."""
    may_be = target > 0.75
    return may_be, may_be | (target < 0.25)


def class_weight(target: Tensor, of_class: Tensor) -> Tensor:
    """[n, h, w]: the weight of each pixel's class ([c]); of a coarse label the mean of its leaves, 0 without label."""
    may_be, _ = asked(target)
    return torch.einsum("nchw,c->nhw", may_be.float(), of_class) / may_be.sum(dim=1).clamp_min(1)


def _log_p(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-softmax over the classes asked, bool of those that may be true, and bool [n, h, w] of labelled pixels."""
    may_be, told = asked(target)
    known = may_be.any(dim=1)
    log_p = functional.log_softmax(logits.float().masked_fill(~told & known.unsqueeze(1), -torch.inf), dim=1)
    return log_p, may_be, known


def _class(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """-log(sum_c p_c t_c): a coarse label sets all leaves below it and asks for their sum only.

    Pixels without any class in the target count as unknown.
    """
    log_p, may_be, known = _log_p(logits, target)
    of = may_be | ~known.unsqueeze(1)
    each = -torch.logsumexp(log_p.masked_fill(~of, -torch.inf), dim=1)
    return _weighted(each, weight * known)


def _class_dice(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    log_p, may_be, _ = _log_p(logits, target)
    single = (weight > 0) & (may_be.sum(dim=1) == 1)
    p, t, w = log_p.exp(), may_be.float(), single.unsqueeze(1).float()
    both, found, true = ((x * w).sum(dim=(2, 3)) for x in (p * t, p, t))
    return torch.cat([_class(logits, target, weight), both, found, true], dim=1)


def _class_dice_value(sums: Tensor) -> Tensor:
    """Cross-entropy plus the soft Dice of each class that there is, inside objects labelled by a finest class.

    Class weights change the cross-entropy only: Dice balances classes by itself.
    """
    both, found, true = sums[..., 2:].chunk(3, dim=-1)
    dice = 1.0 - (2.0 * both + DICE_SMOOTH_PX) / (found + true + DICE_SMOOTH_PX)
    present = true > 0
    return _mean(sums) + (dice * present).sum(dim=-1) / present.sum(dim=-1).clamp_min(1)


def _published(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """[n, 2]: mean over all pixels of cross-entropy times weight, and 1 where the crop has labels."""
    each = -(functional.log_softmax(logits.float(), dim=1) * target).sum(dim=1) * weight
    return torch.stack([each.mean(dim=(1, 2)), (weight.flatten(1).amax(dim=1) > 0).float()], dim=1)


def _published_value(sums: Tensor) -> Tensor:
    """Mean over the crops that have labels."""
    return sums[..., 0] / (sums[..., 1] + PUBLISHED_EPS)


def _published_type(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    p, w = logits.float().softmax(dim=1)[:, 1:], (weight > 0).unsqueeze(1)
    t = target[:, 1:]
    both, either = ((x * w).sum(dim=(2, 3)) for x in (p * t, p + t))
    return torch.cat([_published(logits, target, weight), both, either], dim=1)


def _published_type_value(sums: Tensor) -> Tensor:
    """Cross-entropy plus the sum of the classes' soft Dice; channel 0 is the background and has none.

    A class that is absent costs nearly 1, and Dice is not divided by the number of classes: as published.
    """
    both, either = sums[..., 2:].chunk(2, dim=-1)
    dice = 1.0 - (2.0 * both + PUBLISHED_SMOOTH_PX) / (either + PUBLISHED_SMOOTH_PX)
    return _published_value(sums) + dice.sum(dim=-1)


BCE = Loss(sums=_bce, value=_mean)
BCE_DICE = Loss(sums=_bce_dice, value=_bce_dice_value)
MSE = Loss(sums=_mse, value=_mean)
CLASS_CROSS_ENTROPY = Loss(sums=_class, value=_mean, channels="classes")
CLASS_CROSS_ENTROPY_DICE = Loss(sums=_class_dice, value=_class_dice_value, channels="classes")
CERBERUS_INSTANCE = Loss(sums=_published, value=_published_value, channels="exclusive")
CERBERUS_TYPE = Loss(sums=_published_type, value=_published_type_value, channels="classes")
