"""How much memory does a run hold at most, and does it grow with the slide?

    python -m benchmarks.memory [--mm2 25] [--model geryon-s]

Peaks of all processes together. Asked: at most 2 GB beside the weights and flat within 10 % for slides of 10k², 20k²,
40k² px with 25 mm² of tissue in each, and 10k² full. Each size runs in a fresh process. The pixels are a synthetic
square repeated over the specimen, glass around it: memory depends on windows, not on what they show.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import say

ASKED_GIB, ASKED_RATIO = 2.0e9 / 2**30, 1.1


def one(side_px: int, tissue_px: int, model: str) -> None:
    """Segment one such slide and print its peak."""
    from benchmarks.repeated import PX_A_MM, repeated_slide
    from geryon.flows.segment import Options, segment_slide
    from geryon.nets.model import load_model

    slide = repeated_slide((tissue_px / PX_A_MM) ** 2, side_px=side_px)
    net = load_model(model)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        record = segment_slide(slide, net, Path(folder) / "a", options=Options(use_mask=True), tell=lambda event: None)
    counts = {name: record.tasks[name].objects for name in record.object_tasks}
    mm2 = (tissue_px / PX_A_MM) ** 2
    told = {
        "run_peak_gib": record.peak_memory_bytes / 2**30,
        "core_seconds_a_mm2": (time.process_time() - began) / mm2,
        "seconds": dict(record.seconds),
        "objects": counts,
    }
    sys.stdout.write(json.dumps(told) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        peaks.append(record.pop("run_peak_gib"))
        size = {"side_px": side, "mm2": args.mm2, "model": args.model}
        say("memory", "peak of a run", value=peaks[-1], unit="GiB", asked=ASKED_GIB, size=size, **record)
    size = {"mm2": args.mm2, "model": args.model}
    ratio = max(peaks) / min(peaks)
    say("memory", "peak, largest against smallest", value=ratio, unit="ratio", asked=ASKED_RATIO, size=size)


if __name__ == "__main__":
    main()
