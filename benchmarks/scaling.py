"""Does a mm² cost the same on a large slide as on a small one?

    python -m benchmarks.scaling [--mm2 1 16] [--rounds 1] [--engine auto] [--model geryon-s]

Each size runs in turn with 4 mm², in a process of its own, on a specimen that fills its slide: one synthetic square,
repeated. The value is the cost of a mm² over that on the 4 mm² before and after it (their mean). So a series can be
run in parts: `--mm2 64` (some minutes) says all there is to say about 64 mm². Peak memory is that of each size's own
process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from time import perf_counter, process_time
from typing import Any

from benchmarks.machine import say

REFERENCE_MM2 = 4.0
ASKED = 1.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mm2", type=float, nargs="+", default=[1.0, 16.0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--one", type=float, metavar="MM2", help="run this size here and print what it took")
    args = parser.parse_args()
    if args.one:
        sys.stdout.write(json.dumps(one(args.one, args.model, args.engine)) + "\n")
        return
    for mm2 in args.mm2:
        compare(mm2, args)


def compare(mm2: float, args: argparse.Namespace) -> None:
    """The lines of one size."""
    runs = [afresh(REFERENCE_MM2, args)]
    for _ in range(args.rounds):
        runs += [afresh(mm2, args), afresh(REFERENCE_MM2, args)]
    large, small = runs[1::2], runs[::2]
    size = {"mm2": mm2, "model": args.model, "engine": large[0]["engine"]}
    for name, runs_of, area in (("", large, mm2), (" (the reference)", small, REFERENCE_MM2)):
        seconds = [run["seconds"] / area for run in runs_of]
        say(
            "scaling",
            f"cost of a mm² on {area:g} mm²{name}",
            value=median(seconds),
            unit="s/mm²",
            low=min(seconds),
            high=max(seconds),
            rounds=len(seconds),
            core_seconds=median(run["core_seconds"] / area for run in runs_of),
            size=size,
            run_peak_gib=max(run["peak_gib"] for run in runs_of),
        )
    ratios = {key: [ratio(runs, i, key, mm2) for i in range(1, len(runs), 2)] for key in ("seconds", "core_seconds")}
    say(
        "scaling",
        f"cost of a mm² on {mm2:g} mm² against {REFERENCE_MM2:g} mm²",
        value=median(ratios["seconds"]),
        unit="ratio",
        low=min(ratios["seconds"]),
        high=max(ratios["seconds"]),
        rounds=args.rounds,
        core_seconds=median(ratios["core_seconds"]),
        asked=ASKED if mm2 > REFERENCE_MM2 else None,
        size=size,
    )


def ratio(runs: list[dict[str, Any]], i: int, key: str, mm2: float) -> float:
    """Cost of a mm² in run i over the mean of its neighbours, which are references."""
    return (runs[i][key] / mm2) / (mean((runs[i - 1][key], runs[i + 1][key])) / REFERENCE_MM2)


def afresh(mm2: float, args: argparse.Namespace) -> dict[str, Any]:
    """What a size takes in a process of its own."""
    words = ["--one", str(mm2), "--model", args.model, "--engine", args.engine]
    command = [sys.executable, "-m", "benchmarks.scaling", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def one(mm2: float, model: str, engine: str) -> dict[str, Any]:
    """Segment a specimen of that size, after a small one that compiles and warms up."""
    from benchmarks.repeated import repeated_slide
    from geryon.flows.segment import Options, segment_slide
    from geryon.nets.model import load_model

    net, options = load_model(model, engine=engine), Options(use_mask=False)
    with tempfile.TemporaryDirectory() as folder:
        segment_slide(repeated_slide(0.5), net, Path(folder) / "warm", options=options, tell=lambda event: None)
        slide = repeated_slide(mm2)
        began, busy = perf_counter(), process_time()
        record = segment_slide(slide, net, Path(folder) / "a", options=options, tell=lambda event: None)
        taken = {"seconds": perf_counter() - began, "core_seconds": process_time() - busy}
    return {**taken, "peak_gib": record.peak_memory_bytes / 2**30, "engine": net.engine.name}


if __name__ == "__main__":
    main()
