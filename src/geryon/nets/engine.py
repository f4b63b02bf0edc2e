"""Where a network runs: images in, maps of probabilities as uint8 out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from geryon import plugins
from geryon.errors import UsageError
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument
from geryon.space.boxes import Box

ENGINES = {"cpu": "geryon.nets.engines.torch_:open_cpu", "cuda": "geryon.nets.engines.cuda:open_cuda"}
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
    """The engine of that name with the network in it; "auto" takes a GPU where there is one, "cuda:1" the second."""
    if name == "auto":
        return _first_that_opens(document, tensors, heads)
    kind, _, card = name.partition(":")
    if kind in CARDS and card:
        on_card: Engine = plugins.load(ENGINES[kind])(document, tensors, heads, card)
        return on_card
    engine: Engine = plugins.find(ENGINES, "geryon.engines", name)(document, tensors, heads)
    return engine


def engines_side_by_side(name: str) -> tuple[str, ...]:
    """Names under which so many processes can open the engine at once, one each: a card each where there are several.

    >>> engines_side_by_side("cpu")
    ('cpu',)
    """
    kind = "cuda" if name == "auto" else name
    found = tuple(plugins.load(CARDS[kind])()) if kind in CARDS else ()
    return found if len(found) > 1 else (name,)


def _first_that_opens(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> Engine:
    try:
        return open_engine("cuda", document, tensors, heads)
    except UsageError:
        return open_engine("cpu", document, tensors, heads)
