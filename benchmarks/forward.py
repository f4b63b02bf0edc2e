"""What does the network alone take for a window, on one core, by engine?

    python -m benchmarks.forward [--model geryon-s] [--engines cpu openvino] [--rounds 3]

One window of 1216 px (a core of 1024 px and its halo) through each engine in turn, in one thread, uint8 pixels in and
uint8 maps out. Then what the same multiplications and additions would take at the speed of a float32 matrix product,
and the share of that speed that each engine reaches.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.machine import Seconds, interleaved, say, skip
from geryon import plugins
from geryon.errors import GeryonError
from geryon.nets.engine import ENGINES
from geryon.nets.model import HALO_PX, STEP_PX, Model, load_model
from geryon.space.boxes import Frame

MATRIX = 1536
"""Side of the matrices: large enough for full speed, small enough for caches."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--engines", nargs="+", help="default: all that open here, but for cards")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core-px", type=int, default=STEP_PX)
    args = parser.parse_args()
    nets = dict(opened("forward", args.model, args.engines))
    side = args.core_px + 2 * HALO_PX
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    box = Frame(name="work", mpp_x=0.5, mpp_y=0.5, width=side, height=side).box
    calls = {name: partial(net.maps, [image], [box]) for name, net in nets.items()}
    taken = one_threaded(calls, args.rounds)
    area_mm2 = (args.core_px * 0.0005) ** 2
    gflop = gflop_a_mpx(load_model(args.model, engine="cpu")) * side**2 / 1e6
    for name, net in nets.items():
        size = {"model": args.model, "engine": name, "window_px": side, "cores": 1}
        how = {"precision": net.engine.precision}
        say("forward", "one core's seconds a mm²", **taken[name].each(area_mm2), unit="s/mm²", size=size, **how)
        reached = gflop / taken[name].core_seconds
        product = 2e-9 * MATRIX**3 / taken["matrix product"].core_seconds
        say(
            "forward",
            "share of the speed of a float32 matrix product",
            value=reached / product,
            unit="share",
            better="higher",
            size=size,
            gflop_a_second=reached,
            product_gflop_a_second=product,
            gflop_a_window=gflop,
            **how,
        )


def opened(benchmark: str, model: str, engines: Sequence[str] | None = None) -> Iterator[tuple[str, Model]]:
    """The model in each engine, one lane each; a line for those that can't be opened."""
    for name in engines or [name for name in plugins.names(ENGINES, "geryon.engines") if name != "cuda"]:
        try:
            net = load_model(model, engine=name)
        except GeryonError as error:
            skip(benchmark, f"the model in the engine {name}", str(error.what), model=model, engine=name)
        else:
            yield name, replace(net, engine=replace(net.engine, lanes=1))  # type: ignore[type-var]


def one_threaded(calls: dict, rounds: int) -> dict[str, Seconds]:
    """What each takes in one thread, and a matrix product beside them."""
    import torch

    torch.set_num_threads(1)
    matrix = torch.rand(MATRIX, MATRIX)
    return interleaved({**calls, "matrix product": lambda: matrix @ matrix}, rounds)


def gflop_a_mpx(net: Model) -> float:
    """Multiplications and additions of the network (of the engine `cpu`), counted by torch, a megapixel of its
    input."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = net.engine.network  # type: ignore[attr-defined]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 512, 512, dtype=next(network.parameters()).dtype))
    return float(counter.get_total_flops()) / 512**2 / 1e3


if __name__ == "__main__":
    main()
