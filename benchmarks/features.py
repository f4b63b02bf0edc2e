"""What do features beside the objects cost, and are they the same from every engine, window and command?

    python -m benchmarks.features [--engine openvino] [--side-mm 1] [--rounds 5] [--model geryon-s] [--image FILE]

A synthetic slide, all tasks: the whole job with and without features, and the encoder alone, in turn; ratios are of
processor seconds, which other work on the machine changes little. Then codes of cells, of the slide or of a picture at
0.5 µm/px: each engine's beside those of torch in float32, and those of windows of half the size beside the usual ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.machine import interleaved, ratio_of, say, skip
from benchmarks.nets import processor_engines
from geryon.errors import GeryonError
from geryon.flows.compress import compress, compress_slide
from geryon.flows.compress_options import CompressOptions
from geryon.flows.segment import Options, segment
from geryon.flows.synth import synth
from geryon.nets.encoder import load_encoder
from geryon.nets.model import HALO_PX, STEP_PX, load_model
from geryon.slides.reader import Slide, open_slide
from geryon.store.features import Volume

ASKED_RATIO, ASKED_COSINE = 1.10, 0.99
WIDE_HALO_PX = 256
"""Twice what the deepest layers see: codes of such windows depend on them no more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="openvino", help="of the whole jobs")
    parser.add_argument("--side-mm", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--image", type=Path, help="a picture at 0.5 µm/px for the comparison of codes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = synth(Path(folder) / "slide.tiff", size_um=(1000 * args.side_mm, 1000 * args.side_mm), seed=11)
        cost(path, Path(folder), args)
        with open_slide(args.image or path, mpp=0.5 if args.image else None) as slide:
            likeness(slide, Path(folder), args.model)


def cost(path: Path, folder: Path, args: argparse.Namespace) -> None:
    """The whole job with features and without, and the encoder alone."""
    runs = count()

    def job(features: bool) -> Callable[[], object]:
        net = load_model(args.model, engine=args.engine, features=features)
        options = Options(use_mask=False, features=features)
        return lambda: segment(path, out=folder / f"run{next(runs)}", model=net, options=options)

    alone = load_encoder(args.model, engine=args.engine)
    encoded = CompressOptions(use_mask=False)
    calls = {
        "objects": job(False),
        "both": job(True),
        "features": lambda: compress(path, out=folder / f"run{next(runs)}", encoder=alone, options=encoded),
    }
    taken = interleaved(calls, args.rounds)
    size = {"mm2": args.side_mm**2, "model": args.model, "engine": args.engine}
    ratio = ratio_of(taken["both"], taken["objects"], of="cpu")
    say("features", "objects and features over objects", **ratio, unit="ratio", asked=ASKED_RATIO, size=size)
    for name, seconds in taken.items():
        per_mm2 = seconds.core_seconds / args.side_mm**2
        say("features", f"the whole job: {name}", value=per_mm2, unit="core s/mm²", size=size)
    ratio = ratio_of(taken["features"], taken["objects"], of="cpu")
    say("features", "the encoder alone over objects", **ratio, unit="ratio", size=size)


def likeness(slide: Slide, folder: Path, model: str) -> None:
    """Cosines between codes of the same cells."""

    def volume(name: str, engine: str = "cpu", windows: tuple[int, int] = (STEP_PX, HALO_PX)) -> Volume:
        net, options = load_encoder(model, engine=engine), CompressOptions(use_mask=False, windows=windows)
        return compress_slide(slide, net, folder / "codes" / name, options=options)

    usual = volume("usual")
    for engine in processor_engines():
        try:
            told = cosines(usual, volume(engine, engine=engine))
        except GeryonError as error:
            skip("features", "codes beside torch in float32", str(error), engine=engine)
            continue
        size = {"model": model, "engine": engine, "cells": usual.tissue.size}
        question = "least cosine of codes beside torch in float32"
        say("features", question, **told, unit="cosine", better="higher", asked=ASKED_COSINE, size=size)
    for name, windows in (("half", (STEP_PX // 2, HALO_PX)), ("wide", (STEP_PX, WIDE_HALO_PX))):
        told = cosines(usual, volume(name, windows=windows))
        size = {"model": model, "window_px": windows[0], "halo_px": windows[1], "cells": usual.tissue.size}
        say("features", "least cosine of codes from other windows", **told, unit="cosine", better="higher", size=size)


def cosines(a: Volume, b: Volume) -> dict[str, float]:
    """The least, and the 1st percentile and median beside it."""
    one, other = a.bag()[0], b.bag()[0]
    each = (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
    return {"value": float(each.min()), "percentile_1": float(np.percentile(each, 1)), "median": float(np.median(each))}


if __name__ == "__main__":
    main()
