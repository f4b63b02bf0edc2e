"""The network of an encoder's recipe as it is before its first step, and whose weights it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from geryon import plugins
from geryon.errors import UsageError
from geryon.nets.catalogue import find_model
from geryon.nets.encoders import GROUP, TOPOLOGIES
from geryon.nets.encoders.document import read_encoder
from geryon.nets.encoders.layered import PRESETS, preset
from geryon.nets.encoders.pooled import Lite, Timm
from geryon.nets.lite import LITE0, fill_from_imagenet
from geryon.nets.topologies import timm_
from geryon.nets.weights import SourceDocument, read_document, read_tensors
from geryon.train.encoders.recipe import EncoderRecipe
from geryon.train.source import ALLOWED

OWN_MODEL = "geryon-s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A network from patches to codes, and what its file will say of it."""

    topology: str
    settings: Mapping[str, Any]
    module: nn.Module
    seen_px: int
    """Side of what it makes of a patch first."""
    began: str = ""
    """The encoder or model whose weights it begins with, in words."""
    sources: tuple[SourceDocument, ...] = ()
    """What those weights learnt from."""
    held_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What they left out of that."""


def make_body(recipe: EncoderRecipe) -> Body:
    """The network, its first weights drawn by the recipe's seed or taken from where the recipe says.

    Raises UsageError where they do not fit, or may not be used under the recipe's licence.
    """
    torch.manual_seed(recipe.train.seed)
    chosen = recipe.encoder
    topology, settings, seen_px = _described(recipe)
    module: nn.Module = plugins.look_up(TOPOLOGIES, GROUP, topology)(settings)
    body = Body(topology=topology, settings=settings, module=module, seen_px=seen_px)
    start = chosen.start or (OWN_MODEL if chosen.body == OWN_MODEL else "")
    if start == "imagenet":
        if not isinstance(module, Lite):
            raise _no_start(f"{chosen.body} has no ImageNet weights")
        fill_from_imagenet(module.stages, LITE0)
        return body
    if not start:
        return body
    if isinstance(module, Timm) and not start.endswith(".safetensors"):
        document = timm_.read_start(start)
        _check_use(document.use, start, recipe)
        module.start_from(start)
        return _began(body, document.name, document.sources, {})
    return _from_model(body, start, recipe) if chosen.body == OWN_MODEL else _from_encoder(body, Path(start), recipe)


def _described(recipe: EncoderRecipe) -> tuple[str, dict[str, Any], int]:
    """Topology, settings and what it sees first."""
    name, code, side = recipe.encoder.body, recipe.encoder.code, recipe.patch_px
    if name in PRESETS:
        return "layered", {**preset(name, code), "patch_px": side}, side // 2 if name == "nic-64" else side
    if name == "mean-rgb":
        return "layered", {"patch_px": side, "layers": [{"kind": "mean"}]}, side
    backbone, pool = {"lite0": ("lite0", 2), "lite0-128": ("lite0", 1)}.get(name, (name, 1))
    settings: dict[str, Any] = {"backbone": backbone, "patch_px": side, "pool": pool, "code": code}
    if name == OWN_MODEL:
        told = read_document(find_model(recipe.encoder.start or OWN_MODEL)).settings
        settings["net"] = {key: told[key] for key in ("encoder", "fine") if key in told}
    return "pooled", settings, side // pool


def _from_model(body: Body, start: str, recipe: EncoderRecipe) -> Body:
    """Weights of a geryon-s model's encoder."""
    path = find_model(start)
    document, tensors = read_document(path), read_tensors(path)
    _check_use(document.use, start, recipe)
    fill(body.module, {name: value for name, value in tensors.items() if name.startswith("encoder.")}, start, "dense.")
    began = f"{document.name} {document.version}"
    return _began(body, began, document.sources, document.held_out)


def _from_encoder(body: Body, path: Path, recipe: EncoderRecipe) -> Body:
    """Weights of another encoder of this body."""
    document, tensors = read_encoder(path)
    _check_use(document.use, str(path), recipe)
    fill(body.module, tensors, str(path))
    return _began(body, f"{document.name} {document.version}", document.sources, document.held_out)


def _began(body: Body, began: str, sources: tuple[SourceDocument, ...], held_out: Mapping[str, Any]) -> Body:
    return Body(
        topology=body.topology,
        settings=body.settings,
        module=body.module,
        seen_px=body.seen_px,
        began=began,
        sources=sources,
        held_out=dict(held_out),
    )


def _check_use(use: str, start: str, recipe: EncoderRecipe) -> None:
    if use not in (*ALLOWED[recipe.licence], *((recipe.licence,) if recipe.licence == "experiment" else ())):
        raise UsageError(
            what=f"{start} is for {use} use, the recipe's licence is {recipe.licence}",
            where="encoder.start",
            mend="start from another, or write that licence",
        )


def fill(module: nn.Module, given: Mapping[str, np.ndarray], where: str, own: str = "-") -> None:
    """Take all weights of a module from these arrays, but those whose names begin with `own`."""
    state = module.state_dict()
    wanted = {name for name in state if not name.startswith(own) and not name.endswith("num_batches_tracked")}
    wrong = [name for name in sorted(wanted) if name not in given or given[name].shape != tuple(state[name].shape)]
    if wrong:
        raise _no_start(f"{len(wrong)} weights do not fit this body, such as {wrong[0]}", where)
    for name in wanted:
        state[name].copy_(torch.from_numpy(given[name].astype(np.float32)))


def _no_start(what: str, where: str = "encoder.start") -> UsageError:
    return UsageError(what=what, where=where, mend="choose another encoder.start, or leave it out")
