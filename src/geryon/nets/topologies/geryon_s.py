"""geryon-s: a light encoder of two branches under the common decoder (nets/pyramid.py).

A fine branch of plain 3 x 3 convolutions sees the image as it is; a context one is EfficientNet-Lite0 (nets/lite.py)
over the image at half resolution, where it costs a quarter and can start from ImageNet weights. Either alone can be
chosen too ("plain", "lite0"); docs/topology.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geryon.nets.lite import LITE0, fill_from_imagenet, lite_stages
from geryon.nets.pyramid import PyramidNet, chain, check_heads, plain_stages
from geryon.nets.topologies import Head, check_settings, texts, whole_numbers

DEFAULTS: dict[str, Any] = {
    "encoder": "hybrid",
    "fine": (24, 40),
    "decoder": (24, 40, 64, 96, 96),
    "apart": (),
    "branches": (),
}


class Encoder(nn.Module):
    """Features at strides 2, 4, 8, 16, 32 from stages run in a row; `widths` are their channels."""

    def __init__(self, stages: nn.ModuleList, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.context, self.widths = stages, widths

    def forward(self, x: Tensor) -> list[Tensor]:
        return chain(self.context, x)


class Hybrid(nn.Module):
    """Fine features of the image (strides 2, 4) beside Lite0's of the image at half size (strides 4 to 32)."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.fine, self.context = plain_stages(widths), lite_stages(LITE0, 4)
        at_half = LITE0.widths
        self.widths = (widths[0], widths[1] + at_half[0], *at_half[1:4])
        self.halve: nn.Module = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = chain(self.fine, x)
        context = chain(self.context, self.halve(x))
        return [fine[0], torch.cat([fine[1], context[0]], dim=1), *context[1:]]

    def coarse(self, x: Tensor) -> list[Tensor]:
        """Those of strides 8 to 32 alone, for which the fine branch need not be computed."""
        return chain(self.context, self.halve(x))[1:]

    def for_inference(self) -> None:
        """Let the first convolution of the context halve the image too: 6 x 6 at stride 4 for 3 x 3 of a mean of 4.

        The same numbers but for rounding; three channels at a time are slow for pooling kernels, as two memory
        layouts are. Norms are folded before.
        """
        stem = self.context[0]
        assert isinstance(stem, nn.Sequential) and isinstance(stem[1], nn.Conv2d) and stem[1].bias is not None
        both = nn.Conv2d(3, stem[1].out_channels, 6, stride=4)
        both.weight.data = stem[1].weight.data.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) / 4
        both.bias = stem[1].bias
        self.halve, stem[0], stem[1] = nn.Identity(), nn.ZeroPad2d((0, 2, 0, 2)), both


def lite0() -> Encoder:
    return Encoder(lite_stages(LITE0), LITE0.widths)


def plain() -> Encoder:
    widths = (24, 32, 64, 96, 128)
    return Encoder(plain_stages(widths), widths)


ENCODERS: dict[str, Callable[[Mapping[str, Any]], Encoder | Hybrid]] = {
    "hybrid": lambda chosen: Hybrid(tuple(chosen["fine"])),
    "lite0": lambda chosen: lite0(),
    "plain": lambda chosen: plain(),
}


def build(settings: Mapping[str, Any], heads: tuple[Head, ...]) -> nn.Module:
    """The network with these heads; settings: encoder, fine (hybrid's two widths), decoder (five widths),
    apart (maps, "task/map", whose hidden layer is their own and not their task's),
    branches (tasks with a decoder of their own)."""
    choices = ", ".join(ENCODERS)
    check_settings(
        settings,
        {
            "encoder": lambda name: "" if isinstance(name, str) and name in ENCODERS else f"must be one of {choices}",
            "fine": whole_numbers(2, 1024),
            "decoder": whole_numbers(5, 1024),
            "apart": texts,
            "branches": texts,
        },
    )
    check_heads("geryon-s", heads)
    chosen = {**DEFAULTS, **settings}
    encoder: Encoder | Hybrid = ENCODERS[chosen["encoder"]](chosen)
    return PyramidNet(encoder, tuple(chosen["decoder"]), heads, chosen["apart"], chosen["branches"])


def start_from_imagenet(network: PyramidNet) -> int:
    """Fill the Lite0 stages with ImageNet weights; returns how many tensors were taken."""
    context = network.encoder.get_submodule("context")
    assert isinstance(context, nn.ModuleList), "every encoder here has its stages so"
    return fill_from_imagenet(context, LITE0)
