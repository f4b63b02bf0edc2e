"""geryon-b: the larger network, for GPUs: two branches at full resolution under a wider decoder (nets/pyramid.py).

A plain fine branch gives strides 2 and 4, where outlines are told; EfficientNet-Lite2 (nets/lite.py) sees the same
image, not one of half its size as in geryon-s, and gives all strides down to 32. docs/topology.md has what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geryon.nets.lite import LITE2, fill_from_imagenet, lite_stages
from geryon.nets.pyramid import PyramidNet, chain, check_heads, plain_stages
from geryon.nets.topologies import Head, check_settings, texts, whole_numbers

DEFAULTS: dict[str, Any] = {"fine": (32, 96), "decoder": (48, 96, 128, 192, 192), "apart": (), "branches": ()}


class Encoder(nn.Module):
    """Features at strides 2 to 32: Lite2's, beside fine ones at strides 2 and 4; `widths` are their channels."""

    def __init__(self, fine: tuple[int, ...]) -> None:
        super().__init__()
        self.fine, self.context = plain_stages(fine), lite_stages(LITE2)
        self.widths = tuple(wide + own for wide, own in zip(LITE2.widths, (*fine, 0, 0, 0), strict=True))

    def forward(self, x: Tensor) -> list[Tensor]:
        fine, context = chain(self.fine, x), chain(self.context, x)
        beside = [torch.cat(pair, dim=1) for pair in zip(fine, context, strict=False)]
        return [*beside, *context[len(beside) :]]

    def coarse(self, x: Tensor) -> list[Tensor]:
        """Those of the context alone, which at strides 8 to 32 are all."""
        return chain(self.context, x)[len(self.fine) :]


def build(settings: Mapping[str, Any], heads: tuple[Head, ...]) -> nn.Module:
    """The network with these heads; settings: fine (two widths), decoder (five widths), apart (maps, "task/map", whose
    hidden layer is their own and not their task's), branches (tasks with a decoder of their own)."""
    wanted = {"fine": whole_numbers(2, 1024), "decoder": whole_numbers(5, 1024), "apart": texts, "branches": texts}
    check_settings(settings, wanted)
    check_heads("geryon-b", heads)
    chosen = {**DEFAULTS, **settings}
    encoder = Encoder(tuple(chosen["fine"]))
    return PyramidNet(encoder, tuple(chosen["decoder"]), heads, chosen["apart"], chosen["branches"])


def start_from_imagenet(network: PyramidNet) -> int:
    """Fill the Lite2 stages with ImageNet weights; returns how many tensors were taken."""
    assert isinstance(network.encoder, Encoder), "build makes no other"
    return fill_from_imagenet(network.encoder.context, LITE2)
