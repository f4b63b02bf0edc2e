"""What does a crop of a compressed slide cost the CNN, to learn from and to answer, and how much memory does it hold?

    python -m benchmarks.slide_cnn [--rounds 3] [--cells 400] [--code 128]

Forward, or forward and backward, of crops that are all tissue, in core seconds; memory is what further crops in one
step add to the most that this process has held.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from benchmarks.machine import interleaved, peak_gib, say
from geryon.cohort.network import CompressedCNN, Last

NAME = "slide_cnn"
CROPS = 4
"""Of the step whose memory is compared with that of one crop."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--code", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = {"cells": args.cells, "code": args.code}
    network = CompressedCNN(args.code, Last(128, 1))
    one, several = (crops_of(n, args.cells, args.code) for n in (2, 2 + CROPS))
    calls = {"answered": lambda: answer(network, one), "learnt from": lambda: learn(network, one)}
    for name, taken in interleaved(calls, args.rounds).items():
        each = taken.rate(1.0, of="cpu")
        seconds = {key: 1.0 / each[key] / len(one) for key in ("value", "low", "high")}
        seconds["low"], seconds["high"] = seconds["high"], seconds["low"]
        say(NAME, f"a crop {name}", **seconds, unit="core s", size=size, rounds=args.rounds)
    before = peak_gib()
    learn(network, several)
    say(NAME, "memory of a crop that is learnt from", value=(peak_gib() - before) / CROPS, unit="GiB", size=size)


def crops_of(n: int, cells: int, code: int) -> torch.Tensor:
    """float32 [n, code, row, column], as cohort.views.batch lays them out: the numbers of a cell stand together."""
    return torch.rand(n, cells, cells, code).permute(0, 3, 1, 2)


def answer(network: nn.Module, crops: torch.Tensor) -> None:
    """Logits of crops that are all tissue."""
    network.eval()
    with torch.no_grad():
        network(crops, torch.ones_like(crops[:, 0], dtype=torch.bool))


def learn(network: nn.Module, crops: torch.Tensor) -> None:
    """A step's forward and backward."""
    network.train().zero_grad()
    network(crops, torch.ones_like(crops[:, 0], dtype=torch.bool)).square().mean().backward()


if __name__ == "__main__":
    main()
