"""Kinds of models of slides: the network of each, what it sees of a volume, and how it is trained by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from geryon import plugins
from geryon.cohort.document import SlideModelDocument, read_slide_model
from geryon.cohort.network import WIDTH, CompressedCNN, GatedAttention, Last, MeanLinear, ObjectsOnly
from geryon.cohort.targets import get_target
from geryon.errors import InputError, UsageError

HEADS = ("mean", "flat")
SEES = ("crops", "bags", "means", "nothing")
"""What a model sees of a volume: squares of cells; cells without places; their mean alone; objects only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a model of slides is built, trained and asked."""

    cells: int = 400
    """Side of the CNN's crops, in cells (paper: 400)."""
    head: str = "mean"
    """Of the CNN: "mean" of its last map over tissue, or "flat": the whole map."""
    instances: int = 4096
    """Most cells of a bag in a training step; all are seen when it is asked."""
    batch: int = 16
    """Slides a step (paper: 16)."""
    rate: float = 1e-2
    """First learning rate of Adam (paper: 1e-2); a tenth of it after each plateau."""
    least_rate: float = 1e-5
    """Training ends where the rate would fall below this (paper: 1e-5)."""
    patience: int = 8
    """Epochs without a lower validation loss before the rate falls."""
    epochs: int = 200
    """Most epochs; an epoch sees each training slide once."""
    decay: float = 1e-5
    """L2 of kernels: decay times the sum of their squares is added to the loss (paper: 1e-5)."""
    validation_crops: int = 2
    """Crops of each slide that validate after every epoch, always the same."""
    test_crops: int = 10
    """Crops of each slide when it is asked (paper: 10), each in all eight turns."""

    def faults(self) -> list[str]:
        """What can't be, in words."""
        least = {"cells": 2, "instances": 2, "batch": 2, "patience": 1, "epochs": 1}
        least |= {"validation_crops": 1, "test_crops": 1}
        found = [f"{name} is {getattr(self, name)}, must be {low} or more" for name, low in least.items()
                 if getattr(self, name) < low]  # fmt: skip
        if not 0 < self.least_rate <= self.rate:
            found.append(f"rate is {self.rate:g}, must be above 0 and not below {self.least_rate:g}")
        return found + ([] if self.head in HEADS else [f"head is {self.head!r}, must be one of {', '.join(HEADS)}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of model."""

    name: str
    sees: str
    """One of SEES."""
    network: Callable[[int, Last, Settings], nn.Module]
    """(code, output layer, settings) -> network."""
    width: Callable[[int], int]
    """Code -> features that the output layer takes."""
    is_convex: bool = False
    """Whether it is solved to its one optimum in place of being trained by steps."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ."""

    def settings(self, given: Mapping[str, Any]) -> Settings:
        """The defaults with what is given in their place; UsageError tells all that can't be."""
        settings = replace(Settings(), **{**self.defaults, **given})
        if found := settings.faults():
            raise UsageError(what="; ".join(found), mend="see geryon slides fit --help")
        return settings


CNN = Kind(
    name="cnn",
    sees="crops",
    network=lambda code, last, s: CompressedCNN(code, last, flat_cells=s.cells if s.head == "flat" else 0),
    width=lambda code: WIDTH,
)
ATTENTION = Kind(
    name="attention",
    sees="bags",
    network=lambda code, last, s: GatedAttention(code, last),
    width=lambda code: WIDTH,
    # The rate of the CNN is its batch norms'; without them attention does not settle at it.
    defaults={"rate": 1e-3},
)
MEAN = Kind(
    name="mean",
    sees="means",
    network=lambda code, last, s: MeanLinear(code, last),
    width=lambda code: code,
    is_convex=True,
)
OBJECTS = Kind(
    name="objects",
    sees="nothing",
    network=lambda code, last, s: ObjectsOnly(last),
    width=lambda code: 0,
    is_convex=True,
)

GROUP = "geryon.slide_models"
MODELS = {
    "cnn": "geryon.cohort.models:CNN",
    "attention": "geryon.cohort.models:ATTENTION",
    "mean": "geryon.cohort.models:MEAN",
    "objects": "geryon.cohort.models:OBJECTS",
}


def get_kind(name: str) -> Kind:
    """The kind of model of that name; UsageError lists those there are."""
    kind: Kind = plugins.look_up(MODELS, GROUP, name)
    return kind


def network_of(document: SlideModelDocument) -> nn.Module:
    """A new network as the document describes it."""
    kind, target = get_kind(document.model), get_target(document.target.kind)
    last = Last(
        kind.width(document.code),
        target.outputs(document.target),
        measures=len(document.objects),
        ordered=target.is_ordered,
    )
    return kind.network(document.code, last, settings_of(document))


def settings_of(document: SlideModelDocument) -> Settings:
    """The settings that a document keeps; what this version does not know is left out."""
    known = {f.name for f in fields(Settings)}
    return Settings(**{name: value for name, value in document.settings.items() if name in known})


def kept(settings: Settings) -> dict[str, Any]:
    """The settings as a document keeps them."""
    return asdict(settings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideModel:
    """A trained model of slides: one network a member, in the document's order, set to answer."""

    document: SlideModelDocument
    networks: tuple[nn.Module, ...]


def load_slide_model(path: str | Path) -> SlideModel:
    """The model of slides in a file, or in the folder of a run of `geryon slides fit`."""
    path = model_path(path)
    document, members = read_slide_model(path)
    try:
        networks = tuple(filled(network_of(document), tensors) for tensors in members)
    except (UsageError, TypeError, RuntimeError) as error:
        told = str(error).splitlines()[0]
        raise InputError(
            what=f"its tensors do not fit its document: {told}", where=str(path), mend="use the file as it was written"
        ) from error
    return SlideModel(document=document, networks=networks)


def model_path(path: str | Path) -> Path:
    """The file of a model, which may be given as the folder of its run."""
    return Path(path) / FILE if Path(path).is_dir() else Path(path)


FILE = "slide_model.safetensors"
"""In the folder of a run."""


def filled(network: nn.Module, tensors: Mapping[str, np.ndarray]) -> nn.Module:
    """The network with these weights, set to answer."""
    state = {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
    known = network.state_dict()
    network.load_state_dict({**{k: v for k, v in known.items() if k.endswith("num_batches_tracked")}, **state})
    return network.eval()


def tensors_of(network: nn.Module) -> dict[str, np.ndarray]:
    """The weights, on the processor."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}
