"""What do the tissue mask and the quality raster cost a mm² of slide?

    python -m benchmarks.tissue [--side-mm 2 6] [--rounds 5]

Each slide is a synthetic specimen in the middle of glass, as a file with a pyramid: reading at low power, the mask
itself and the quality raster, each alone, on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2

from benchmarks.machine import interleaved, say
from benchmarks.repeated import written
from geryon.slides.quality import quality
from geryon.slides.reader import open_slide
from geryon.slides.tissue import low_power, tissue_mask

MPP = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side-mm", type=float, nargs="+", default=[2.0, 6.0], help="of the slides")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for side_mm in args.side_mm:
        with tempfile.TemporaryDirectory() as folder:
            measure(written(Path(folder) / "a.tif", side_mm), side_mm, args.rounds)


def measure(path: Path, side_mm: float, rounds: int) -> None:
    """A line for each part."""

    def read() -> None:
        with open_slide(path, mpp=MPP) as fresh:  # no tile is kept from the round before
            low_power(fresh)

    with open_slide(path, mpp=MPP) as slide:
        seen = low_power(slide)
        mask = tissue_mask(slide, seen)
        calls = {
            "reading at low power": read,
            "tissue mask": lambda: tissue_mask(slide, seen),
            "quality raster": lambda: quality(slide, mask, seen),
        }
        for name, taken in interleaved(calls, rounds).items():
            size = {"slide_mm2": side_mm**2, "mpp": seen.mpp}
            say("tissue", name, **taken.each(side_mm**2), unit="s/mm² of slide", size=size, tissue_mm2=mask.area_mm2)


if __name__ == "__main__":
    main()
