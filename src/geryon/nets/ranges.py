"""Ranges of what convolutions see, so that engines can multiply in eight bits.

A model's document holds, for convolutions that its topology allows, the least and the largest input on its training
images (static quantisation: Jacob et al., CVPR 2018, section 2.1). Weights need no images: each output channel has
its own scale. What gains nothing or loses much stays in float: the first convolutions, depthwise bottlenecks, what
works at coarse strides, and the last convolutions, which make the probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from geryon.nets.faults import is_range
from geryon.nets.network import bytes_network
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument

IMAGES = 40
"""Enough images of each model's sources for means to settle."""
SIDE_PX = 448
STRIDE_PX = 32

Ranges = dict[str, tuple[float, float]]


def ranges_of(
    document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...], images: Iterable[np.ndarray]
) -> Ranges:
    """{convolution: (least, largest) input}, each the mean over the images (uint8 [y, x, 3] at the model's mpp).

    The mean and not the most: a single odd image would cost all others their resolution; what lies beyond saturates.
    Empty where the topology names none (`eight_bits`) or there are no images; a layer that sees nothing finite is left
    out.
    """
    network = bytes_network(document, tensors, heads).network
    parts = tuple(getattr(network, "eight_bits", ()))
    chosen = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and name.startswith(parts) and _gains(module)
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}

    def seeing(name: str) -> Any:
        return lambda module, inputs: seen[name].append((float(inputs[0].min()), float(inputs[0].max())))

    hooks = [module.register_forward_pre_hook(seeing(name)) for name, module in chosen.items()]
    with torch.inference_mode():
        for image in images:
            if (cut := _cut(image)).size:
                network(torch.from_numpy(cut)[None].permute(0, 3, 1, 2).float())
    for hook in hooks:
        hook.remove()
    found = {name: _range(values) for name, values in seen.items() if values}
    return {name: value for name, value in found.items() if is_range(*value)}


def _gains(convolution: nn.Conv2d) -> bool:
    return convolution.groups == 1 and convolution.in_channels > 3


def spread(images: Sequence[Any], count: int = IMAGES) -> list[Any]:
    """`count` of them, evenly from first to last."""
    return [images[round(i)] for i in np.linspace(0, len(images) - 1, min(count, len(images)))]


def _cut(image: np.ndarray) -> np.ndarray:
    """The middle of the image, its sides whole multiples of the stride."""
    sides = [min(SIDE_PX, n) // STRIDE_PX * STRIDE_PX for n in image.shape[:2]]
    top, left = ((n - side) // 2 for n, side in zip(image.shape[:2], sides, strict=True))
    return np.ascontiguousarray(image[top : top + sides[0], left : left + sides[1]])


def _range(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Three digits are more than eight bits have, and keep documents short."""
    low, high = np.mean(values, axis=0)
    return float(f"{min(low, 0.0):.4g}"), float(f"{max(high, 1e-6):.4g}")
