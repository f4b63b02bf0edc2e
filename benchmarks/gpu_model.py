"""What a card should do by arithmetic: operations and bytes of a network, and what the host can feed it.

Counted exactly: multiplications, additions and bytes of every step of a network at its own windows, halo included, and
what crosses to the card and back. Measured here, on one core: reading, and all else that a run does beside the network
(decoding, tables), with an engine that answers at once. Taken from data sheets: PEAKS. Assumed, since no card was
measured: ASSUMED. `predicted` puts them together.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_host import CORE_MM2, MPP, WINDOW_PX, Host, host_cost
from benchmarks.machine import say
from geryon.nets.model import HALO_PX
from geryon.nets.network import BytesNetwork

CARD = "H200"
PEAKS = {"bf16_dense_flop": 989e12, "memory_bytes": 4.8e12, "pcie_bytes_one_way": 64e9}
"""A second. NVIDIA, H200 Tensor Core GPU, data sheet (SXM): bf16 1,979 TFLOP/s with sparsity, half of it without;
4.8 TB/s; PCIe Gen5, 128 GB/s both ways together."""
ASSUMED: dict[str, float] = {
    "dense_convolution_of_peak": 0.4,
    "full_output_channels": 64,
    "memory_of_peak": 0.7,
    "grouped_convolution_memory_of_peak": 0.2,
    "pcie_of_peak": 0.8,
    "batch": 8,
    "seconds_a_step_of_a_graph": 3e-6,
    "cores": 16,
}
"""Shares of the peaks. A convolution with fewer output channels than a tile of the matrix units holds loses in
proportion. Grouped (depthwise) convolutions run on the plain units, and badly."""


@dataclass(slots=True)
class Step:
    """One operation on tensors."""

    name: str
    flop: float
    bytes: int
    output_channels: int = 0
    is_grouped: bool = False


class Counter(TorchDispatchMode):
    """Notes each step's bytes in and out, as single kernels move them, and the most that is held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.held = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in (out if isinstance(out, tuple | list) else [out]) if isinstance(t, torch.Tensor)]
        given = [t for a in args for t in (a if isinstance(a, tuple | list) else [a]) if isinstance(t, torch.Tensor)]
        if func.is_view:
            for view in tensors:
                view.of = given[0]  # type: ignore[attr-defined]  # so that what it looks at counts as held
            return out
        moved = sum(t.numel() * t.element_size() for t in (*given, *tensors))
        is_convolution = "convolution" in str(func)
        self.steps.append(
            Step(
                str(func),
                2.0 * tensors[0].numel() * prod(given[1].shape[1:]) if is_convolution else 0.0,
                moved,
                output_channels=tensors[0].shape[1] if is_convolution else 0,
                is_grouped=is_convolution and args[8] > 1,
            )
        )
        for fresh in tensors:
            if not any(fresh is t for t in given):
                self._hold(fresh)
        return out

    def _hold(self, fresh: torch.Tensor) -> None:
        size = fresh.numel() * fresh.element_size()
        self.held += size
        self.most = max(self.most, self.held)
        weakref.finalize(fresh, self._drop, size)

    def _drop(self, size: int) -> None:
        self.held -= size


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one window through a network in bfloat16."""

    steps: tuple[Step, ...]
    flop: float
    """By torch's own counter: multiplications and additions."""
    bytes: int
    activations: int
    """The most bytes held at once."""
    travelling: int
    """Bytes of the image and of its maps."""


