"""Layers that objectives share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"""Of the leaky ReLU, as in the published encoders."""


def head(wide: int, out: int, hidden: int = 256) -> nn.Sequential:
    """Dense, norm, leaky ReLU, dense: what stands on an encoder (Tellez et al., TPAMI 2019, appendix)."""
    return nn.Sequential(nn.Linear(wide, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, out))


class Painter(nn.Module):
    """Codes to images in -1..1: a dense layer to 4 x 4, then up-sampling and convolution until the side is reached."""

    def __init__(self, code: int, side_px: int, first: int, widths: Sequence[int], dense: tuple[int, ...] = ()) -> None:
        super().__init__()
        steps = round(math.log2(side_px / 4))
        self.first = first
        hidden: list[nn.Module] = []
        for wide in dense:
            hidden += [nn.Linear(code, wide), nn.BatchNorm1d(wide), nn.LeakyReLU(SLOPE)]
            code = wide
        self.dense = nn.Sequential(
            *hidden, nn.Linear(code, 16 * first), nn.BatchNorm1d(16 * first), nn.LeakyReLU(SLOPE)
        )
        blocks: list[nn.Module] = []
        for wide in list(widths)[:steps]:
            blocks += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(first, wide, 3, padding=1),
                nn.BatchNorm2d(wide),
                nn.LeakyReLU(SLOPE),
            ]
            first = wide
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(first, 3, 3, padding=1), nn.Tanh())

    def forward(self, code: Tensor) -> Tensor:
        image: Tensor = self.blocks(self.dense(code).view(-1, self.first, 4, 4))
        return image


def image_of(patches: Tensor, side_px: int) -> Tensor:
    """float [n, 3, side_px, side_px] in -1..1 of uint8 patches: means over squares of pixels."""
    image = patches.float() / 127.5 - 1.0
    return functional.avg_pool2d(image, patches.shape[-1] // side_px) if patches.shape[-1] > side_px else image


def channels(count: int, width: float) -> int:
    """So many channels times the width, 8 at least."""
    return max(8, round(count * width))
