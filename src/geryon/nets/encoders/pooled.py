"""Encoders made of a backbone, the mean over what it sees, and one dense layer.

Backbones: "lite0" (EfficientNet-Lite0 to stride 32, nets/lite.py) and "geryon-s" (that model's own encoder, so that its
weights can start here). Patches are scaled as our models scale images, to (RGB - 127) / 128, after `pool` x `pool`
pixels became their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geryon.errors import UsageError
from geryon.nets.lite import LITE0, lite_stages
from geryon.nets.topologies import geryon_s, whole_numbers

BACKBONES = ("lite0", "geryon-s")
LEVELS = 3
"""Of geryon-s' five: the coarsest, of strides 8, 16 and 32."""


class Pooled(nn.Module):
    """Patches (uint8 or float, RGB 0..255, NCHW, side `patch_px`) to codes (float [n, `code`])."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        backbone, patch_px, pool, code = (settings[name] for name in ("backbone", "patch_px", "pool", "code"))
        self.patch_px, self.code = patch_px, code
        self.pool: nn.Module = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.backbone = backbone
        if backbone == "lite0":
            self.stages, wide = lite_stages(LITE0), LITE0.widths[-1]
        else:
            chosen = {**geryon_s.DEFAULTS, **settings.get("net", {})}
            self.encoder = geryon_s.ENCODERS[chosen["encoder"]](chosen)
            wide = sum(self.encoder.widths[-LEVELS:])
        self.dense = nn.Linear(wide, code)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.pool(((patches if patches.is_floating_point() else patches.float()) - 127.0) / 128.0)
        if self.backbone == "lite0":
            for stage in self.stages:
                x = stage(x)
            return self.dense(x.mean(dim=(2, 3)))
        return self.dense(torch.cat([level.mean(dim=(2, 3)) for level in self.encoder(x)[-LEVELS:]], dim=1))


def build(settings: Mapping[str, Any]) -> nn.Module:
    """The network of {"backbone", "patch_px", "pool", "code"}; of geryon-s also "net", its `encoder` and `fine`."""
    wrong = _said(settings)
    if wrong:
        raise UsageError(what=wrong, where="settings of the encoder", mend="nets/encoders/pooled.py lists them")
    return Pooled(settings)


def _said(settings: Mapping[str, Any]) -> str:
    names = ("backbone", "patch_px", "pool", "code")
    if {*settings, "net"} != {*names, "net"}:
        return f"its settings must be {', '.join(names)}, and net where the backbone takes any"
    if settings["backbone"] not in BACKBONES:
        return f"there is no backbone {settings['backbone']!r} (there are: {', '.join(BACKBONES)})"
    net = settings.get("net", {})
    known = {"encoder": lambda v: v in geryon_s.ENCODERS, "fine": lambda v: not whole_numbers(2, 1024)(v)}
    if not isinstance(net, Mapping) or any(name not in known or not known[name](value) for name, value in net.items()):
        return f"net is {net!r}, must be settings of geryon-s: encoder, fine"
    most = {"patch_px": 4096, "pool": 8, "code": 65_536}
    bad = [name for name, top in most.items() if type(settings[name]) is not int or not 1 <= settings[name] <= top]
    if not bad and (settings["patch_px"] // settings["pool"]) % 32:
        return f"patch_px {settings['patch_px']} over pool {settings['pool']} is no multiple of 32"
    return f"{', '.join(bad)}: must be a whole number in reason" if bad else ""
