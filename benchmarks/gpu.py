"""How fast is a card, and does the rest keep up? Without a card: what should one do by arithmetic (gpu_model.py)?

    python -m benchmarks.gpu [--side 12] [--rounds 3]

With a card, for geryon-s and geryon-b (random weights, where none are shipped: time does not depend on them): the bare
network by batch, as graphs and as single kernels, in three types; transfers; the engine with all that travels; memory
on the card; and the whole job beside the engine over the same windows. Asked of one H200-class card
with 16 cores, end to end: 25 mm²/s of geryon-s, 10 of geryon-b, and 0.7 of the bare network.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import torch

from benchmarks import gpu_host, gpu_model
from benchmarks.finished import bare
from benchmarks.gpu_host import CORE_MM2, MPP, WINDOW_PX, place_of, specimen
from benchmarks.machine import interleaved, ratio_of, say
from geryon import plugins
from geryon.flows.plan import cutting_of, make_plan
from geryon.flows.segment import segment
from geryon.nets.catalogue import find_model
from geryon.nets.engines import cuda
from geryon.nets.engines.cuda import CudaEngine
from geryon.nets.model import Model, heads_of, load_model
from geryon.nets.network import BytesNetwork, bytes_network
from geryon.nets.topologies import TOPOLOGIES
from geryon.nets.weights import ModelDocument, read_document, read_tensors, task_document
from geryon.slides.reader import open_slide

MODELS = ("geryon-s", "geryon-b")
ASKED_MM2 = {"geryon-s": 25.0, "geryon-b": 10.0}
ASKED_SHARE = 0.7
TYPES = (torch.bfloat16, torch.float16, torch.float32)
BATCHES = (1, 2, 4, 8, 16)
CALLS = 10
"""Of a timed round."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=12, help="windows along a side of the specimen that is segmented")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    gpu_model.tell({name: built(name, torch.bfloat16) for name in MODELS}, ASKED_MM2)
    if not torch.cuda.is_available():
        return
    for name in MODELS:
        networks_alone(name, args.rounds)
        engine_alone(name, args.rounds)
    transfers(args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        whole(Path(folder), args.side, args.rounds)


def built(name: str, dtype: torch.dtype) -> BytesNetwork:
    """The network of that name, with its weights where they are shipped."""
    shipped = read_document(find_model("geryon-s"))
    heads = heads_of(shipped.task_values(), shipped.mpp)
    if name == shipped.name:
        return bytes_network(shipped, read_tensors(find_model(name)), heads, dtype)
    tasks = tuple(task_document(task) for task in shipped.task_values())
    document = ModelDocument(name=name, version="0", topology=name, tasks=tasks)
    torch.manual_seed(0)
    fresh = plugins.look_up(TOPOLOGIES, "geryon.topologies", name)({}, heads)
    return bytes_network(document, {k: v.numpy() for k, v in fresh.state_dict().items()}, heads, dtype)


def networks_alone(name: str, rounds: int) -> None:
    """Images that lie on the card, through the network: by type, batch, and with or without a graph."""
    device = torch.device("cuda:0")
    for dtype in TYPES:
        network = cuda.on_card(built(name, dtype), device)
        for batch in BATCHES:
            images = torch.randint(0, 256, (batch, WINDOW_PX, WINDOW_PX, 3), dtype=torch.uint8, device=device)
            with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream(device)):
                calls = {"eager": timed(network, images), "graph": timed(cuda.captured(network, images), images)}
                taken = interleaved(calls, rounds)
            for how, seconds in taken.items():
                size = {"model": name, "type": str(dtype), "batch": batch, "how": how}
                rate = seconds.rate(CALLS * batch * CORE_MM2)
                say("gpu", "the bare network", **rate, unit="mm²/s", better="higher", size=size)
            torch.cuda.empty_cache()


def timed(call: Callable[[torch.Tensor], object], images: torch.Tensor) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(CALLS):
            call(images)
        torch.cuda.current_stream().synchronize()

    return calls


def engine_of(name: str) -> CudaEngine:
    """The model's engine on the first card, its batch from the card's memory."""
    device = torch.device("cuda:0")
    return cuda.engine_on(device, built(name, torch.bfloat16), [(WINDOW_PX, WINDOW_PX)])


