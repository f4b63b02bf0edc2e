"""How many nuclei a second does each measure take on one core?

    python -m benchmarks.measure [--mm2 1] [--rounds 3]

A specimen is segmented once; timed is what makes the further columns of its table from outlines and, where a measure
looks at colours, from pixels that are read again. Writing them is timed by `benchmarks.store`.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import cv2

from benchmarks.finished import run_of
from benchmarks.machine import interleaved, say
from geryon import plugins
from geryon.flows.measure import GROUP, MEASURES, Place, get_measures
from geryon.store.rows import stored_objects

TASK = "nuclei"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mm2", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        slide, record = run_of(args.mm2, Path(folder) / "a")
        outlines = stored_objects(record, TASK).outlines
        place = Place(slide=slide, mpp=record.tasks[TASK].mpp)
        names = plugins.names(MEASURES, GROUP)
        calls = {name: partial(get_measures([name])[0].of, outlines, place) for name in names}
        for name, taken in interleaved(calls, args.rounds).items():
            timed = taken.rate(len(outlines), of="cpu")
            size = {"mm2": args.mm2, "task": TASK, "measure": name}
            told = {"objects": len(outlines)}
            say("measure", f"{TASK}, {name}", **timed, unit="nuclei/core second", better="higher", size=size, **told)


if __name__ == "__main__":
    main()
