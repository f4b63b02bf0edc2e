"""Plain layers without their norms and their scaling of pixels: the same function, sums rounded in another order.

A norm in a trained network is a factor and a summand for each channel. Right behind a convolution or dense layer it
goes into that; else it waits, through means and flattening, for the next convolution without borders or dense layer,
and goes into its input side. So the order of the published encoders (convolution, leaky ReLU, norm) folds too. What can
not wait (before a leaky ReLU, borders of zeros, or the end) stays a norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geryon.nets.encoders.layered import Conv, Flatten, Layered, Mean

Weighted = nn.Conv2d | nn.Linear


@dataclass(frozen=True, slots=True)
class _Waiting:
    """x * factor + summand for each channel, float64, that the next layer must do."""

    factor: Tensor
    summand: Tensor

    def then(self, other: _Waiting) -> _Waiting:
        return _Waiting(self.factor * other.factor, self.summand * other.factor + other.summand)


def folded(network: Layered) -> list[nn.Module]:
    """The network's layers for RGB 0..255, without norms where they can go elsewhere; the network itself stays."""
    ones = torch.ones(3, dtype=torch.float64)
    waiting: _Waiting | None = _Waiting(ones / 127.5, -ones)
    out: list[nn.Module] = []
    rows_columns = 1
    for layer, shape in zip(network.layers, shapes(network), strict=True):
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            norm = _of_norm(layer)
            if waiting is None and out and isinstance(out[-1], Weighted):
                _into_output(out[-1], norm)
            else:
                waiting = norm if waiting is None else waiting.then(norm)
            continue
        if isinstance(layer, Weighted):
            borders = isinstance(layer, Conv) and any(layer.before_after)
            if waiting is not None and borders:
                out, waiting = [*out, _as_norm(waiting)], None
            layer = _copy(layer)
            if waiting is not None:
                _into_input(layer, waiting)
                waiting = None
        elif isinstance(layer, Flatten) and waiting is not None:
            rows_columns = shape[1] * shape[2]
            waiting = _Waiting(waiting.factor.repeat(rows_columns), waiting.summand.repeat(rows_columns))
        elif not isinstance(layer, Flatten | Mean | nn.AvgPool2d) and waiting is not None:
            out, waiting = [*out, _as_norm(waiting)], None
        out.append(layer)
    return out if waiting is None else [*out, _as_norm(waiting)]


def shapes(network: Layered) -> list[tuple[int, ...]]:
    """Of one patch, what goes into each layer: channels, rows, columns, or the length of what is flat."""
    seen: list[tuple[int, ...]] = []
    x = torch.zeros((1, 3, network.patch_px, network.patch_px))
    for layer in network.layers:
        seen.append(tuple(x.shape[1:]))
        x = layer(x)
    return seen


def _of_norm(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> _Waiting:
    mean, var = (norm.get_buffer(name).double() for name in ("running_mean", "running_var"))
    factor = norm.weight.double() / torch.sqrt(var + norm.eps)
    return _Waiting(factor, norm.bias.double() - mean * factor)


def _copy(layer: Weighted) -> Weighted:
    """With weights of its own; borders stay."""
    if isinstance(layer, nn.Linear):
        fresh: Weighted = nn.Linear(layer.in_features, layer.out_features)
    else:
        kernel, stride = layer.kernel_size[0], layer.stride[0]
        borders = layer.before_after if isinstance(layer, Conv) else (0, 0)
        fresh = Conv(layer.in_channels, layer.out_channels, kernel, stride, borders)
    fresh.load_state_dict(layer.state_dict())
    return fresh.eval()


def _into_output(layer: Weighted, norm: _Waiting) -> None:
    weight, bias = layer.weight.double(), layer.get_parameter("bias").double()
    layer.weight.copy_(weight * norm.factor.view(-1, *[1] * (weight.dim() - 1)))
    layer.get_parameter("bias").copy_(bias * norm.factor + norm.summand)


def _into_input(layer: Weighted, norm: _Waiting) -> None:
    weight, bias = layer.weight.double(), layer.get_parameter("bias").double()
    by_channel = weight.flatten(2).sum(2) if weight.dim() == 4 else weight
    layer.get_parameter("bias").copy_(bias + by_channel @ norm.summand)
    layer.weight.copy_(weight * norm.factor.view(1, -1, *[1] * (weight.dim() - 2)))


def _as_norm(waiting: _Waiting) -> nn.Module:
    return Affine(waiting.factor.float(), waiting.summand.float()).eval()


class Affine(nn.Module):
    """x * factor + summand for each channel, of images or of what is flat."""

    factor: Tensor
    summand: Tensor

    def __init__(self, factor: Tensor, summand: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)
        self.register_buffer("summand", summand)

    def forward(self, x: Tensor) -> Tensor:
        tail = [1] * (x.dim() - 2)
        return x * self.factor.view(1, -1, *tail) + self.summand.view(1, -1, *tail)
