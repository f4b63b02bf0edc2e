"""The torch engine on processors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from geryon.nets.cores import has_amx, usable_cores
from geryon.nets.engine import MapsOfWindow
from geryon.nets.network import BytesNetwork, bytes_network
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument
from geryon.space.boxes import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchEngine:
    """A network in torch, channels last."""

    name: str
    lanes: int
    batch: int
    precision: str
    network: BytesNetwork

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images)))
        with torch.inference_mode(), one_thread():
            found = [value.contiguous().numpy() for value in self.network(stacked)]
        return [dict(zip(self.network.names, each, strict=True)) for each in zip(*found, strict=True)]


def open_cpu(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> TorchEngine:
    """On this machine's processors: one thread a lane, as many lanes as cores that may be used.

    bfloat16 is taken only where the processor multiplies it in tiles (AMX); elsewhere it is slower.
    """
    network = bytes_network(document, tensors, heads, torch.bfloat16 if has_amx() else torch.float32)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = str(network.dtype).removeprefix("torch.")
    return TorchEngine(name="cpu", lanes=usable_cores(), batch=1, precision=precision, network=network)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch computes in the calling thread alone, since the lanes are the threads; then as before.

    A thread of ours that first comes here while another is within sees 1 and leaves it; whoever saw the process's
    number puts it back.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
