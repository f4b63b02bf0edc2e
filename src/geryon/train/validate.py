"""Figures of a network on packed samples that it did not learn from: quick, pixel by pixel.

They steer a run; what a model is worth on objects is measured by train.evaluate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from geryon.train import batches
from geryon.train.batches import TARGET_UNIT, WEIGHT_UNIT, Sample
from geryon.train.curves import by
from geryon.train.losses import Loss, asked, get_loss

SIDE_PX = 768
"""Larger samples are judged by their middle, so that memory stays bounded."""


@dataclass(slots=True)
class _Sums:
    loss: Tensor
    right: float = 0.0
    """Of maps with one true channel: pixels whose likeliest class may be true; else twice the overlap."""
    of: float = 0.0

    def figures(self, name: str, loss: Loss) -> dict[str, float]:
        """The loss, and the accuracy or Dice where there was anything to be right about."""
        figures = {f"{name} loss": float(loss.value(self.loss))}
        return figures | ({f"{name} {measure(loss)}": self.right / self.of} if self.of > 0 else {})


def measure(loss: Loss) -> str:
    """What is told of a map beside its loss."""
    return "dice" if loss.channels == "independent" else "accuracy"


def figure_names(losses: Mapping[str, str]) -> list[str]:
    """The figures over all sources that a validation may give."""
    return [f"{name} {kind}" for name, loss in losses.items() for kind in ("loss", measure(get_loss(loss)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Callable for train.loop: a network in, figures out.

    Figures are called "task/map loss", "task/map dice" or "task/map accuracy", pooled over all samples that know the
    map, and "task/map loss, source" and so on for each source where there are several.
    """

    samples: Sequence[Sample]
    losses: Mapping[str, str]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __call__(self, network: nn.Module) -> dict[str, float]:
        losses = {name: get_loss(loss) for name, loss in self.losses.items()}
        sums: dict[tuple[str, str], _Sums] = {}
        with torch.inference_mode():
            for sample in self.samples:
                for name, one in self._judged(network, sample, losses):
                    for source in ("", sample.source):
                        _add(sums, (name, source), one)
        sources = {source for _, source in sums if source}
        figures: dict[str, float] = {}
        for (name, source), each in sums.items():
            if not source or len(sources) > 1:
                told = each.figures(name, losses[name])
                figures |= {by(key, source) if source else key: value for key, value in told.items()}
        return figures

    def _judged(self, network: nn.Module, sample: Sample, losses: Mapping[str, Loss]) -> list[tuple[str, _Sums]]:
        y, height = middle(sample.image.shape[0])
        x, width = middle(sample.image.shape[1])
        image = torch.from_numpy(np.ascontiguousarray(sample.image[y : y + height, x : x + width]))
        logits = network(image.permute(2, 0, 1)[None].to(self.device))
        shapes = batches.map_shapes([sample], tuple(self.losses))
        found = []
        for name, shape in shapes.items():
            part = np.s_[
                y // shape.stride : (y + height) // shape.stride, x // shape.stride : (x + width) // shape.stride
            ]
            target = torch.from_numpy(sample.targets[name][part].astype(np.float32) / TARGET_UNIT)
            weight = torch.from_numpy(sample.weights[name][part].astype(np.float32) / WEIGHT_UNIT)
            if weight.any():
                one = (logits[name].float().cpu(), target.permute(2, 0, 1)[None], weight[None])
                found.append((name, _count(losses[name], *one)))
        return found


def _add(sums: dict[tuple[str, str], _Sums], key: tuple[str, str], one: _Sums) -> None:
    before = sums.setdefault(key, _Sums(torch.zeros_like(one.loss)))
    before.loss = before.loss + one.loss
    before.right += one.right
    before.of += one.of


def _count(loss: Loss, logits: Tensor, target: Tensor, weight: Tensor) -> _Sums:
    s = _Sums(loss.sums(logits, target, weight)[0])
    if loss.channels == "independent":
        found, true, w = logits > 0, target > 0.5, weight[:, None]
        s.right = 2.0 * float((found * true * w).sum())
        s.of = float((found * w).sum() + (true * w).sum())
        return s
    may_be, told = asked(target)
    likeliest = logits.masked_fill(~told, -torch.inf).argmax(dim=1, keepdim=True)
    labelled = weight * may_be.any(dim=1)
    s.right = float((may_be.gather(1, likeliest)[:, 0] * labelled).sum())
    s.of = float(labelled.sum())
    return s


def middle(side_px: int) -> tuple[int, int]:
    """Start and length of the part that is judged, both whole on the coarsest grid."""
    if side_px <= SIDE_PX:
        return 0, side_px
    return (side_px - SIDE_PX) // 2 // batches.GRID_PX * batches.GRID_PX, SIDE_PX
