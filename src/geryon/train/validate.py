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
from geryon.train.losses import get_loss

SIDE_PX = 768
"""Larger samples are judged by their middle, so that memory stays bounded."""


@dataclass(slots=True)
class _Sums:
    loss: float = 0.0
    known: float = 0.0
    right: float = 0.0
    """Sigmoid maps: twice the overlap; class maps: pixels whose likeliest class may be true."""
    of: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Callable for train.loop: a network in, {"task/map loss", "task/map dice" or "accuracy": figure} out."""

    samples: Sequence[Sample]
    losses: Mapping[str, str]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __call__(self, network: nn.Module) -> dict[str, float]:
        sums: dict[str, _Sums] = {}
        with torch.inference_mode():
            for sample in self.samples:
                self._add(network, sample, sums)
        figures: dict[str, float] = {}
        for name, s in sums.items():
            kind = "accuracy" if self.losses[name] == "class_cross_entropy" else "dice"
            figures[f"{name} loss"] = s.loss / s.known
            if s.of > 0:
                figures[f"{name} {kind}"] = s.right / s.of
        return figures

    def _add(self, network: nn.Module, sample: Sample, sums: dict[str, _Sums]) -> None:
        y, height = middle(sample.image.shape[0])
        x, width = middle(sample.image.shape[1])
        image = torch.from_numpy(np.ascontiguousarray(sample.image[y : y + height, x : x + width]))
        logits = network(image.permute(2, 0, 1)[None].to(self.device))
        shapes = batches.map_shapes([sample], tuple(self.losses))
        for name, shape in shapes.items():
            part = np.s_[
                y // shape.stride : (y + height) // shape.stride, x // shape.stride : (x + width) // shape.stride
            ]
            target = torch.from_numpy(sample.targets[name][part].astype(np.float32) / TARGET_UNIT)
            weight = torch.from_numpy(sample.weights[name][part].astype(np.float32) / WEIGHT_UNIT)
            if weight.any():
                one = (logits[name].float().cpu(), target.permute(2, 0, 1)[None], weight[None])
                _count(sums.setdefault(name, _Sums()), self.losses[name], one)


def _count(s: _Sums, loss: str, one: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, target, weight = one
    known = float(weight.sum())
    s.loss += float(get_loss(loss)(logits, target, weight)) * known
    s.known += known
    if loss == "class_cross_entropy":
        allowed = target.gather(1, logits.argmax(dim=1, keepdim=True))[:, 0] > 0.5
        labelled = weight * (target.amax(dim=1) > 0)
        s.right += float((allowed * labelled).sum())
        s.of += float(labelled.sum())
        return
    found, true, w = logits > 0, target > 0.5, weight[:, None]
    s.right += 2.0 * float((found * true * w).sum())
    s.of += float((found * w).sum() + (true * w).sum())


def middle(side_px: int) -> tuple[int, int]:
    """Start and length of the part that is judged, both whole on the coarsest grid."""
    if side_px <= SIDE_PX:
        return 0, side_px
    return (side_px - SIDE_PX) // 2 // batches.GRID_PX * batches.GRID_PX, SIDE_PX
