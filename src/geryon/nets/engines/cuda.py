"""The CUDA engine: bytes go in and out through pinned buffers while the card computes other windows, as a CUDA graph.

A batch is copied in on its slot's own stream, computed on the one stream that all slots share, and copied out on its
slot's again; threads wait for events of their own batch, never for the whole card. With three slots one batch can
arrive, one be computed and one leave. One computing stream, not one a slot: batches that compute beside each other end
together too, and then the card has nothing to do while all of them travel; and the activations are held once.
docs/gpu.md has the reasons and what was measured.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geryon.errors import MachineError, UsageError
from geryon.nets.engine import MapsOfWindow
from geryon.nets.model import HALO_PX, STEP_PX
from geryon.nets.network import BytesNetwork, bytes_network
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument
from geryon.space.boxes import Box

LANES = 3
"""Batches under way: one arrives, one is computed, one leaves."""
MOST_BATCH = 8
"""8 windows of 1216 px are 12 Mpx: more does not fill a card better, and a longer row of windows waits for the last."""
MOST_GRAPHS = 2
"""A graph holds its activations for good; models have one or two window sizes."""
SHARE_OF_MEMORY = 0.8
"""Of the card's memory; the rest is left to kernels' work space, fragmentation and other programs."""
WARM_UPS = 3
"""Calls before a capture, so that libraries have chosen their kernels (torch's notes on CUDA graphs ask for it)."""

Replay = Callable[[Tensor], tuple[Tensor, ...]]
"""Images uint8 [n, y, x, 3] on the card to the maps there; valid until the next call."""
Capture = Callable[[BytesNetwork, Tensor], Replay]
Shape = tuple[int, ...]


class Slot:
    """The buffers of one batch on both sides and its stream; grown where a batch is larger than all before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = _stream(device)
        self._host: dict[str, Tensor] = {}
        self._there: dict[str, Tensor] = {}

    def host(self, name: str, shape: Shape, dtype: torch.dtype = torch.uint8) -> Tensor:
        """Of that shape in memory that the card can read and write by itself; a name is always of one type."""
        return _room(self._host, name, shape, {"dtype": dtype, "pin_memory": self.device.type == "cuda"})

    def there(self, name: str, shape: Shape, dtype: torch.dtype = torch.uint8) -> Tensor:
        """The same on the card."""
        return _room(self._there, name, shape, {"dtype": dtype, "device": self.device})


def _room(held: dict[str, Tensor], name: str, shape: Shape, kind: Mapping[str, Any]) -> Tensor:
    size = math.prod(shape)
    if name not in held or held[name].numel() < size:
        held[name] = torch.empty(size, **kind)
    return held[name][:size].view(shape)


def captured(network: BytesNetwork, images: Tensor) -> Replay:
    """The network for images of that shape as a CUDA graph on the current stream; it holds its own input and output.

    Only what this thread does is watched during the capture: copies of other slots may go on beside it.
    """
    stream, own = torch.cuda.current_stream(images.device), images.clone()
    for _ in range(WARM_UPS):
        network(own)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        found = network(own)

    def replay(images: Tensor) -> tuple[Tensor, ...]:
        own.copy_(images)
        graph.replay()
        return found

    return replay


class CudaEngine:
    """A network on one card.

    Windows of the model's own sizes go through it in batches of one length, filled up where fewer come, and as a graph;
    others, at a slide's right and lower border, one by one. So what a window gives does not depend on its neighbours.
    """

    lanes = LANES

    def __init__(
        self,
        network: BytesNetwork,
        device: torch.device,
        *,
        sizes: Collection[tuple[int, int]],
        batch: int,
        capture: Capture | None = captured,
    ) -> None:
        """`sizes` are rows and columns of the model's windows; with no `capture` nothing becomes a graph."""
        self.network, self.device, self.sizes, self.batch = network, device, frozenset(sizes), batch
        self.name = device.type
        self._card = f" on {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
        self._side: Any = torch.get_device_module(device)
        self._compute = _stream(device)
        self._turn = Lock()
        self._capture = capture
        self._replays: dict[Shape, Replay] = {}
        self._idle: SimpleQueue[Slot] = SimpleQueue()
        for _ in range(LANES):
            self._idle.put(Slot(device))

    @property
    def precision(self) -> str:
        """Type, card, and whether windows go as graphs.

        The batch is not in it: it follows from these, but where memory ran out (docs/gpu.md says what that may change).
        """
        how = "graphs" if self._capture else "eager"
        return f"{str(self.network.dtype).removeprefix('torch.')}{self._card}, {how}"

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        """See nets.engine.Engine. MachineError where not even one window has room on the card."""
        found: list[MapsOfWindow] = []
        while len(found) < len(images):
            at_once = self.batch if images[0].shape[:2] in self.sizes else 1
            try:
                found += self._answer(images[len(found) : len(found) + at_once], at_once)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._retreat(at_once, error)
        return found

    def _answer(self, images: Sequence[np.ndarray], at_once: int) -> list[MapsOfWindow]:
        slot = self._idle.get()
        try:
            # The stream's context chooses its card too.
            with torch.inference_mode(), self._side.stream(slot.stream):
                return self._passed(slot, images, (at_once, *images[0].shape))
        finally:
            self._idle.put(slot)

    def _passed(self, slot: Slot, images: Sequence[np.ndarray], shape: Shape) -> list[MapsOfWindow]:
        """The current stream is the slot's."""
        host = slot.host("images", shape)
        for row, image in zip(host.numpy(), images, strict=False):  # rows past the last image are not looked at
            row[...] = image
        there = slot.there("images", shape).copy_(host, non_blocking=True)
        arrived, computed, back = (_event(self.device) for _ in range(3))
        arrived.record(slot.stream)
        with self._turn, self._side.stream(self._compute):
            self._compute.wait_event(arrived)
            found = zip(self.network.names, self._run(there), strict=True)
            left = {name: slot.there(name, tuple(v.shape), v.dtype).copy_(v) for name, v in found}
            computed.record(self._compute)
        slot.stream.wait_event(computed)
        maps = {
            name: slot.host(name, tuple(v.shape), v.dtype).copy_(v, non_blocking=True).numpy()
            for name, v in left.items()
        }
        back.record(slot.stream)
        back.synchronize()
        return [{name: value[i].copy() for name, value in maps.items()} for i in range(len(images))]

    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        shape = tuple(images.shape)
        if self._capture and shape not in self._replays and shape[1:3] in self.sizes:
            self._add_graph(shape, images)
        replay = self._replays.get(shape)
        found: tuple[Tensor, ...] = replay(images) if replay else self.network(images)
        return found

    def _add_graph(self, shape: Shape, images: Tensor) -> None:
        if self._capture is None or len(self._replays) == MOST_GRAPHS:
            return
        try:
            self._replays[shape] = self._capture(self.network, images)
        except RuntimeError as error:
            if _is_out_of_memory(error):
                raise
            self._capture = None
            self._replays.clear()
            said = str(error).splitlines()[0]
            warnings.warn(f"the network does not run as a CUDA graph here, but as single kernels: {said}", stacklevel=2)

    def _retreat(self, at_once: int, error: RuntimeError) -> None:
        """Half the windows at once from now on, and no memory kept for graphs of the larger batch."""
        with self._turn:
            if at_once > self.batch:
                return  # another thread has been here
            if self.batch == 1:
                raise _no_room(f"{self.name}{self._card}") from error
            if self.device.type == "cuda":
                self._compute.synchronize()
            self._replays.clear()
            self.batch //= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """True too where it ended a capture, which then says so itself, and in the words of the driver and of cuBLAS."""
    is_full = isinstance(error, torch.OutOfMemoryError) or isinstance(error.__context__, torch.OutOfMemoryError)
    return is_full or any(words in str(error) for words in ("out of memory", "ALLOC_FAILED"))


def _no_room(where: str) -> MachineError:
    return MachineError(
        what="the card's memory has no room for a single window",
        where=where,
        mend="close other programs on it, or use --engine cpu; finished work is kept",
    )


def _stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device) if device.type == "cuda" else torch.get_device_module(device).Stream()


