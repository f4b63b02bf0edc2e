"""Encoders of the package timm: a whole network up to the vector before its classes.

Weights come from a folder or a hub, by the rules of nets/topologies/timm_.py; patches are scaled as they were trained.
What µm per pixel that was is not said there: 0.5 is taken, as the pathology encoders of that kind have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geryon.errors import InputError, UsageError
from geryon.nets.encoders.document import MOST_PX, EncoderDocument
from geryon.nets.topologies import check_settings
from geryon.nets.topologies.timm_ import arguments_said, config_of, created, read_start, weights_at

ASKED = {"num_classes": 0}
IDLE = ("num_classes", "in_chans", "dynamic_img_size")
"""Arguments that make no difference to codes of RGB patches of one size."""
POOLS = ("avg", "max", "avgmax", "catavgmax", "token", "map")
PATCH_PX, MPP = 224, 0.5


class TimmCodes(nn.Module):
    """Patches (uint8 or float, RGB 0..255, NCHW, side `patch_px`) to codes (float [n, `code`])."""

    mean: Tensor
    std: Tensor
    """Of RGB in 0..1, float32 [3, 1, 1]: what the weights were trained with."""
    keeps_norms = True

    def __init__(self, model: Any, patch_px: int) -> None:
        super().__init__()
        self.model = model
        self.patch_px = patch_px
        with torch.no_grad():
            shape = model.eval()(torch.zeros((1, 3, patch_px, patch_px))).shape
        if len(shape) != 2:
            raise UsageError(
                what=f"it gives {list(shape)} of a patch, not a code",
                where="settings of the encoder",
                mend="choose an encoder that ends with a vector",
            )
        self.code = int(shape[1])
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(model.pretrained_cfg[name], dtype=torch.float32).view(3, 1, 1))

    def forward(self, patches: Tensor) -> Tensor:
        codes: Tensor = self.model((patches.float() / 255.0 - self.mean) / self.std)
        return codes


def build(settings: Mapping[str, Any]) -> nn.Module:
    """The network of {"encoder": a name of timm, "patch_px", "arguments" of it}, with random weights."""
    chosen = {"arguments": {}, "patch_px": PATCH_PX, **settings}
    check_settings(
        chosen,
        {
            "encoder": lambda name: "" if isinstance(name, str) and name else "must be a name of timm",
            "patch_px": lambda n: "" if type(n) is int and 1 <= n <= MOST_PX else "must be a whole number of pixels",
            "arguments": _said,
        },
    )
    if "encoder" not in chosen:
        raise UsageError(what="names no encoder", where="settings", mend="give encoder: a name of timm")
    return TimmCodes(created(chosen["encoder"], chosen["arguments"], ASKED), chosen["patch_px"])


def _said(given: Any) -> str:
    """What is said against arguments of a timm network: those of nets/topologies/timm_.py, and global_pool."""
    if isinstance(given, Mapping) and given.get("global_pool", "avg") not in POOLS:
        return f"global_pool must be one of {', '.join(POOLS)}"
    rest = {k: v for k, v in given.items() if k != "global_pool"} if isinstance(given, Mapping) else given
    return arguments_said(rest)


def import_timm(place: str) -> tuple[dict[str, np.ndarray], EncoderDocument]:
    """Tensors and document of the weights in a folder (config.json, model.safetensors) or on the Hugging Face hub.

    `place` is a folder, OWNER/NAME, or a NAME of timm's own.
    """
    place = place if "/" in place or Path(place).is_dir() else f"timm/{place}"
    terms, config = read_start(place), config_of(place)
    arguments = {k: v for k, v in (config.get("model_args") or {}).items() if k not in IDLE}
    if said := _said(arguments):
        raise InputError(
            what=f"its network can't be built here: {said}", where=f"timm:{place}", mend="choose another encoder"
        )
    try:
        model = created(weights_at(place), arguments, ASKED, pretrained=True)
        side = int(model.pretrained_cfg["input_size"][-1])
        network = TimmCodes(model, side)
    except UsageError:
        raise
    except Exception as error:  # what a hub, a damaged file or a wrong shape raise has no common class
        raise InputError(
            what=f"its weights can't be taken: {' '.join(str(error).split())[:300]}",
            where=f"timm:{place}",
            mend="fetch or copy the files again",
        ) from error
    document = EncoderDocument(
        name=f"timm-{Path(place).name}",
        version="published",
        topology="timm",
        settings={"encoder": config["architecture"], "patch_px": side, "arguments": arguments},
        mpp=MPP,
        patch_px=side,
        code=network.code,
        sources=terms.sources,
        use=terms.use,
    )
    return {k: v.numpy() for k, v in network.state_dict().items()}, document
