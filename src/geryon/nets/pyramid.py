"""The shape that our networks share: features at five strides, one decoder to half resolution, thin heads.

The decoder goes down a feature pyramid (Lin et al. 2017, top-down additions). All heads of one task at one stride share
a hidden layer; a map finer than the decoder's half resolution comes by sub-pixel convolution (Shi et al. 2016), which
costs nothing at full resolution. What makes the features is the topologies' own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon.errors import UsageError
from geryon.nets.topologies import Head

STRIDES = (2, 4, 8, 16, 32)
BRANCH_WIDTH = 48
BRANCH_LEVEL = 1
"""A branch goes down to stride 4: what is finer costs most and is rarely needed beside a network that is trained."""


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


def plain_stages(widths: tuple[int, ...]) -> nn.ModuleList:
    """3 x 3 convolutions only, which processors like: ends at strides 2, 4, 8, ..."""
    stem = [*convolution(3, widths[0], 3, stride=2), nn.ReLU(inplace=True), Residual(widths[0], widths[0], 1)]
    stages: list[nn.Module] = [nn.Sequential(*stem)]
    stages += [
        nn.Sequential(Residual(wide, out, 2), Residual(out, out, 1))
        for wide, out in zip(widths, widths[1:], strict=False)
    ]
    return nn.ModuleList(stages)


def chain(stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The output of each stage, each fed with the one before."""
    taps = []
    for stage in stages:
        x = stage(x)
        taps.append(x)
    return taps


class Branch(nn.Module):
    """A small decoder of one task's own over all features of the encoder, to the stride of `level`."""

    def __init__(self, widths: tuple[int, ...], level: int) -> None:
        super().__init__()
        self.level = level
        wide = BRANCH_WIDTH
        self.lateral = nn.ModuleList(nn.Conv2d(w, wide, 1) for w in widths[level:])
        self.blend = nn.ModuleList(
            nn.Sequential(nn.ReLU(inplace=True), *convolution(wide, wide, 3), nn.ReLU(inplace=True))
            for _ in widths[level:]
        )

    def forward(self, taps: list[Tensor]) -> Tensor:
        x: Tensor | None = None
        for lateral, blend, tap in reversed(list(zip(self.lateral, self.blend, taps[self.level :], strict=True))):
            own = lateral(tap)
            x = blend(own if x is None else own + functional.interpolate(x, scale_factor=2, mode="nearest"))
        assert x is not None, "there is at least one level"
        return x


