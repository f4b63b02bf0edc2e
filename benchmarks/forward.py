"""What does the network alone take for a window by one caller, and how near is that to the processor's limit?

    python -m benchmarks.forward [--model geryon-s] [--engines cpu openvino] [--rounds 3]

One window of 1216 px (a core of 1024 px and its halo) through each engine in turn, by one caller, as a
lane of a run calls it: uint8 pixels in, uint8 maps out; core seconds count all threads that an engine takes. Then what the same multiplications and additions would take at the speed of a float32 matrix product,
and the share of that speed that each engine reaches.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

from benchmarks.machine import Seconds, interleaved, say
from benchmarks.nets import float32_network, gflop_a_mpx, opened, processor_engines
from geryon.nets.model import HALO_PX, STEP_PX
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
    nets = dict(opened("forward", args.model, args.engines or processor_engines()))
    side = args.core_px + 2 * HALO_PX
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    box = Frame(name="work", mpp_x=0.5, mpp_y=0.5, width=side, height=side).box
    calls = {name: partial(net.maps, [image], [box]) for name, net in nets.items()}
    taken = one_threaded(calls, args.rounds)
    area_mm2 = (args.core_px * 0.0005) ** 2
    gflop = gflop_a_mpx(float32_network(args.model)) * side**2 / 1e6
    for name, net in nets.items():
        size = {"model": args.model, "engine": name, "window_px": side}
        how = {"precision": net.engine.precision}
        say("forward", "a window by one caller", **taken[name].each(area_mm2), unit="s/mm²", size=size, **how)
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


def one_threaded(calls: dict, rounds: int) -> dict[str, Seconds]:
    """What each takes in one thread, and a matrix product beside them."""
    import torch

    torch.set_num_threads(1)
    matrix = torch.rand(MATRIX, MATRIX)
    return interleaved({**calls, "matrix product": lambda: matrix @ matrix}, rounds)


if __name__ == "__main__":
    main()
