"""Where a network runs: images in, maps of probabilities as uint8 out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from geryon import plugins
from geryon.errors import MissingPartError, UsageError
from geryon.nets.cores import has_cuda_driver
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument
from geryon.space.boxes import Box

ENGINES = {
    "cpu": "geryon.nets.engines.torch_:open_cpu",
    "openvino": "geryon.nets.engines.openvino_:open_openvino",
    "openvino-float32": "geryon.nets.engines.openvino_:open_float32",
    "cuda": "geryon.nets.engines.cuda:open_cuda",
}
"""Entry points of the group geryon.engines add to it."""

CARDS = {"cuda": "geryon.nets.engines.cuda:cards"}
"""Engines that run on one card, and what lists the cards; ENGINE:CARD is the engine on that one."""

MapsOfWindow = dict[str, np.ndarray]
"""{"task/map": uint8 [y, x, channel]}"""


class Engine(Protocol):
    """One loaded network; `lanes` threads may call it at once, each with up to `batch` images."""

    name: str
    lanes: int
    batch: int
    precision: str

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        """The maps of images of one size (uint8 [y, x, 3], sides multiples of the network's stride).

        `places` are their boxes in the work frame; networks do not look at them, an oracle does.
        """
        ...


def open_engine(
    name: str, document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]
) -> Engine:
    """The engine of that name with the network in it; "auto" takes the fastest that there is here (docs/engines.md).

    That is a CUDA card, then OpenVINO, then torch on the processors: facts of the machine and no stopwatch, so that
    the same machine always chooses the same. "cuda:1" is the second card.
    """
    if name != "auto":
        kind, _, card = name.partition(":")
        on_card = kind in CARDS and card
        opened = plugins.load(ENGINES[kind]) if on_card else plugins.find(ENGINES, "geryon.engines", name)
        engine: Engine = opened(document, tensors, heads, *([card] if on_card else []))
        return engine
    for likely in (["cuda"] if has_cuda_driver() else []) + ["openvino"]:
        try:
            return open_engine(likely, document, tensors, heads)
        except (UsageError, MissingPartError):
            continue
    return open_engine("cpu", document, tensors, heads)


def side_by_side(name: str) -> tuple[str, ...]:
    """Engines to open in as many processes: those that commas part; a card each where there are several; or the one.

    >>> side_by_side("cuda:0,cuda:0"), side_by_side("cpu")
    (('cuda:0', 'cuda:0'), ('cpu',))
    """
    if "," in name:
        return tuple(part.strip() for part in name.split(","))
    kind = "cuda" if name == "auto" and has_cuda_driver() else name
    found = tuple(plugins.load(CARDS[kind])()) if kind in CARDS else ()
    return found if len(found) > 1 else (name,)
