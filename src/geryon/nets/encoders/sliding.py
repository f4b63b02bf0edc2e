"""An encoder slid over an image: the codes of many patches that overlap, with what they share computed once.

Convolutions without borders see the same of a patch cut out and of the whole image, where patches begin at multiples of
the product of all steps. The flattening and the dense layer behind it become a convolution over the units of a patch
(Long et al., CVPR 2015, section 3.1), a mean over a patch becomes one of its units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geryon.nets.encoders.folding import Affine
from geryon.nets.encoders.layered import Conv, Flatten, Mean


def stride_of(layers: Sequence[nn.Module]) -> int | None:
    """Pixels of the network's input that lie between two units before the code: grids of patches must have multiples
    of it. None where sliding would change codes, or the layers are others."""
    steps, flat = 1, False
    for before, layer in zip([None, *layers], layers, strict=False):
        if isinstance(layer, Conv | nn.AvgPool2d) and not flat:
            if isinstance(layer, Conv) and any(layer.before_after):
                return None
            steps *= _step(layer)
        elif isinstance(layer, Flatten | Mean) and not flat:
            flat = True
        elif not isinstance(layer, nn.LeakyReLU | nn.Identity | Affine | nn.Linear):
            return None
        if isinstance(before, Flatten) and not isinstance(layer, nn.Linear):
            return None
    return steps if flat and not isinstance(layers[-1], Flatten) else None


def _step(layer: nn.Module) -> int:
    step = layer.stride if isinstance(layer, nn.Conv2d | nn.AvgPool2d) else 1
    return int(step if isinstance(step, int) else step[0])


class Sliding(nn.Module):
    """Images [n, y, x, 3], as `Ready` takes them, to codes float32 [n, rows, columns, code]."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, images: Tensor) -> Tensor:
        codes: Tensor = self.network(images.permute(0, 3, 1, 2).float())
        return codes.permute(0, 2, 3, 1)


def slid(layers: Sequence[nn.Module], patch_px: int, step: int) -> Sliding:
    """The layers as one network over images, for patches of `patch_px` that lie `step` units apart.

    Each layer keeps its place, so its number.
    """
    out: list[nn.Module] = []
    units = (3, patch_px, patch_px)  # of one patch: channels, rows, columns
    for layer in layers:
        if isinstance(layer, Mean):
            layer, units, step = nn.AvgPool2d(units[1:], stride=step), (units[0], 1, 1), 1
        elif isinstance(layer, nn.Linear):
            out_features = layer.out_features
            layer, units, step = _over_units(layer, units, step), (out_features, 1, 1), 1
        elif isinstance(layer, Flatten):
            layer = nn.Identity()
        elif isinstance(layer, nn.Conv2d | nn.AvgPool2d):
            kernel = layer.kernel_size if isinstance(layer.kernel_size, int) else layer.kernel_size[0]
            side = (units[1] - kernel) // _step(layer) + 1
            units = (int(layer.out_channels) if isinstance(layer, nn.Conv2d) else units[0], side, side)
        out.append(layer)
    return Sliding(nn.Sequential(*out))


def _over_units(dense: nn.Linear, units: tuple[int, int, int], step: int) -> nn.Conv2d:
    """The dense layer as a convolution over the units of a patch."""
    channels, rows, columns = units
    convolution = nn.Conv2d(channels, dense.out_features, (rows, columns), stride=step)
    with torch.no_grad():
        convolution.weight.copy_(dense.weight.view(-1, rows, columns, channels).permute(0, 3, 1, 2))
        convolution.get_parameter("bias").copy_(dense.bias)
    return convolution
