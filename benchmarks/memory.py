"""Peak memory, all processes together, and CPU seconds a mm² of tissue, against the size of the slide.

Asked (issues Spine and Speed): <= 2 GB beside the weights, and flat within 10 % for slides of 10k², 20k², 40k² px with
25 mm² of tissue in each, and 10k² full; --mm2 4, 16, 64 show whether cost follows tissue. Each size runs in a fresh
process. The pixels are a synthetic square repeated over the specimen, glass around it: memory depends on windows, not
on what they show.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import about, say

REPEAT_PX = 1024


@dataclass(frozen=True)
class Repeated:
    """A reader of one square, repeated over a specimen in the middle of glass."""

    square: np.ndarray
    side_px: int
    tissue_px: int
    mpp: tuple[float, float] = (0.5, 0.5)
    objective: None = None
    origin_level0: tuple[int, int] = (0, 0)
    thread_safe: bool = True

    @property
    def levels(self):  # type: ignore[no-untyped-def]
        from geryon.slides.reader import levels_of

        return levels_of([(self.side_px, self.side_px)])

    def read(self, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        x, y = np.arange(box[0], box[2]), np.arange(box[1], box[3])
        low = (self.side_px - self.tissue_px) // 2
        out = self.square[np.ix_(y % REPEAT_PX, x % REPEAT_PX)].copy()
        inside = [(v >= low) & (v < low + self.tissue_px) for v in (y, x)]
        out[~(inside[0][:, None] & inside[1][None, :])] = 245
        return out

    def close(self) -> None:
        pass


def one(side_px: int, tissue_px: int, model: str) -> None:
    """Segment one such slide and print its peak."""
    from geryon.flows.segment import Options, segment_slide
    from geryon.nets.model import load_model
    from geryon.slides.reader import slide_of
    from geryon.slides.synthetic import SyntheticSlide
    from geryon.space.boxes import Box

    made = SyntheticSlide(width_um=4000, height_um=4000, seed=11)
    square = made.render(Box(made.frame, 3072, 3072, 3072 + REPEAT_PX, 3072 + REPEAT_PX))
    slide = slide_of(Repeated(square, side_px, tissue_px), name="a", path=None, mpp=None, reader="repeated")
    net = load_model(model)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        record = segment_slide(slide, net, Path(folder) / "a", options=Options(use_mask=True), tell=lambda event: None)
    counts = {name: record.tasks[name].objects for name in record.object_tasks}
    cpu_s = time.process_time() - began
    mm2 = tissue_px**2 / 4e6
    say(
        peak_gb=record.peak_memory_bytes / 1e9,
        cpu_s_a_mm2=cpu_s / mm2,
        write_s_a_mm2=record.seconds["write"] / mm2,
        seconds=record.seconds,
        objects=counts,
        mm2=mm2,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, type=int, metavar=("SIDE_PX", "TISSUE_PX"))
    parser.add_argument("--mm2", type=float, default=25.0, help="of tissue (default: %(default)s)")
    parser.add_argument("--model", default="geryon-s")
    args = parser.parse_args()
    if args.one:
        one(*args.one, args.model)
        return
    tissue_px = round((args.mm2 * 4e6) ** 0.5)
    peaks = []
    for side in sorted({tissue_px, 20_000, 40_000}):  # the first is full of tissue
        command = [sys.executable, "-m", "benchmarks.memory", "--one", str(side), str(tissue_px), "--model", args.model]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        record = json.loads(done.stdout.splitlines()[-1])
        peaks.append(record["peak_gb"])
        say(
            question=f"peak memory, {side} px square, {args.mm2} mm² of tissue",
            asked="<= 2 GB beside the weights",
            **record,
        )
    say(question="peak memory, largest against smallest", value=max(peaks) / min(peaks), asked="<= 1.1", **about())


if __name__ == "__main__":
    main()
