"""Encoders as lists of plain layers: the networks of neural image compression (Tellez et al., TPAMI 2019, appendix).

A layer is {"kind": ..., its settings}; one after the other, from patches to codes:

| kind | settings | what |
| --- | --- | --- |
| pool | size | mean of size x size pixels, step `size` |
| conv | out, kernel, stride, padding | with bias; padding [before, after] with zeros, rows and columns alike |
| leaky_relu | slope | slope below zero; 0 makes it a ReLU |
| batch_norm | eps, momentum | momentum is the new batch's share in the running statistics, as torch has it |
| flatten | | rows, then columns, then channels, the channel fastest |
| dense | out | with bias, after flatten or mean |
| mean | | mean over rows and columns |

Patches are scaled to -1..1 (RGB / 127.5 - 1) before the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from geryon.errors import UsageError

Layer = Mapping[str, Any]
SLOPE, EPS, MOMENTUM = 0.2, 1e-3, 0.2
"""Of the published files: slope below zero, and the norms' (Keras has a momentum of 0.8, the old statistics' share)."""


def _block(out: int) -> list[Layer]:
    """A strided convolution, then the leaky ReLU, then the norm: the order of the published files."""
    return [
        {"kind": "conv", "out": out, "kernel": 3, "stride": 2, "padding": [0, 0]},
        {"kind": "leaky_relu", "slope": SLOPE},
        {"kind": "batch_norm", "eps": EPS, "momentum": MOMENTUM},
    ]


def preset(name: str, code: int = 128) -> dict[str, Any]:
    """Settings of a network of the papers, for patches of 128 px: "nic-64" or "nic-128"; codes of that length.

    "nic-64" sees 64 x 64 means of 2 x 2 pixels in four convolutions of 128 (the published multitask and BiGAN files);
    "nic-128" sees the pixels, in five of 32 to 512 (the appendix' VAE, contrastive and supervised encoders).
    """
    if name not in PRESETS:
        raise UsageError(what=f"no layers are called {name!r}", mend=f"choose one of: {', '.join(PRESETS)}")
    return {"patch_px": 128, "layers": [*PRESETS[name], {"kind": "dense", "out": code}]}


PRESETS: dict[str, list[Layer]] = {
    "nic-64": [{"kind": "pool", "size": 2}, *(layer for _ in range(4) for layer in _block(128)), {"kind": "flatten"}],
    "nic-128": [
        *(layer for out in (32, 64, 128, 256, 512) for layer in _block(out)),
        {"kind": "flatten"},
        {"kind": "dense", "out": 512},
        {"kind": "leaky_relu", "slope": SLOPE},
        {"kind": "batch_norm", "eps": EPS, "momentum": MOMENTUM},
    ],
}
"""Layers of each up to the last, dense one. Norms come after the leaky ReLU, as in the published files; the appendix
names them the other way round."""


class Flatten(nn.Module):
    """[n, channel, row, column] to [n, row * column * channel], as frameworks with the channel last do."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Mean(nn.Module):
    """[n, channel, row, column] to [n, channel]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Conv(nn.Conv2d):
    """A convolution whose borders of zeros may differ before and after (`before_after`)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, before_after: tuple[int, int]) -> None:
        super().__init__(channels, out, kernel, stride)
        self.before_after = before_after
        # As the published files were begun with (their model_config): He et al., ICCV 2015.
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.before_after
        if before or after:
            x = functional.pad(x, (before, after, before, after))
        return super().forward(x)


