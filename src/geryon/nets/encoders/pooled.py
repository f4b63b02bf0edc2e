"""Encoders made of a backbone, the mean over what it sees, and one dense layer.

| backbone | what |
| --- | --- |
| lite0 | EfficientNet-Lite0 to stride 32 (nets/lite.py) |
| geryon-s | that model's own encoder, so that its weights can start here: means at strides 8, 16 and 32 |
| timm:NAME | a model of timm with its own pooling (extra `encoders`) |

`pool` x `pool` pixels become their mean first. Images are then scaled as our models scale them, to (RGB - 127) / 128;
those of timm by the mean and spread that are kept with the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geryon.errors import UsageError
from geryon.nets.encoders.timm_ import TimmCodes
from geryon.nets.lite import LITE0, lite_stages
from geryon.nets.topologies import geryon_s, timm_, whole_numbers

TIMM = "timm:"
LEVELS = 3
"""Of geryon-s' five: the coarsest, of strides 8, 16 and 32."""


class Lite(nn.Module):
    """Lite0's stages, and the mean of the last."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.patch_px, self.code = settings["patch_px"], settings["code"]
        self.pool, self.stages = _pool(settings), lite_stages(LITE0)
        self.dense = nn.Linear(LITE0.widths[-1], self.code)

    def forward(self, patches: Tensor) -> Tensor:
        x = _scaled(self.pool(_floats(patches)))
        for stage in self.stages:
            x = stage(x)
        codes: Tensor = self.dense(x.mean(dim=(2, 3)))
        return codes


class Own(nn.Module):
    """The encoder of geryon-s, and the means of its coarse features."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.patch_px, self.code = settings["patch_px"], settings["code"]
        chosen = {**geryon_s.DEFAULTS, **settings.get("net", {})}
        self.pool, self.encoder = _pool(settings), geryon_s.ENCODERS[chosen["encoder"]](chosen)
        self.dense = nn.Linear(sum(self.encoder.widths[-LEVELS:]), self.code)

    def forward(self, patches: Tensor) -> Tensor:
        levels = self.encoder(_scaled(self.pool(_floats(patches))))[-LEVELS:]
        codes: Tensor = self.dense(torch.cat([level.mean(dim=(2, 3)) for level in levels], dim=1))
        return codes


class Timm(nn.Module):
    """A model of timm without its classes."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.patch_px, self.code = settings["patch_px"], settings["code"]
        name = settings["backbone"].removeprefix(TIMM)
        self.asked = timm_.asked_of(name)
        self.pool, self.inner = _pool(settings), TimmCodes(timm_.created(name, {}, self.asked), self.patch_px)
        self.dense = nn.Linear(self.inner.code, self.code)

    def start_from(self, place: str) -> None:
        """Fill the model with the weights of timm at a folder or a place of the hub, and scale images as they want."""
        timm_.fill_from(self.inner.model, place, {}, self.asked)
        self.inner = TimmCodes(self.inner.model, self.patch_px)

    def forward(self, patches: Tensor) -> Tensor:
        codes: Tensor = self.dense(self.inner(self.pool(_floats(patches))))
        return codes


def _pool(settings: Mapping[str, Any]) -> nn.Module:
    return nn.AvgPool2d(settings["pool"]) if settings["pool"] > 1 else nn.Identity()


def _floats(patches: Tensor) -> Tensor:
    return patches if patches.is_floating_point() else patches.float()


def _scaled(x: Tensor) -> Tensor:
    """RGB 0..255 as our models see it."""
    return (x - 127.0) / 128.0


def build(settings: Mapping[str, Any]) -> nn.Module:
    """The network of {"backbone", "patch_px", "pool", "code"}; of geryon-s also "net", its `encoder` and `fine`.

    It takes patches (uint8 or float, RGB 0..255, NCHW, side `patch_px`) and gives codes (float [n, `code`]).
    """
    wrong = _said(settings)
    if wrong:
        raise UsageError(what=wrong, where="settings of the encoder", mend="nets/encoders/pooled.py lists them")
    return OWN.get(settings["backbone"], Timm)(settings)


OWN: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {"lite0": Lite, "geryon-s": Own}


def _said(settings: Mapping[str, Any]) -> str:
    names = ("backbone", "patch_px", "pool", "code")
    if {*settings, "net"} != {*names, "net"}:
        return f"its settings must be {', '.join(names)}, and net where the backbone takes any"
    name, net = settings["backbone"], settings.get("net", {})
    if name not in OWN and not (isinstance(name, str) and name.startswith(TIMM)):
        return f"there is no backbone {name!r} (there are: {', '.join(OWN)}, {TIMM}NAME)"
    known = {"encoder": lambda v: v in geryon_s.ENCODERS, "fine": lambda v: not whole_numbers(2, 1024)(v)}
    if not isinstance(net, Mapping) or any(key not in known or not known[key](value) for key, value in net.items()):
        return f"net is {net!r}, must be settings of geryon-s: encoder, fine"
    most = {"patch_px": 4096, "pool": 8, "code": 65_536}
    bad = [key for key, top in most.items() if type(settings[key]) is not int or not 1 <= settings[key] <= top]
    if not bad and (settings["patch_px"] // settings["pool"]) % 32:
        return f"patch_px {settings['patch_px']} over pool {settings['pool']} is no multiple of 32"
    return f"{', '.join(bad)}: must be a whole number in reason" if bad else ""
