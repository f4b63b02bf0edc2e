"""Seconds per mm² from slide to objects on disk, all tasks, beside the bare network over the same windows.

Asked (issue Spine): at most 1.5 s/mm² on two cores with AMX, 0.5 the goal.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.machine import about, interleaved, say
from geryon.flows.plan import cutting_of, make_plan
from geryon.flows.segment import Options, read_window, segment
from geryon.flows.synth import synth
from geryon.nets.model import Model, load_model
from geryon.runtime.stream import Lanes, stream
from geryon.slides.reader import open_slide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side-mm", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="geryon-s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = synth(Path(folder) / "slide.tiff", size_um=(1000 * args.side_mm, 1000 * args.side_mm), seed=11)
        net = load_model(args.model)
        runs = iter(range(1000))
        records = []

        def whole() -> None:
            out = Path(folder) / f"run{next(runs)}"
            records.append(segment(path, out=out, model=net, options=Options(use_mask=False)))

        seconds = interleaved({"whole": whole, "network": lambda: bare(path, net)}, args.rounds)
    area_mm2 = args.side_mm**2
    last = records[-1]
    say(
        question="seconds per mm²",
        value=round(seconds["whole"] / area_mm2, 3),
        bare_network=round(seconds["network"] / area_mm2, 3),
        beside_the_network=round((seconds["whole"] - seconds["network"]) / area_mm2, 3),
        asked="<= 1.5 with AMX (goal 0.5)",
        mm2=area_mm2,
        engine=last.engine,
        objects={name: last.tasks[name].objects for name in last.object_tasks},
        peak_gib=round(last.peak_memory_bytes / 2**30, 2),
        **about(),
    )


def bare(path: Path, net: Model) -> None:
    """The network alone over all windows of the slide, halo included, images read before."""
    with open_slide(path) as slide:
        plan = make_plan(
            slide.frame, slide.grid_mpp(net.mpp), net, has_tissue=lambda box: True, cutting=cutting_of(net)
        )
        read = [(read_window(slide, plan.window(c).outer).image, plan.window(c).outer) for c in plan.kept]
    lanes = Lanes(workers=net.engine.lanes, batch=net.engine.batch)
    for _ in stream(read, lambda r: r, lambda batch: net.maps([i for i, _ in batch], [o for _, o in batch]), lanes):
        pass


if __name__ == "__main__":
    main()
