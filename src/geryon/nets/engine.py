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
    "cuda": "geryon.nets.engines.torch_:open_cuda",
}
"""Entry points of the group geryon.engines add to it."""

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
    the same machine always chooses the same.
    """
    if name != "auto":
        engine: Engine = plugins.find(ENGINES, "geryon.engines", name)(document, tensors, heads)
        return engine
    for likely in (["cuda"] if has_cuda_driver() else []) + ["openvino"]:
        try:
            return open_engine(likely, document, tensors, heads)
        except (UsageError, MissingPartError):
            continue
    return open_engine("cpu", document, tensors, heads)
