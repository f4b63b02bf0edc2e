"""What does a mm² of a drawn slide take to paint?

    python -m benchmarks.painting [--rounds 3] [--side-mm 1] [--mpp 0.5 1.0]

Laying out and painting whole slides with a lesion, in squares as `geryon synth` does, in core seconds; each round
paints another slide, so that nothing is left from the one before. The first round is not counted: it compiles.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import count

from benchmarks.machine import interleaved, say
from geryon.slides.synthetic.slide import SyntheticSlide
from geryon.space.boxes import Box

NAME = "painting"
TILE_PX = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side-mm", type=float, default=1.0)
    parser.add_argument("--mpp", type=float, nargs="+", default=[0.5, 1.0])
    args = parser.parse_args()
    seeds = count()
    calls = {f"{mpp:g}": partial(paint, args.side_mm * 1000, mpp, seeds) for mpp in args.mpp}
    for mpp, taken in interleaved(calls, args.rounds).items():
        area_mm2 = args.side_mm**2
        told = {"value": taken.core_seconds / area_mm2, "low": min(taken.cpu) / area_mm2}
        size = {"side_mm": args.side_mm, "mpp": float(mpp)}
        high = max(taken.cpu) / area_mm2
        say(NAME, "a mm² of slide", **told, high=high, unit="core s/mm²", size=size, rounds=args.rounds)


def paint(side_um: float, mpp: float, seeds: Iterator[int]) -> None:
    """All of a slide that is mostly tissue, a third of it lesion, square by square."""
    lesion_um = (side_um / 2, side_um / 2, side_um / 3)
    slide = SyntheticSlide(width_um=side_um, height_um=side_um, seed=next(seeds), mpp=mpp, lesion_um=lesion_um)
    for top in range(0, slide.height_px, TILE_PX):
        for left in range(0, slide.width_px, TILE_PX):
            right, bottom = min(left + TILE_PX, slide.width_px), min(top + TILE_PX, slide.height_px)
            slide.render(Box(slide.frame, left, top, right, bottom))


if __name__ == "__main__":
    main()
