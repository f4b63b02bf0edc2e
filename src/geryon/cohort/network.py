"""Networks that answer a question about a whole slide from its feature volume.

All are called alike: `module(x, mask, objects) -> logits`, where x is float32 [n, code, rows, columns], mask is bool
[n, rows, columns] (true where a cell holds tissue) and objects is float32 [n, measures], or None where the model knows
none. A bag of cells without places is a volume of one row. Logits are [n, outputs].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"""Of leaky ReLU: that of the published encoders' files; the paper does not give it for this network."""
EPSILON, MOMENTUM = 1e-3, 0.1
"""Of batch norm: the epsilon of the published encoders' files; torch's momentum, since cohorts give few steps."""
WIDTH = 128
STRIDES = (2, 2, 2, 2, 2, 2, 1, 1)


class Last(nn.Module):
    """The output layer over pooled features [n, features] and measures of objects, which it standardises.

    `ordered`: cumulative logits of one score with falling thresholds (proportional odds; McCullagh, J. R. Stat. Soc. B
    1980, section 2), so that P(grade > k) never rises with k. An unknown measure (NaN) counts as the mean.
    """

    measures_mean: Tensor
    measures_sd: Tensor

    def __init__(self, features: int, outputs: int, *, measures: int = 0, ordered: bool = False) -> None:
        super().__init__()
        self.measures, self.ordered = measures, ordered
        self.linear = nn.Linear(features + measures, 1 if ordered else outputs)
        self.steps = nn.Parameter(torch.zeros(outputs - 1)) if ordered else None
        self.register_buffer("measures_mean", torch.zeros(measures))
        self.register_buffer("measures_sd", torch.ones(measures))

    def forward(self, features: Tensor, objects: Tensor | None = None) -> Tensor:
        """Logits [n, outputs]."""
        if self.measures:
            assert objects is not None, "this model was made with objects"
            standard = (objects - self.measures_mean) / self.measures_sd
            features = torch.cat([features, torch.nan_to_num(standard, nan=0.0)], 1)
        score: Tensor = self.linear(features)
        if self.steps is None:
            return score
        falls = functional.pad(functional.softplus(self.steps).cumsum(0), (1, 0))
        return score - falls


