"""What learns: a network, the average of its weights, its optimiser, and the place where they run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from geryon.errors import UsageError
from geryon.nets.cores import has_amx
from geryon.train import processes
from geryon.train.settings import LoopSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and how precisely the network runs."""

    device: torch.device
    autocast: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """What learns: the network, the average of its weights, the balance of its tasks, and the optimiser."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    place: Place
    balance: Mapping[str, nn.Parameter] = field(default_factory=dict)
    """{map: logarithm of its variance} where the balance is learnt; no part of the model."""


def choose_place(settings: LoopSettings) -> Place:
    """The device and precision that the settings ask for, or that this machine is best at."""
    device = device_kind(settings)
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(what="no CUDA card can be used here", where="device", mend="write device: auto")
    fast = device == "cuda" or has_amx()
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return Place(
        device=torch.device(f"cuda:{processes.local_card()}" if device == "cuda" else device),
        autocast=settings.precision == "bfloat16" or (settings.precision == "auto" and fast),
    )


def device_kind(settings: LoopSettings) -> str:
    """ "cuda" or "cpu"."""
    return settings.device if settings.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")


def set_up(network: nn.Module, settings: LoopSettings, place: Place, maps: Sequence[str] = ()) -> Learner:
    """The learner at step 0; kernels decay, norms and biases do not. `maps` are those to be balanced.

    What asks for no gradient stays as it is, and so do the statistics of its norms.
    """
    network = network.to(device=place.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    freeze_norms(network, lambda norm: not norm.weight.requires_grad)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in ((n, p) for n, p in network.named_parameters() if p.requires_grad):
        factor = next((f for start, f in settings.lr_factors.items() if name.startswith(start)), 1.0)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    learnt = maps if settings.balance == "uncertainty" else ()
    balance = {name: nn.Parameter(torch.zeros((), device=place.device)) for name in learnt}
    if balance:
        groups.setdefault((1.0, 0.0), []).extend(balance.values())
    grouped = [{"params": p, "weight_decay": decay, "factor": factor} for (factor, decay), p in groups.items()]
    optimizer = torch.optim.AdamW(grouped, lr=settings.lr, foreach=True)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    return Learner(network=network, average=average, optimizer=optimizer, place=place, balance=balance)


@torch.no_grad()
def update_average(learner: Learner, decay: float) -> None:
    """Move the averaged weights, statistics of norms included, towards the network's."""
    mean, now = learner.average.state_dict().values(), learner.network.state_dict().values()
    pairs = list(zip(mean, now, strict=True))
    torch._foreach_lerp_(
        [a for a, _ in pairs if a.is_floating_point()], [b for a, b in pairs if a.is_floating_point()], 1.0 - decay
    )
    for a, b in pairs:
        if not a.is_floating_point():
            a.copy_(b)


def freeze_norms(network: nn.Module, which: Callable[[nn.Module], bool] = lambda norm: True) -> None:
    """Let those batch norms keep their statistics until the network is trained anew."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and which(module):
            module.eval()
