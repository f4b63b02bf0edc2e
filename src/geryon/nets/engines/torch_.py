"""The torch engine, on processors and on CUDA cards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from geryon.errors import UsageError
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
    device: torch.device

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images)))
        with torch.inference_mode(), one_thread() if self.device.type == "cpu" else nullcontext():
            found = [value.contiguous().cpu().numpy() for value in self.network(stacked.to(self.device))]
        return [dict(zip(self.network.names, each, strict=True)) for each in zip(*found, strict=True)]


def open_cpu(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> TorchEngine:
    """On this machine's processors: one thread a lane, as many lanes as cores that may be used.

    bfloat16 is taken only where the processor multiplies it in tiles (AMX); elsewhere it is slower.
    """
    dtype = torch.bfloat16 if has_amx() else torch.float32
    return _engine(bytes_network(document, tensors, heads, dtype), torch.device("cpu"), lanes=usable_cores(), batch=1)


def open_cuda(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> TorchEngine:
    """On the first CUDA card, in bfloat16."""
    if not torch.cuda.is_available():
        raise UsageError(what="no CUDA card can be used here", mend="leave --engine out, or --engine cpu")
    network = bytes_network(document, tensors, heads, torch.bfloat16)
    return _engine(network, torch.device("cuda"), lanes=2, batch=8)


def _engine(network: BytesNetwork, device: torch.device, *, lanes: int, batch: int) -> TorchEngine:
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = str(network.dtype).removeprefix("torch.")
    return TorchEngine(name=device.type, lanes=lanes, batch=batch, precision=precision, network=network, device=device)


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