def cost(network: BytesNetwork) -> Cost:
    """The network is moved to the meta device: nothing is computed, only shapes."""
    network = network.to("meta")
    images = torch.zeros((1, WINDOW_PX, WINDOW_PX, 3), dtype=torch.uint8, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as flops:
        maps = network(images)
    with torch.no_grad(), Counter() as counter:
        network(images)
    return Cost(
        steps=tuple(counter.steps),
        flop=float(flops.get_total_flops()),
        bytes=sum(step.bytes for step in counter.steps),
        activations=counter.most,
        travelling=images.numel() + sum(value.numel() for value in maps),
    )


def network_seconds(cost: Cost) -> float:
    """Of a window on the card: each step takes what its operations or its bytes take, whichever is longer."""
    total = 0.0
    for step in cost.steps:
        full = min(1.0, step.output_channels / ASSUMED["full_output_channels"])
        rate = PEAKS["bf16_dense_flop"] * ASSUMED["dense_convolution_of_peak"] * max(full, 1e-9)
        share = ASSUMED["grouped_convolution_memory_of_peak" if step.is_grouped else "memory_of_peak"]
        moving = step.bytes / (PEAKS["memory_bytes"] * share)
        computing = 0.0 if step.is_grouped else step.flop / rate
        total += max(moving, computing) + ASSUMED["seconds_a_step_of_a_graph"] / ASSUMED["batch"]
    return total


def predicted(cost: Cost, host: Host) -> dict[str, float]:
    """mm² a second of one card on large slides: each part alone, and all together.

    The end of a run counts as if one thread did it all.
    """
    card = network_seconds(cost) / CORE_MM2
    travel = cost.travelling / (PEAKS["pcie_bytes_one_way"] * ASSUMED["pcie_of_peak"]) / CORE_MM2
    shared = host.all / ASSUMED["cores"]
    passing = max(card, travel, shared, host.in_turn)
    # Several processes on the card: while one ends a slide, others pass windows.
    beside = max(card, travel, (host.all + host.ending) / ASSUMED["cores"])
    return {
        "network": 1 / card,
        "transfers": 1 / travel,
        "host_on_all_cores": 1 / shared,
        "joining_thread": 1 / host.in_turn,
        "while_windows_pass": 1 / passing,
        "ending": 1 / host.ending,
        "end_to_end": 1 / (passing + host.ending),
        "end_to_end_of_network": card / (passing + host.ending),
        "slides_side_by_side": 1 / beside,
    }


def tell(networks: Mapping[str, BytesNetwork], asked: Mapping[str, float]) -> None:
    """The whole model as lines."""
    host = host_cost()
    size: dict[str, Any] = {"source_mpp": MPP, "nuclei_mm2": host.nuclei_mm2}
    for what, value, unit, better in (
        ("all threads while windows pass", host.all, "core s/mm²", "lower"),
        ("of these the joining thread", host.in_turn, "core s/mm²", "lower"),
        ("all threads after the last window", host.ending, "core s/mm²", "lower"),
        ("reading windows", host.reading_mpx, "Mpx/core s", "higher"),
        ("decoding all tasks", host.nuclei, "nuclei/core s", "higher"),
    ):
        say("gpu_model", f"beside the network: {what}", value=value, unit=unit, better=better, size=size)
    for name, network in networks.items():
        found = cost(network)
        size = {"model": name, "window_px": WINDOW_PX, "halo_px": HALO_PX, "type": str(network.dtype)}
        for what, value, unit in (
            ("multiply-adds", found.flop / 2 / CORE_MM2 / 1e9, "G/mm²"),
            ("bytes of activations that single kernels move", found.bytes / CORE_MM2 / 1e9, "GB/mm²"),
            ("bytes to the card and back", found.travelling / CORE_MM2 / 1e6, "MB/mm²"),
            ("activations held at once by a window", found.activations / 2**20, "MiB"),
        ):
            say("gpu_model", f"{name}: {what}", value=value, unit=unit, size=size)
        parts = predicted(found, host)
        ways = {"one slide in one process": "end_to_end", "slides side by side": "slides_side_by_side"}
        for way, part in ways.items():
            say(
                "gpu_model",
                f"{name}: predicted on one {CARD} with {ASSUMED['cores']} cores, end to end, {way}",
                value=parts[part],
                unit="mm²/s",
                asked=asked.get(name),
                better="higher",
                size=size,
                parts_mm2_a_second=parts,
                peaks=PEAKS,
                assumed=ASSUMED,
                is_measured=False,
            )