def engine_alone(name: str, rounds: int) -> None:
    """Images in this machine's memory to maps there, all lanes busy; the most that the card's memory holds then."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    engine = engine_of(name)
    size = (WINDOW_PX, WINDOW_PX)
    images = list(np.random.default_rng(0).integers(0, 256, (engine.batch, *size, 3), np.uint8))

    def every() -> None:
        with ThreadPoolExecutor(cuda.LANES) as pool:
            for _ in pool.map(lambda _: engine.maps(images, []), range(CALLS)):
                pass

    seconds = interleaved({"engine": every}, rounds)["engine"]
    size_told = {"model": name, "precision": engine.precision, "batch": engine.batch}
    rate = seconds.rate(CALLS * engine.batch * CORE_MM2)
    say("gpu", "the engine, transfers included", **rate, unit="mm²/s", better="higher", size=size_told)
    peak = torch.cuda.max_memory_reserved() / 2**30
    say("gpu", "memory on the card", value=peak, unit="GiB", size=size_told)


def transfers(rounds: int) -> None:
    """A batch of images to the card, and as much back, from pinned memory and from plain."""
    device = torch.device("cuda:0")
    there = torch.empty((8, WINDOW_PX, WINDOW_PX, 3), dtype=torch.uint8, device=device)
    for kind in ("pinned", "plain"):
        here = torch.empty(there.shape, dtype=torch.uint8, pin_memory=kind == "pinned")
        calls = {
            "to the card": timed(lambda host: there.copy_(host, non_blocking=True), here),
            "back": timed(lambda host: host.copy_(there, non_blocking=True), here),
        }
        for way, seconds in interleaved(calls, rounds).items():
            rate = seconds.rate(CALLS * here.numel() / 1e9)
            say("gpu", f"{way}, {kind}", **rate, unit="GB/s", better="higher", size={"bytes": here.numel()})


def whole(folder: Path, side: int, rounds: int) -> None:
    """Slide to objects on disk, all tasks, beside the network alone over the same windows."""
    path, options = specimen(folder / "slide", side)
    mm2 = side**2 * CORE_MM2
    shipped = load_model("geryon-s", engine="cuda")
    answers: gpu_host.Answers = {}
    noting = gpu_host.Noting(engine=shipped.engine, answers=answers, batch=shipped.engine.batch)
    segment(path, out=folder / "noting", model=replace(shipped, engine=noting), options=options)
    runs = count()
    for name in MODELS:
        own = engine_of(name)
        # Maps of random weights would decode to no tissue at all: those of geryon-s are handed on in their place.
        heard = own if name == "geryon-s" else gpu_host.Answering(answers=answers, beside=own)
        net = replace(shipped, engine=heard)

        def every(net: Model = net) -> None:
            segment(path, out=folder / f"run{next(runs)}", model=net, options=options)

        calls = {"whole": every, "network": network_over(path, replace(shipped, engine=own), answers)}
        taken = interleaved(calls, rounds)
        size = {"mm2": mm2, "model": name, "precision": own.precision, "batch": own.batch}
        rate = taken["whole"].rate(mm2)
        told, unit = "slide to objects on disk", "mm²/s"
        say("gpu", told, **rate, unit=unit, asked=ASKED_MM2[name], better="higher", size=size)
        rate = taken["network"].rate(mm2)
        say("gpu", "the engine over the same windows", **rate, unit=unit, better="higher", size=size)
        share = ratio_of(taken["network"], taken["whole"])
        say("gpu", "the whole, of the network", **share, unit="share", asked=ASKED_SHARE, better="higher", size=size)


def network_over(path: Path, net: Model, answers: Mapping[tuple[float, float], object]) -> Callable[[], object]:
    """A call of the engine alone over the windows that have answers, pixels read before."""
    with open_slide(path, mpp=MPP) as slide:
        every = make_plan(slide.frame, MPP, net, has_tissue=lambda box: True, cutting=cutting_of(net))
        kept = tuple(cell for cell in every.kept if place_of(every.window(cell).outer) in answers)
        return bare(slide, net, replace(every, kept=kept))


if __name__ == "__main__":
    main()
