"""What does it cost to close the seams: objects owned, regions joined across tiles, put in order?

    python -m benchmarks.stitch [--mm2 4] [--tiles 512 1024] [--rounds 5]

The tiles of a specimen are decoded once; timed is what becomes of them on one core: tiles in memory in, whole objects
of the slide in level0 and in Hilbert order out. Smaller tiles have more seams for the same objects.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial

from benchmarks.finished import Found, found_in
from benchmarks.machine import interleaved, say
from geryon.flows.across import SEAMS, raster
from geryon.tasks.task import Task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mm2", type=float, default=4.0)
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for tile_px in args.tiles:
        found = found_in(args.mm2, tile_px)
        tasks = {task.name: task for task in found.net.tasks}
        calls = {name: partial(closed, found, task) for name, task in tasks.items()}
        for name, taken in interleaved(calls, args.rounds).items():
            size = {"mm2": args.mm2, "tile_px": tile_px, "task": name}
            told = {"objects": closed(found, tasks[name])}
            say("stitch", f"seams of {name} ({tasks[name].seam})", **taken.each(args.mm2), unit="s/mm²", size=size, **told)


def closed(found: Found, task: Task) -> int:
    """Close the seams of one task; the number of its objects, or of the cells of its raster."""
    if task.seam == "place":
        return int(raster(found.plan, task, lambda cell, t: found.tiles[cell][t.name])[..., 0].size)
    dropped: Counter[str] = Counter()
    whole = SEAMS[task.seam](found.plan, task, lambda cell, t: found.tiles[cell][t.name], found.slide.frame, dropped)
    return sum(len(objects) for objects in whole)


if __name__ == "__main__":
    main()
