"""Several processes that learn together, one a card: what they must add up, and what they must agree on.

Each process sees its own crops of every batch. Losses are functions of sums over crops, and those sums are added
over the processes before a loss is taken; gradients are added after it. So the step is that of one process with
the whole batch, up to the order of additions. Batch norms are the exception: each process normalises by its own
crops, and running statistics are averaged after the step. With frozen norms nothing differs.

Started by torchrun, which sets RANK, LOCAL_RANK and WORLD_SIZE; without it all of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

PATIENCE = timedelta(hours=6)
"""Packing and validation are the first process' work alone; the others wait for it this long."""


def rank() -> int:
    """The number of this process, 0 for the first, which writes and tells."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """How many processes learn together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_card() -> int:
    """The number of the card on this machine that is this process' own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def joined(device: str) -> Iterator[None]:
    """With the processes that torchrun started beside this one, where it did; `device` is "cuda" or "cpu"."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(local_card())
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def is_first() -> bool:
    """True in the process that writes and tells, before it has joined the others, too."""
    return int(os.environ.get("RANK", "0")) == 0 or int(os.environ.get("WORLD_SIZE", "1")) < 2


@contextmanager
def first_alone() -> Iterator[None]:
    """What the first process does before all others do the same and find it done."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        distributed.barrier()


def agreed(values: Sequence[float], device: torch.device) -> list[float]:
    """The first process' numbers, in every process."""
    if count() == 1:
        return list(values)
    told = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return told.tolist()


def add_sums(sums: Mapping[str, Tensor], known: Sequence[str]) -> dict[str, Tensor]:
    """Sums [k] of each map added over the processes, of those maps that any process knows (`known`: this one).

    Every process gives the same maps in the same order. Their values are those of all, their gradients lead back
    to the process' own crops only: adding the gradients of the weights (add_gradients) makes them whole.
    """
    if count() == 1:
        return {name: sums[name] for name in known}
    flags = torch.stack([each.new_tensor(float(name in known)) for name, each in sums.items()])
    own = torch.cat([flags, *sums.values()])
    total = own.detach().clone()
    distributed.all_reduce(total)
    parts = (total + (own - own.detach())).split([len(flags), *(len(each) for each in sums.values())])
    somewhere = parts[0].tolist()
    return {name: part for name, part, n in zip(sums, parts[1:], somewhere, strict=True) if n > 0}


@torch.no_grad()
def add_gradients(network: nn.Module) -> None:
    """Add the gradients over the processes; a weight that none has a gradient for keeps none."""
    if count() == 1:
        return
    weights = [p for p in network.parameters() if p.requires_grad]
    has = torch.tensor([float(p.grad is not None) for p in weights], device=weights[0].device)
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in weights]
    flat = torch.cat([has, *(gradient.reshape(-1) for gradient in own)])
    distributed.all_reduce(flat)
    parts = flat.split([len(weights), *(p.numel() for p in weights)])
    for weight, part, n in zip(weights, parts[1:], parts[0].tolist(), strict=True):
        weight.grad = torch.empty_like(weight).copy_(part.view(weight.shape)) if n > 0 else None


@torch.no_grad()
def average_statistics(network: nn.Module) -> None:
    """Replace running statistics by their mean over the processes; those of frozen norms stay."""
    learning = [module for module in network.modules() if module.training]
    kept = [b for module in learning for b in module.buffers(recurse=False) if b.is_floating_point()]
    if count() == 1 or not kept:
        return
    flat = torch.cat([b.reshape(-1) for b in kept])
    distributed.all_reduce(flat)
    for buffer, part in zip(kept, (flat / count()).split([b.numel() for b in kept]), strict=True):
        buffer.copy_(part.view(buffer.shape))