def _event(device: torch.device) -> Any:
    """On cards one whose waiters sleep: readers and decoders need the cores."""
    return torch.cuda.Event(blocking=True) if device.type == "cuda" else torch.get_device_module(device).Event()


def open_cuda(
    document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...], card: str = ""
) -> CudaEngine:
    """On the CUDA card of that number ("" for the first), as many windows at once as its memory holds.

    MachineError where other programs leave it no room; UsageError where it can't be used, as when torch is not made
    for a card so old: then "auto" takes another engine.
    """
    device = _device(card)
    with _opening(device):
        # bfloat16 multiplies in hardware from compute capability 8.0 on (Ampere).
        dtype = torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    network = bytes_network(document, tensors, heads, dtype)
    with _opening(device):
        return engine_on(device, network, window_sizes(document))


@contextmanager
def _opening(device: torch.device) -> Iterator[None]:
    """What torch and the driver say of a card becomes an error of ours."""
    try:
        yield
    except RuntimeError as error:
        if _is_out_of_memory(error):
            raise _no_room(str(device)) from error
        said = str(error).partition("\n")[0]
        mend = "leave --engine out, or --engine cpu"
        raise UsageError(what=f"the card can't be used: {said}", where=str(device), mend=mend) from error


def engine_on(device: torch.device, network: BytesNetwork, sizes: Collection[tuple[int, int]]) -> CudaEngine:
    """The network on that card, ready for windows of those sizes.

    The batch comes from the memory that the card has, not from what is free just now, so that a run that is taken up
    again has the same; less room is a retreat as at any other time.
    """
    on_card(network, device)
    batch = batch_that_fits(torch.cuda.mem_get_info(device)[1], *needs(network, max(sizes), device))
    engine = CudaEngine(network, device, sizes=sizes, batch=batch)
    largest = np.zeros((*max(sizes), 3), np.uint8)
    engine.maps([largest], [])  # so that graphs, or their failure, are there before anything is asked of the name
    return engine


