"""geryon demo: a synthetic slide through the whole of segment, with a picture of the result."""

from __future__ import annotations

import argparse
from pathlib import Path

NEXT = """\
Next:
  look at        {picture}
  in QuPath      geryon export {folder} --to geojson   (then drag the slide and the file into QuPath)
  in Python      import geryon; geryon.read_objects("{folder}", "nuclei")
  your own slide geryon segment your_slide.svs --out results
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--out", type=Path, default=Path("geryon-demo"), help="folder (default: %(default)s)")
    parser.add_argument("--size-mm", type=float, default=2.0, help="side of the synthetic slide (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the synthetic slide (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Make a slide, segment it, draw the result, say what to do next."""
    from geryon.flows.demo import demo

    done = demo(args.out, side_um=1000.0 * args.size_mm, seed=args.seed, tell=args.tell)
    record = done.record
    for task in record.object_tasks:
        args.say(f"{record.tasks[task].objects:7d} {task}")
    seconds = sum(record.seconds.values())
    args.say(f"{record.tissue_mm2:.1f} mm² in {seconds:.1f} s, {record.peak_memory_bytes / 2**30:.1f} GiB at most\n")
    args.say(NEXT.format(picture=done.picture, folder=record.folder))
    return 0
