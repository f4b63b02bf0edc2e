"""cerberus: the published network (Graham et al., Medical Image Analysis 2022, 102685), written from its description.

A ResNet34 with a stride-1 stem is shared by five decoders, which repeat four times: bilinear enlargement by
two, addition of the encoder's tap, two 3 x 3 convolutions. A sixth head names the tissue from the deepest tap.
Modules carry the published names, so a published state dict loads as it is; decoders that no head asks for
are not built.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon.errors import UsageError
from geryon.nets.topologies import Head, check_settings

Network = TypeVar("Network", bound=nn.Module)

DECODERS = {
    "nuclei/inst": ("Nuclei", "INST", 3),
    "nuclei/class": ("Nuclei#TYPE", "TYPE", 7),
    "glands/inst": ("Gland", "INST", 3),
    "glands/class": ("Gland#TYPE", "TYPE", 3),
    "lumina/inst": ("Lumen", "INST", 3),
}
"""Our name of a map -> published decoder, published head, channels."""
TISSUE = "tissue/class"
TISSUE_CLASSES = 9
CELL_PX = 16
"""Stride of the deepest tap: sides of the input are multiples of it."""
TISSUE_CELLS = 9
"""The tissue head looks at the mean over this many cells in each direction."""
ALL_HEADS = (
    *(Head(name=name, channels=channels, stride=1) for name, (_, _, channels) in DECODERS.items()),
    Head(name=TISSUE, channels=TISSUE_CLASSES, stride=CELL_PX),
)
STAGES = ((256, 256, 128), (128, 128, 64), (64, 64, 64), (64, 64, 64))
"""Per decoder stage: channels in, after the first unit, after the second."""
SPILL = (3, 3, 3, 2)
"""Pixels that a decoder stage reads beside the place asked for, in pixels of its input: two convolutions take
two pixels of its output, enlargement one, and the next stage's own spill comes on top."""