def on_card(network: BytesNetwork, device: torch.device) -> BytesNetwork:
    """The network moved there, channels last."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def cards() -> tuple[str, ...]:
    """A name for each card that may be used here: "cuda:0", "cuda:1"."""
    return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count())) if torch.cuda.is_available() else ()


def _device(card: str) -> torch.device:
    known = cards()
    if not known:
        raise UsageError(what="no CUDA card can be used here", mend="leave --engine out, or --engine cpu")
    name = f"cuda:{card or 0}"
    if name not in known:
        raise UsageError(what=f"there is no card {name}", mend=f"choose one of: {', '.join(known)}")
    return torch.device(name)


def window_sizes(document: ModelDocument) -> set[tuple[int, int]]:
    """Rows and columns of the windows of all names that the model has, halo included."""
    named = {"default": {}, **document.windows}.values()
    sides = {w.get("window_px", STEP_PX) + 2 * w.get("halo_px", HALO_PX) for w in named}
    return {(side, side) for side in sides}


def needs(network: BytesNetwork, size: tuple[int, int], device: torch.device) -> tuple[int, int]:
    """Bytes on the card for one window of that size, measured on one: its activations at most; its input and maps."""
    stream = torch.cuda.current_stream(device)
    with torch.inference_mode():
        images = torch.zeros((1, *size, 3), dtype=torch.uint8, device=device)
        network(images)  # libraries take memory at their first call that they keep
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        maps = network(images)
        stream.synchronize()
        peak = torch.cuda.max_memory_allocated(device) - before
    return peak, images.nbytes + sum(value.nbytes for value in maps)


def batch_that_fits(card_bytes: int, activations_bytes: int, travelling_bytes: int) -> int:
    """Windows at once: the largest power of two up to MOST_BATCH that a card of that memory holds, at least 1.

    A batch's activations stand once (in its graph), what travels once a lane; beside that a border window runs alone.
    """
    room = SHARE_OF_MEMORY * card_bytes - activations_bytes
    fits = int(room // (activations_bytes + LANES * travelling_bytes))
    return min(MOST_BATCH, 1 << (fits.bit_length() - 1)) if fits > 0 else 1