class Layered(nn.Module):
    """Layers one after the other behind the scaling of pixels; `patch_px` in, `code` numbers out."""

    def __init__(self, layers: Sequence[nn.Module], patch_px: int, code: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.patch_px, self.code = patch_px, code

    def forward(self, patches: Tensor) -> Tensor:
        x = (patches if patches.is_floating_point() else patches.float()) / 127.5 - 1.0
        for layer in self.layers:
            x = layer(x)
        return x


Shape = tuple[int, ...]
"""Channels, rows, columns; or the length of what is flat."""


def _pool(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    size = layer["size"]
    return nn.AvgPool2d(size), (shape[0], shape[1] // size, shape[2] // size)


def _conv(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    kernel, stride, (before, after) = layer["kernel"], layer["stride"], layer["padding"]
    side = (shape[1] + before + after - kernel) // stride + 1
    return Conv(shape[0], layer["out"], kernel, stride, (before, after)), (layer["out"], side, side)


def _leaky_relu(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.LeakyReLU(layer["slope"]), shape


def _batch_norm(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return kind(shape[0], eps=layer["eps"], momentum=layer["momentum"]), shape


def _flatten(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    return Flatten(), (shape[0] * shape[1] * shape[2],)


def _mean(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    return Mean(), shape[:1]


def _dense(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    dense = nn.Linear(shape[0], layer["out"])
    nn.init.xavier_uniform_(dense.weight)  # as the published files were begun
    nn.init.zeros_(dense.bias)
    return dense, (layer["out"],)


def _whole(least: int, most: int) -> Callable[[Any], str]:
    return lambda v: "" if type(v) is int and least <= v <= most else f"must be a whole number, {least} to {most}"


def _number(least: float, most: float) -> Callable[[Any], str]:
    return lambda v: "" if type(v) in (int, float) and least <= v <= most else f"must be {least:g} to {most:g}"


def _borders(value: Any) -> str:
    right = isinstance(value, list | tuple) and len(value) == 2 and not any(_whole(0, 64)(n) for n in value)
    return "" if right else "must be two whole numbers, 0 to 64: before and after"


_NEEDS: dict[str, tuple[dict[str, Callable[[Any], str]], bool | None, Any]] = {
    "pool": ({"size": _whole(1, 64)}, False, _pool),
    "conv": (
        {"out": _whole(1, 8192), "kernel": _whole(1, 64), "stride": _whole(1, 64), "padding": _borders},
        False,
        _conv,
    ),
    "leaky_relu": ({"slope": _number(0, 1)}, None, _leaky_relu),
    "batch_norm": ({"eps": _number(0, 1), "momentum": _number(0, 1)}, None, _batch_norm),
    "flatten": ({}, False, _flatten),
    "mean": ({}, False, _mean),
    "dense": ({"out": _whole(1, 65_536)}, True, _dense),
}
"""{kind: (what is said against each setting, whether its input must be flat (None: either), its maker)}."""
KINDS = tuple(_NEEDS)
MOST_WEIGHTS = 50_000_000
"""Of a whole network: more is a slip, and memory for it is not taken."""


def build(settings: Mapping[str, Any]) -> nn.Module:
    """The network of {"patch_px": side of a patch, "layers": list of layers}; see `preset` for those of the papers.

    UsageError names the layer that is unknown, lacks a setting, or does not fit what comes before it.
    """
    patch_px, layers = settings.get("patch_px"), settings.get("layers")
    if set(settings) != {"patch_px", "layers"} or _whole(1, 4096)(patch_px) or not isinstance(layers, list | tuple):
        raise UsageError(what="its settings must be patch_px and a list of layers", where="layers", mend=_mend())
    shape: Shape = (3, int(patch_px or 0), int(patch_px or 0))
    modules: list[nn.Module] = []
    weights = 0
    for number, layer in enumerate(layers):
        if said := _said_of(layer, shape):
            raise UsageError(what=f"layer {number} {said}", where="layers", mend=_mend())
        weights += _weights(layer, shape)
        if weights > MOST_WEIGHTS:
            raise UsageError(what=f"up to layer {number} it has {weights} weights", where="layers", mend=_mend())
        module, shape = _NEEDS[layer["kind"]][2](layer, shape)
        modules.append(module)
        if min(shape) < 1:
            raise UsageError(what=f"layer {number} ({layer['kind']}) leaves no pixels", where="layers", mend=_mend())
    if len(shape) != 1:
        raise UsageError(what="the last layer gives an image, not a code", where="layers", mend=_mend())
    return Layered(modules, int(patch_px or 0), shape[0])


def _said_of(layer: Any, shape: Shape) -> str:
    """What is wrong with a layer after what has that shape."""
    if not isinstance(layer, Mapping) or layer.get("kind") not in _NEEDS:
        return f"is of an unknown kind: {layer.get('kind') if isinstance(layer, Mapping) else layer!r}"
    settings, flat, _ = _NEEDS[layer["kind"]]
    if set(layer) != {"kind", *settings}:
        return f"({layer['kind']}) must have the settings {', '.join(settings) or '(none)'}"
    wrong = [f"{name} is {layer[name]!r}, {no}" for name, say in settings.items() if (no := say(layer[name]))]
    if not wrong and flat is not None and flat != (len(shape) == 1):
        wrong = [f"needs {'what is flat: flatten or mean before it' if flat else 'an image, and gets a flat code'}"]
    return f"({layer['kind']}): {'; '.join(wrong)}" if wrong else ""


def _weights(layer: Layer, shape: Shape) -> int:
    return int(shape[0] * layer.get("out", 0) * layer.get("kernel", 1) ** 2)


def _mend() -> str:
    return f"kinds are {', '.join(KINDS)}; nets/encoders/layered.py lists their settings"
