"""Networks for benchmarks: a model in several engines, and in torch with float32, against which all are held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import skip
from geryon import plugins
from geryon.errors import GeryonError
from geryon.nets.catalogue import find_model
from geryon.nets.cores import usable_cores
from geryon.nets.engine import ENGINES, MapsOfWindow
from geryon.nets.model import Model, heads_of, load_model
from geryon.nets.weights import read_document, read_tensors
from geryon.space.boxes import Box

if TYPE_CHECKING:
    from torch import nn

CARDS = ("cuda",)
"""Engines that `benchmarks.gpu` measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """Torch with float32 in each lane, whatever the processor could do faster."""

    network: nn.Module
    names: tuple[str, ...]
    name: str = "torch float32"
    lanes: int = 1
    batch: int = 1
    precision: str = "float32"

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        import torch

        with torch.inference_mode():
            found = [value.contiguous().numpy() for value in self.network(torch.from_numpy(np.stack(images)))]
        return [dict(zip(self.names, each, strict=True)) for each in zip(*found, strict=True)]


def processor_engines() -> list[str]:
    """Names of the engines for processors, installed or not."""
    return [name for name in plugins.names(ENGINES, "geryon.engines") if name not in CARDS]


def opened(benchmark: str, model: str, engines: Sequence[str]) -> Iterator[tuple[str, Model]]:
    """The model in each engine, by name; a line for those that can't be opened."""
    for name in engines:
        try:
            yield name, load_model(model, engine=name)
        except GeryonError as error:
            skip(benchmark, f"the engine {name}", str(error), model=model, engine=name)


def exact(model: str) -> Model:
    """The model in torch with float32, one thread a lane, a lane a core."""
    import torch

    torch.set_num_threads(1)
    network = float32_network(model)
    engine = Exact(network=network, names=network.names, lanes=usable_cores())  # type: ignore[arg-type]
    return replace(load_model(model, engine="cpu"), engine=engine)


def float32_network(model: str) -> nn.Module:
    """The network of a model between bytes, ready to answer."""
    from geryon.nets.network import bytes_network

    path = find_model(model)
    document = read_document(path)
    return bytes_network(document, read_tensors(path), heads_of(document.task_values(), document.mpp))


def gflop_a_mpx(network: nn.Module) -> float:
    """Multiplications and additions of a network between bytes, counted by torch, a megapixel of its input."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 512, 512, 3, dtype=torch.uint8))
    return float(counter.get_total_flops()) / 512**2 / 1e3
