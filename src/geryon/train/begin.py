"""The network of a recipe, as it is before its first step: built, filled and frozen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from geryon import plugins
from geryon.errors import InputError, UsageError
from geryon.events import Tell, Warned
from geryon.nets.model import heads_of
from geryon.nets.topologies import TOPOLOGIES
from geryon.train.check import of_topology, start_tensors
from geryon.train.recipe import Recipe
from geryon.train.transfer import COUNTER, Plan, freeze


def build(recipe: Recipe, made: Plan, tell: Tell) -> nn.Module:
    """The network with a head for each map of the plan's tasks, started and frozen as the recipe says."""
    torch.manual_seed(recipe.train.seed)
    chosen = recipe.net
    make = plugins.look_up(TOPOLOGIES, "geryon.topologies", chosen.name)
    network: nn.Module = make(made.settings, heads_of(made.values(), recipe.mpp))
    own, given = of_topology(recipe, "start_from"), start_tensors(recipe)
    if chosen.start == "imagenet":
        _start_from_imagenet(network, make)
    elif own:
        own(network, made.settings, chosen.start)
    elif chosen.start:
        anew = _anew(network, given)
        start_from(network, given, chosen.start)
        if anew and chosen.freeze is not True:
            few = ", ".join(anew[:3]) + (f" and {len(anew) - 3} more" if len(anew) > 3 else "")
            mend = "; for the classes of that model write classes, or cut (docs/how-to/transfer.md)"
            tell(Warned(text=f"{few} do not start from {chosen.start}, where they are not or have other classes{mend}"))
    freeze(network, recipe, made, make, given)
    return network


def _start_from_imagenet(network: nn.Module, make: Callable[..., nn.Module]) -> None:
    start = getattr(sys.modules[make.__module__], "start_from_imagenet", None)
    if start is None:
        raise UsageError(what="this network has no ImageNet weights", where="net.start", mend="leave net.start out")
    start(network)


def _anew(network: nn.Module, given: Mapping[str, np.ndarray]) -> list[str]:
    """The weights that a model's tensors do not have in the same shape."""
    state = {name: tuple(value.shape) for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    return [name for name, shape in state.items() if name not in given or given[name].shape != shape]


def start_from(network: nn.Module, given: Mapping[str, np.ndarray], where: str) -> int:
    """Fill the weights that a model's tensors have; returns how many were there in the same shape.

    Where a layer is wider or narrower than the file's, the channels that both have are taken, so that a
    network of other widths need not begin anew.
    """
    state, whole = network.state_dict(), 0
    for name, value in state.items():
        other = given.get(name)
        if other is None or other.ndim != value.ndim:
            continue
        common = tuple(slice(0, min(a, b)) for a, b in zip(value.shape, other.shape, strict=True))
        value[common] = torch.from_numpy(other[common].astype(np.float32)).to(value.dtype)
        whole += tuple(value.shape) == other.shape
    if not whole:
        raise InputError(what="has no weight that fits this network", where=where, mend="choose another net.start")
    network.load_state_dict(state)
    return whole
