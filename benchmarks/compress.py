"""How near does compressing a slide come to the encoder alone, and does it fit into 1.5 GB whatever the slide's size?

    python -m benchmarks.compress [--engine auto] [--side-mm 4] [--rounds 3] [--side-px 100000] [--network-mm 10]

The papers' network for 128-px patches (nic-64, untrained: weights change no time) over a pyramid of JPEG tiles that
repeats one synthetic square (benchmarks/virtual.py). The whole job, the encoder over the same patches held in memory,
and reading alone run in turn. Asked: the encoder's share of the whole 0.65, encoder and reading together 0.9 of it.
Then the peak of a process that compresses a slide of --side-px, with mean-rgb, and with the network where a mask leaves
a square of --network-mm: the network over all of it would be a quarter of an hour. 0 leaves that part out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.machine import Seconds, interleaved, ratio_of, say
from benchmarks.repeated import PX_A_MM, square
from benchmarks.virtual import virtual_slide
from geryon.flows import cells as cells_of_slide
from geryon.flows.cells import BLOCK_PX, Cells
from geryon.flows.compress import about_slide, compress_slide, plan_cells
from geryon.flows.compress_options import CompressOptions
from geryon.flows.reading import UNREADABLE_PX
from geryon.nets.cores import usable_cores
from geryon.nets.encoder import Encoder, load_encoder
from geryon.nets.encoders.document import EncoderDocument, save_encoder
from geryon.slides.reader import Slide, open_slide
from geryon.slides.salvage import salvaged

MPP = 0.5
ASKED_SHARE, ASKED_OF_BOTH, ASKED_GIB = 0.65, 0.9, 1.5e9 / 2**30
OPTIONS = CompressOptions(mpp=MPP, use_mask=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--side-mm", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side-px", type=int, default=100_000)
    parser.add_argument("--network-mm", type=float, default=10.0)
    parser.add_argument("--one", nargs=3, metavar=("SLIDE", "ENCODER", "MASK"))
    args = parser.parse_args()
    if args.one:
        one(*args.one, engine=args.engine)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        encoder = untrained(root / "nic-64.safetensors")
        path = virtual_slide(root / "slide.tiff", square(), round(args.side_mm * PX_A_MM))
        speed(path, load_encoder(encoder, engine=args.engine), root, args.rounds)
        if args.side_px:
            memory(root, encoder, args)


def untrained(path: Path) -> Path:
    """The file of the papers' network with the weights it was begun with."""
    import torch

    from geryon.nets.encoders.layered import build, preset

    torch.manual_seed(0)
    settings = preset("nic-64")
    tensors = {name: tensor.numpy() for name, tensor in build(settings).state_dict().items()}
    save_encoder(
        path,
        tensors,
        EncoderDocument(name="nic-64", version="1", topology="layered", settings=settings, patch_px=128, code=128),
    )
    return path


def speed(path: Path, net: Encoder, root: Path, rounds: int) -> None:
    """All lines of time. The slide is opened anew for each call: readers keep tiles that they have decoded."""
    with open_slide(path, mpp=MPP) as slide:
        cells = plan_cells(slide, net, about_slide(slide, net, OPTIONS), OPTIONS)
        held, runs = patches(slide, cells), count()

    def whole() -> None:
        with open_slide(path, mpp=MPP) as slide:
            compress_slide(slide, net, root / f"run{next(runs)}", options=OPTIONS)

    calls = {
        "whole": whole,
        "network": lambda: net(held),
        "reading": reading(path, cells, BLOCK_PX),
        "reading patch by patch": reading(path, cells, cells.patch_px),
    }
    taken = interleaved(calls, rounds)
    size = {"cells": len(held), "engine": net.engine.name, "precision": net.precision}
    thousands = len(held) / 1000
    names = {
        "whole": "slide to volume on disk",
        "network": "the encoder alone over the same patches",
        "reading": f"reading alone, in blocks of {BLOCK_PX} px",
        "reading patch by patch": "reading alone, patch by patch",
    }
    for name, question in names.items():
        say("compress", question, **taken[name].each(thousands), unit="s/1000 cells", size=size)
    network, read = taken["network"], taken["reading"]
    both = Seconds(
        tuple(a + b for a, b in zip(network.wall, read.wall, strict=True)),
        tuple(a + b for a, b in zip(network.cpu, read.cpu, strict=True)),
    )
    for question, asked, seconds in (
        ("the encoder's share of the whole", ASKED_SHARE, network),
        ("encoder and reading alone, of the whole", ASKED_OF_BOTH, both),
    ):
        ratio = ratio_of(seconds, taken["whole"])
        say("compress", question, **ratio, unit="share", better="higher", asked=asked, size=size)


def patches(slide: Slide, cells: Cells) -> np.ndarray:
    """uint8 [n, patch, patch, 3] of all cells."""
    found = []
    for block in cells.blocks(cells.tiles()):
        image = slide.read(block.box, cells.work.mpp_x)
        found += [image[y : y + cells.patch_px, x : x + cells.patch_px] for y, x in block.corners]
    return np.stack(found)


def reading(path: Path, cells: Cells, block_px: int) -> Callable[[], Any]:
    """A call that reads all blocks of such a side, on all cores."""
    before, cells_of_slide.BLOCK_PX = cells_of_slide.BLOCK_PX, block_px
    blocks = list(cells.blocks(cells.tiles()))
    cells_of_slide.BLOCK_PX = before

    def read() -> int:
        with open_slide(path, mpp=MPP) as slide, ThreadPoolExecutor(usable_cores()) as pool:
            return sum(pool.map(lambda block: salvaged(slide, block.box, UNREADABLE_PX).image.shape[0], blocks))

    return read


def memory(root: Path, encoder: Path, args: argparse.Namespace) -> None:
    """The lines of peaks, each measured in a process of its own."""
    path = virtual_slide(root / "large.tiff", square(), args.side_px)
    mask = np.zeros((500, 500), np.uint8)
    part = round(500 * args.network_mm * PX_A_MM / args.side_px)
    mask[100 : 100 + part, 100 : 100 + part] = 1
    cv2.imwrite(str(root / "mask.png"), mask)
    for name, words in (("mean-rgb", ("mean-rgb", "-")), ("nic-64", (str(encoder), str(root / "mask.png")))):
        command = [sys.executable, "-m", "benchmarks.compress", "--engine", args.engine, "--one", str(path), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
        size = {"side_px": args.side_px, "encoder": name, "cells": told.pop("cells")}
        say("compress", "peak of a process", value=told.pop("gib"), unit="GiB", asked=ASKED_GIB, size=size, **told)


def one(path: str, encoder: str, mask: str, *, engine: str) -> None:
    """Compress one such slide and print the peak of this process."""
    from time import process_time

    from benchmarks.machine import peak_gib

    options = CompressOptions(mpp=MPP, mask=None if mask == "-" else Path(mask))
    net, began = load_encoder(encoder, engine=engine), process_time()
    loaded = peak_gib()
    with tempfile.TemporaryDirectory() as folder, open_slide(path, mpp=MPP) as slide:
        volume = compress_slide(slide, net, Path(folder) / "a", options=options)
    cells = int(volume.tissue.sum())
    told = {"cells": cells, "gib": peak_gib(), "loaded_gib": loaded, "core_seconds": process_time() - began}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