class Separable(nn.Module):
    """A depthwise 3 x 3 convolution without bias, then a pointwise one with: as the paper counts its weights."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, outputs, ceil(rows / stride), ceil(columns / stride)]"""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class CompressedCNN(nn.Module):
    """The CNN on compressed slides of Tellez et al. (IEEE TPAMI 2021, appendix; arXiv 1811.02840).

    Eight separable convolutions of 128, each with batch norm, leaky ReLU and 20 % of whole maps dropped; a dense layer
    of 128 with batch norm and leaky ReLU; the output. The paper does not say what the dense layer sits on. By default
    it is the mean over those places of the last map that have tissue below them: so a crop of any size can be answered,
    and glass around a small piece of tissue does not thin its answer. With `flat_cells` it is the whole map, of a crop
    of exactly so many cells a side. The paper's L2 of 1e-5 is the trainer's (`decay`).
    """

    def __init__(self, code: int, last: Last, *, width: int = WIDTH, dropout: float = 0.2, flat_cells: int = 0) -> None:
        super().__init__()
        inputs = (code, *(width,) * (len(STRIDES) - 1))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Separable(n, width, stride),
                nn.BatchNorm2d(width, eps=EPSILON, momentum=MOMENTUM),
                nn.LeakyReLU(SLOPE),
                nn.Dropout2d(dropout),
            )
            for n, stride in zip(inputs, STRIDES, strict=True)
        )
        self.is_flat = flat_cells > 0
        side = -(-flat_cells // 2 ** STRIDES.count(2)) if self.is_flat else 1
        self.dense = nn.Linear(width * side * side, width)
        self.norm = nn.BatchNorm1d(width, eps=EPSILON, momentum=MOMENTUM)
        self.last = last

    @property
    def first(self) -> nn.Module:
        """The first convolution: one cell of its output stands for two by two cells of the volume."""
        first: nn.Module = self.blocks[0][0]  # type: ignore[index]
        return first

    def forward(self, x: Tensor, mask: Tensor, objects: Tensor | None = None) -> Tensor:
        """Logits [n, outputs]."""
        out: Tensor = self.last(self.pooled(x, mask), objects)
        return out

    def pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        """What the output layer sees of the volume, [n, width]."""
        maps = x * mask[:, None]
        for block in self.blocks:
            maps = block(maps)
        flat = maps.flatten(1) if self.is_flat else _mean(maps, below(mask, maps.shape[-2:]))
        return functional.leaky_relu(self.norm(self.dense(flat)), SLOPE)


def below(mask: Tensor, size: torch.Size) -> Tensor:
    """bool [n, rows, columns] of that size: where the last map has tissue in the cells it stands for."""
    stride = 2 ** STRIDES.count(2)
    room = (0, size[1] * stride - mask.shape[2], 0, size[0] * stride - mask.shape[1])
    return functional.max_pool2d(functional.pad(mask[:, None].float(), room), stride)[:, 0] > 0


def _mean(maps: Tensor, mask: Tensor) -> Tensor:
    """[n, channels]: the mean over true places; 0 where none is."""
    weight = mask[:, None].to(maps.dtype)
    return (maps * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """What is known of a bag after some of its cells: weighted sum of their features, and of the weights."""

    top: Tensor
    """[n]: the largest attention logit so far, by which the weights are divided."""
    weight: Tensor
    """[n]"""
    total: Tensor
    """[n, width]"""


class GatedAttention(nn.Module):
    """Gated attention pooling over cells (Ilse et al., ICML 2018, equation 9), in any number of pieces."""

    def __init__(self, code: int, last: Last, *, width: int = 128, hidden: int = 128, dropout: float = 0.25) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(code, width), nn.ReLU(), nn.Dropout(dropout))
        self.tanh, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)
        self.drop = nn.Dropout(dropout)
        self.last = last

    def forward(self, x: Tensor, mask: Tensor, objects: Tensor | None = None) -> Tensor:
        """Logits [n, outputs]."""
        return self.answer(self.take(None, x, mask), objects)

    def attention(self, x: Tensor, mask: Tensor) -> Tensor:
        """float32 [n, rows, columns]: the weight of each cell; they sum to 1 over a volume's tissue."""
        logits, _ = self._cells(x, mask)
        return torch.nan_to_num(torch.softmax(logits, 1), nan=0.0).reshape(mask.shape)

    def take(self, before: Pooled | None, x: Tensor, mask: Tensor) -> Pooled:
        """The bag with the cells of x added; all pieces together give what the whole gives."""
        logits, features = self._cells(x, mask)
        least = torch.finfo(logits.dtype).min
        top = logits.max(1).values.clamp(min=least)
        top = top if before is None else torch.maximum(top, before.top)
        weights = torch.exp(logits - top[:, None])
        weight, total = weights.sum(1), torch.einsum("nc,ncw->nw", weights, features)
        if before is None:
            return Pooled(top=top, weight=weight, total=total)
        fade = torch.exp(before.top - top)
        return Pooled(top=top, weight=before.weight * fade + weight, total=before.total * fade[:, None] + total)

    def answer(self, bag: Pooled, objects: Tensor | None = None) -> Tensor:
        """Logits [n, outputs] of bags that were taken whole."""
        out: Tensor = self.last(self.drop(bag.total / bag.weight.clamp(min=1e-30)[:, None]), objects)
        return out

    def _cells(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attention logits [n, cells], -inf outside the mask, and embedded cells [n, cells, width]."""
        features = self.embed(x.flatten(2).transpose(1, 2))
        logits = self.score(torch.tanh(self.tanh(features)) * torch.sigmoid(self.gate(features)))[..., 0]
        return logits.masked_fill(~mask.flatten(1), -torch.inf), features


class MeanLinear(nn.Module):
    """Mean of the cells, standardised, then one linear layer: logistic, ridge or Cox regression, by the loss."""

    mean: Tensor
    sd: Tensor

    def __init__(self, code: int, last: Last) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(code))
        self.register_buffer("sd", torch.ones(code))
        self.last = last

    def forward(self, x: Tensor, mask: Tensor, objects: Tensor | None = None) -> Tensor:
        """Logits [n, outputs]."""
        return self.answer(self.take(None, x, mask), objects)

    def take(self, before: Pooled | None, x: Tensor, mask: Tensor) -> Pooled:
        """The bag with the cells of x added."""
        total = (x * mask[:, None]).sum((2, 3))
        weight = mask.sum((1, 2)).to(x.dtype)
        if before is not None:
            total, weight = before.total + total, before.weight + weight
        return Pooled(top=torch.zeros_like(weight), weight=weight, total=total)

    def answer(self, bag: Pooled, objects: Tensor | None = None) -> Tensor:
        """Logits [n, outputs] of bags that were taken whole."""
        mean = bag.total / bag.weight.clamp(min=1)[:, None]
        out: Tensor = self.last((mean - self.mean) / self.sd, objects)
        return out


class ObjectsOnly(nn.Module):
    """The measures of the slide's objects alone, into one linear layer."""

    def __init__(self, last: Last) -> None:
        super().__init__()
        self.last = last

    def forward(self, x: Tensor, mask: Tensor, objects: Tensor | None = None) -> Tensor:
        """Logits [n, outputs]; of x only the number of slides counts."""
        out: Tensor = self.last(x.new_zeros(len(x), 0), objects)
        return out