def unit(wide: int, out: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(wide, out, kernel, padding=kernel // 2)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out), relu=nn.ReLU(inplace=True)))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions added to the input (He et al. 2016)."""

    def __init__(self, wide: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide, out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or wide != out:
            self.downsample = nn.Sequential(nn.Conv2d(wide, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        skip = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.bn2(self.conv2(inner)).add_(skip), inplace=True)


class Backbone(nn.Module):
    """ResNet34 with a stem of stride 1; gives its taps at strides 1, 2, 4, 8, 16. `fc` is carried, never used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = layer(64, 64, 3, 1)
        self.layer2 = layer(64, 128, 4, 2)
        self.layer3 = layer(128, 256, 6, 2)
        self.layer4 = layer(256, 512, 3, 2)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = [functional.relu(self.bn1(self.conv1(x)), inplace=True)]
        below = functional.max_pool2d(taps[0], 3, stride=2, padding=1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            below = stage(below)
            taps.append(below)
        return taps


def layer(wide: int, out: int, blocks: int, stride: int) -> nn.Sequential:
    """Basic blocks in a row, the first with the stride."""
    rest = (BasicBlock(out, out, 1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(wide, out, stride), *rest)


def decoder() -> nn.ModuleList:
    """Four stages of two units each."""
    return nn.ModuleList(
        nn.ModuleDict({"block": nn.Sequential(unit(wide, middle, 3), unit(middle, out, 3))})
        for wide, middle, out in STAGES
    )


def map_head(channels: int) -> nn.ModuleDict:
    """1 x 1 unit to 96 channels, then 1 x 1 to the logits."""
    first = nn.ModuleDict({"block": nn.Sequential(unit(64, 96, 1))})
    return nn.ModuleDict({"x": nn.ModuleList([first, nn.ModuleDict({"conv": nn.Conv2d(96, channels, 1)})])})


class PatchClass(nn.Module):
    """Mean features of a square of cells to tissue logits."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(512)
        self.conv1 = nn.Conv2d(512, 256, 1)
        self.bn2 = nn.BatchNorm2d(256)
        self.conv2 = nn.Conv2d(256, TISSUE_CLASSES, 1)

    def forward(self, means: Tensor) -> Tensor:
        x = functional.dropout(functional.relu(self.bn1(means)), 0.3, self.training)
        return self.conv2(functional.relu(self.bn2(self.conv1(x))))


class Cerberus(nn.Module):
    """Images (uint8 or float, RGB 0..255, NCHW, sides multiples of 16) to {"task/map": logits}."""

    def __init__(self, settings: Mapping[str, Any], heads: tuple[Head, ...]) -> None:
        super().__init__()
        self.heads = heads
        self.blank_px = int(settings.get("blank_px", 0)) // CELL_PX * CELL_PX
        self.backbone = Backbone()
        self.conv_map = nn.Conv2d(512, 256, 1, bias=False)
        self.decoder_head = nn.ModuleDict()
        self.output_head = nn.ModuleDict()
        for head in heads:
            if head.name == TISSUE:
                self.decoder_head["Patch-Class"] = PatchClass()
                continue
            name, kind, channels = DECODERS[head.name]
            self.decoder_head[name] = decoder()
            self.output_head[name] = nn.ModuleDict({kind: map_head(channels)})

    def taps(self, x: Tensor) -> list[Tensor]:
        """The encoder's features at strides 1, 2, 4, 8, 16."""
        return self.backbone(x.to(self.conv_map.weight.dtype) / 255.0)

    def decode(self, name: str, taps: list[Tensor], blank_px: int) -> Tensor:
        """Logits of one map at stride 1, without a border of `blank_px` (a multiple of 16).

        Each stage works on no more than what the wanted part depends on; the numbers are those of the
        whole window, the cost nearly that of the wanted part alone.
        """
        published, kind, _ = DECODERS[name]
        margin = blank_px // CELL_PX
        extra = [min(margin << k, spill) for k, spill in enumerate(SPILL)]
        x = self.conv_map(inner(taps[4], margin - extra[0]))
        for k, stage in enumerate(cast(Any, self.decoder_head[published])):
            x = inner(x, _held(extra, k))
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            tap = taps[3 - k]
            x = stage["block"](x.add_(inner(tap, (tap.shape[2] - x.shape[2]) // 2)))
        x = inner(x, extra[3] * 2)
        first, last = cast(Any, self.output_head[published])[kind]["x"]
        return last["conv"](first["block"](x))

    def patch_class(self, deepest: Tensor) -> Tensor:
        """Tissue logits [n, 9, 1, 1] of the central 9 x 9 cells, as published."""
        top, left = (max(0, n - TISSUE_CELLS) // 2 for n in deepest.shape[2:])
        if TISSUE_CELLS not in deepest.shape[2:]:
            deepest = deepest[:, :, top : top + TISSUE_CELLS, left : left + TISSUE_CELLS]
        return self.decoder_head["Patch-Class"](deepest.mean(dim=(2, 3), keepdim=True))

    def tissue(self, deepest: Tensor) -> Tensor:
        """Tissue logits of every cell from the 9 x 9 cells around it, fewer at the border of the input."""
        reach = TISSUE_CELLS // 2
        means = functional.avg_pool2d(deepest, TISSUE_CELLS, stride=1, padding=reach, count_include_pad=False)
        return self.decoder_head["Patch-Class"](means)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        taps = self.taps(x)
        blank_px = 0 if self.training else self.blank_px
        return {head.name: self._logits(head, taps, blank_px) for head in self.heads}

    def _logits(self, head: Head, taps: list[Tensor], blank_px: int) -> Tensor:
        if head.name == TISSUE:
            return self.tissue(taps[4])
        logits = coarser(self.decode(head.name, taps, blank_px), head.stride)
        rim = blank_px // head.stride
        return functional.pad(logits, (rim, rim, rim, rim)) if rim else logits


def _held(extra: list[int], stage: int) -> int:
    """Pixels to cut from the input of a stage: what the stage before spilt beyond this one's need."""
    return 0 if stage == 0 else 2 * extra[stage - 1] - extra[stage]


def inner(x: Tensor, by: int) -> Tensor:
    """Without a border of `by` pixels."""
    return x[:, :, by : x.shape[2] - by, by : x.shape[3] - by] if by > 0 else x


def coarser(logits: Tensor, stride: int) -> Tensor:
    """Logits whose softmax is the mean probability of stride x stride pixels.

    The published system halves its probability maps for glands and lumina; ids of classes, which it
    interpolates too (0 and 2 give 1), are averaged here as probabilities.
    """
    if stride == 1:
        return logits
    return functional.avg_pool2d(logits.float().softmax(dim=1), stride).clamp_min(1e-12).log().to(logits.dtype)


def build(settings: Mapping[str, Any], heads: tuple[Head, ...]) -> Cerberus:
    """The network with these heads only.

    Settings: blank_px (0), the border of the maps that nobody will read: decoders leave it out in
    evaluation and it holds zeros.
    """
    known = {head.name: head.channels for head in ALL_HEADS}
    for head in heads:
        strides = (CELL_PX,) if head.name == TISSUE else (1, 2, 4, 8)
        if known.get(head.name) != head.channels or head.stride not in strides:
            raise UsageError(
                what=f"cerberus has no map {head.name!r} of {head.channels} channels at stride {head.stride}",
                mend="its maps (channels) are " + ", ".join(f"{name} ({n})" for name, n in known.items()),
            )
    check_settings(settings, {"blank_px": _said_of_blank})
    return Cerberus(settings, heads)


def _said_of_blank(blank_px: Any) -> str:
    return "" if type(blank_px) is int and 0 <= blank_px <= 1024 else "must be a whole number, 0 to 1024"


def initialise(network: nn.Module) -> None:
    """Fresh weights as published: convolutions Kaiming normal over the fan-out, norms one and zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def fold(network: Network) -> Network:
    """The same network for inference: each batch norm that was registered right after a convolution is put into it.

    Holds for every module here, because each convolution's norm is the child after it.
    """
    network.eval()
    for module in network.modules():
        children = module._modules
        for a, b in list(pairwise(children)):
            first, second = children[a], children[b]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                children[a] = nn.utils.fuse_conv_bn_eval(first, second)
                children[b] = nn.Identity()
    return network


def for_inference(network: Network) -> Network:
    """Folded and laid out channels last, in place."""
    folded = fold(network).requires_grad_(False)
    return folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