class PyramidNet(nn.Module):
    """Images (uint8 or float, RGB 0..255, NCHW, sides multiples of 32) to {"task/map": logits}."""

    takes_rows = True
    """forward can be told which images are asked which task."""

    def __init__(
        self,
        encoder: nn.Module,
        narrow: tuple[int, ...],
        heads: tuple[Head, ...],
        apart: Collection[str] = (),
        branches: Collection[str] = (),
    ) -> None:
        """The encoder says the channels of its features at each of STRIDES (`widths`), `narrow` are the decoder's.

        The maps in `apart` ("task/map") have a hidden layer of their own: they are learnt beside frozen ones. So are
        the tasks in `branches`, which have a decoder of their own.
        """
        super().__init__()
        self.encoder = encoder
        widths: Any = encoder.widths
        self.lateral = nn.ModuleList(nn.Conv2d(w, d, 1) for w, d in zip(widths, narrow, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(narrow[i + 1], narrow[i], 1, bias=False) for i in range(4))
        self.blend = nn.ModuleList(
            nn.Sequential(nn.ReLU(inplace=True), *convolution(d, d, 3), nn.ReLU(inplace=True)) for d in narrow
        )
        self.hidden = nn.ModuleDict()
        self.out = nn.ModuleDict()
        self.plan: dict[str, tuple[int, tuple[Head, ...]]] = {}
        self.branch = nn.ModuleDict()
        for (key, level), group in groupby(heads, key=lambda head: _key(head, apart, branches)):
            task = key.split("@")[0]
            if task in branches:
                self.branch[key] = Branch(widths, level)
            self._add(key, level, tuple(group), BRANCH_WIDTH if task in branches else narrow[level])

    def _add(self, key: str, level: int, group: tuple[Head, ...], wide: int) -> None:
        self.plan[key] = (level, group)
        self.hidden[key] = nn.Sequential(*convolution(wide, wide, 3), nn.ReLU(inplace=True))
        self.out[key] = nn.Conv2d(wide, sum(_channels(head, level) for head in group), 1)

    @property
    def eight_bits(self) -> tuple[str, ...]:
        """Parts whose convolutions may be computed in eight bits (nets/ranges.py): those at strides 2 and 4.

        They are three quarters of all operations. The coarse part of the decoder costs little, and lumina lose by it.
        """
        hidden = (f"hidden.{key}" for key, (level, _) in self.plan.items() if level <= 1 and key not in self.branch)
        return ("encoder.fine", "blend.0", "blend.1", *hidden)

    def taps(self, x: Tensor) -> list[Tensor]:
        """The encoder's features at strides 2, 4, 8, 16, 32."""
        taps: list[Tensor] = self.encoder(self._scaled(x))
        return taps

    def _scaled(self, x: Tensor) -> Tensor:
        return (x.to(next(self.parameters()).dtype) - 127.0) / 128.0

    def decoded(self, taps: list[Tensor], rows: Mapping[int, Tensor] | None = None) -> list[Tensor]:
        """Decoded features at the same strides; `rows` names the images that a level is wanted of."""
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
        return self._logits(self.taps(x), rows)

    def features(self, x: Tensor) -> Tensor:
        """What the encoder sees at strides 16 and 32, float32 [n, code, y / 32, x / 32]; no more of it is computed."""
        coarse = getattr(self.encoder, "coarse", self.encoder)
        return _at_coarsest(coarse(self._scaled(x)))

    def with_features(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The same beside the logits of all maps, in one pass."""
        taps = self.taps(x)
        return self._logits(taps, None), _at_coarsest(taps)

    def _logits(self, taps: list[Tensor], rows: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        wanted = None if rows is None else self._wanted(rows, torch.arange(len(taps[0]), device=taps[0].device))
        features = self.decoded(taps, wanted)
        logits: dict[str, Tensor] = {}
        for key, (level, group) in self.plan.items():
            asked = None if rows is None else rows.get(key.split("@")[0])
            if rows is not None and (asked is None or len(asked) == 0):
                continue
            if key in self.branch:
                feature = self.branch[key](taps if asked is None else [tap[asked] for tap in taps])
            else:
                feature = features[level]
                if asked is not None and wanted is not None:
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
        levels = [(key.split("@")[0], level) for key, (level, _) in self.plan.items() if key not in self.branch]
        for i in range(4):
            asked = [rows[task] for task, level in levels if level <= i and task in rows]
            wanted[i] = torch.unique(torch.cat(asked)) if asked else every[:0]
        return wanted


def _at_coarsest(taps: list[Tensor]) -> Tensor:
    """The last two levels (strides 16 and 32) side by side at the coarser: means over its cells."""
    fine, coarse = (tap.float() for tap in taps[-2:])
    return torch.cat([functional.avg_pool2d(fine, 2), coarse], dim=1)


def _places(inner: Tensor, outer: Tensor) -> Tensor:
    """Where the indices of `inner` stand in `outer`; both ascend."""
    return torch.searchsorted(outer, inner)


def _key(head: Head, apart: Collection[str], branches: Collection[str]) -> tuple[str, int]:
    """The name of the layers that the head shares, "task@stride", and the level that they see."""
    task, name = head.name.split("/")
    level = max(BRANCH_LEVEL, _level(head)) if task in branches else _level(head)
    return f"{task}@{STRIDES[level]}" + (f":{name}" if head.name in apart else ""), level


def _level(head: Head) -> int:
    return STRIDES.index(max(2, head.stride))


def _channels(head: Head, level: int) -> int:
    return head.channels * (STRIDES[level] // head.stride) ** 2


def check_heads(topology: str, heads: tuple[Head, ...]) -> None:
    """Refuse maps at a resolution that the decoder does not have."""
    wrong = [head.name for head in heads if head.stride not in (1, *STRIDES)]
    if wrong:
        raise UsageError(
            what=f"{topology} has no maps at the resolution of {', '.join(wrong)}",
            mend=f"their pixels can be 1, {', '.join(map(str, STRIDES))} times the input's",
        )
