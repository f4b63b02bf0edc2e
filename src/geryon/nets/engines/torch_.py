"""The torch engine, on processors and on CUDA cards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from geryon import plugins
from geryon.errors import InputError, UsageError
from geryon.nets.engine import MapsOfWindow
from geryon.nets.topologies import TOPOLOGIES, Head
from geryon.nets.weights import ModelDocument
from geryon.space.boxes import Box

_ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda logits: torch.softmax(logits, dim=1),
    "identity": lambda values: values.clamp(0, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchEngine:
    """A network in torch, its batch norms folded into the convolutions, channels last."""

    name: str
    lanes: int
    batch: int
    precision: str
    network: nn.Module
    activations: Mapping[str, str]
    device: torch.device
    dtype: torch.dtype

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images)))
        with torch.inference_mode(), one_thread() if self.device.type == "cpu" else nullcontext():
            x = stacked.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            logits = self.network(x.to(dtype=self.dtype))
            bytes_of = {
                name: self._quantised(name, value) for name, value in logits.items() if name in self.activations
            }
        return [{name: value[i] for name, value in bytes_of.items()} for i in range(len(images))]

    def _quantised(self, name: str, logits: torch.Tensor) -> np.ndarray:
        p = _ACTIVATIONS[self.activations[name]](logits.float())
        return np.ascontiguousarray((p * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def open_cpu(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> TorchEngine:
    """On this machine's processors: one thread a lane, as many lanes as cores that may be used.

    bfloat16 is taken only where the processor multiplies it in tiles (AMX); elsewhere it is slower.
    """
    amx = has_amx()
    return _open(document, tensors, heads, ("cpu", torch.bfloat16 if amx else torch.float32, usable_cores(), 1))


def open_cuda(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> TorchEngine:
    """On the first CUDA card, in bfloat16."""
    if not torch.cuda.is_available():
        raise UsageError(what="no CUDA card can be used here", mend="leave --engine out, or --engine cpu")
    return _open(document, tensors, heads, ("cuda", torch.bfloat16, 2, 8))


def _open(
    document: ModelDocument,
    tensors: Mapping[str, np.ndarray],
    heads: tuple[Head, ...],
    how: tuple[str, torch.dtype, int, int],
) -> TorchEngine:
    device, dtype, lanes, batch = how
    network = filled(document, tensors, heads)
    fold_batch_norms(network)
    network = network.to(device=torch.device(device), dtype=dtype).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TorchEngine(
        name=device,
        lanes=lanes,
        batch=batch,
        precision=str(dtype).removeprefix("torch."),
        network=network,
        activations={f"{t.name}/{m.name}": m.activation for t in document.task_values() for m in t.maps},
        device=torch.device(device),
        dtype=dtype,
    )


def filled(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> nn.Module:
    """The network of the document with its weights; every fault of the weights at once."""
    network = _built(document, heads)
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    faults = [f"{k} is missing" for k in wanted if k not in tensors]
    faults += [
        f"{k} is {tuple(tensors[k].shape)}, not {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in tensors and tuple(tensors[k].shape) != tuple(v.shape)
    ]
    if faults:
        raise InputError(
            what=f"the weights do not fit the topology {document.topology!r}: {'; '.join(faults[:3])}"
            + (f" and {len(faults) - 3} more" if len(faults) > 3 else ""),
            where=document.name,
            mend="use the weights file as it was written, or convert it with geryon import-weights",
        )
    state = {k: torch.from_numpy(np.array(tensors[k], dtype=np.float32)) for k in wanted}
    network.load_state_dict(state, strict=False)
    return network.eval()


def _built(document: ModelDocument, heads: tuple[Head, ...]) -> nn.Module:
    """The topology comes out of a file: looked up, never imported; what it refuses is then the file's fault."""
    try:
        network: nn.Module = plugins.look_up(TOPOLOGIES, "geryon.topologies", document.topology)(
            document.settings, heads
        )
    except UsageError as error:
        raise InputError(
            what=f"its network can't be built: {error.what}", where=document.name, mend="use the file as it was written"
        ) from error
    return network


def fold_batch_norms(network: nn.Module) -> None:
    """Put each batch norm into the convolution that its module lists just before it, as all topologies here do.

    A module that says `keeps_norms` is left as it is: networks of others list their layers in orders of their own.
    """
    if getattr(network, "keeps_norms", False):
        return
    names = list(network._modules)
    for a, b in zip(names, names[1:], strict=False):
        first, second = network._modules[a], network._modules[b]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            network._modules[a] = nn.utils.fuse_conv_bn_eval(first.eval(), second.eval())
            network._modules[b] = nn.Identity()
    for child in network.children():
        fold_batch_norms(child)


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


def has_amx() -> bool:
    """True where the processor has AMX tiles for bfloat16."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return "amx_bf16" in file.read()
    except OSError:
        return False


def usable_cores() -> int:
    """Cores that this process may use: by its affinity and by the cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, cores)
