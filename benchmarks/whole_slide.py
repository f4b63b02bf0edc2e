"""What does a mm² cost from slide to objects on disk, and how much of that is the network alone?

    python -m benchmarks.whole_slide [--engine cpu openvino] [--side-mm 2] [--rounds 3] [--model geryon-s]

A synthetic slide, all tasks. The whole job and the bare network over the same windows (halo included, pixels read
before) run in turn, for each engine in turn. `the network's share` is the roofline: what the bare network takes over
what the whole job takes, 1 where all else costs nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.finished import bare
from benchmarks.machine import Seconds, interleaved, ratio_of, say
from benchmarks.nets import opened
from geryon.flows.plan import cutting_of, make_plan
from geryon.flows.segment import Options, segment
from geryon.flows.synth import synth
from geryon.nets.model import Model
from geryon.slides.reader import open_slide
from geryon.store.run import RunRecord

ASKED_S = {"bfloat16": 0.5, "float32": 1.5, "int8": 1.5}
"""s/mm² on two cores, by what the network computes in."""
ASKED_BESIDE_S = 0.15
ASKED_SHARE_OF_CARD = 0.7
ASKED_BYTES = 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="+", default=["auto"])
    parser.add_argument("--side-mm", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="geryon-s")
    args = parser.parse_args()
    nets = dict(opened("whole_slide", args.model, args.engine))
    with tempfile.TemporaryDirectory() as folder:
        path = synth(Path(folder) / "slide.tiff", size_um=(1000 * args.side_mm, 1000 * args.side_mm), seed=11)
        runs, calls = count(), {}
        records: dict[str, list[RunRecord]] = {name: [] for name in nets}

        def whole(name: str) -> Callable[[], None]:
            def run() -> None:
                out = Path(folder) / f"run{next(runs)}"
                records[name].append(segment(path, out=out, model=nets[name], options=Options(use_mask=False)))

            return run

        for name, net in nets.items():
            calls[name, "whole"] = whole(name)
            calls[name, "network"] = network_over(path, net)
        taken = interleaved(calls, args.rounds)
        for name, net in nets.items():
            size = {"mm2": args.side_mm**2, "model": args.model, "engine": net.engine.name}
            tell((taken[name, "whole"], taken[name, "network"]), records[name], size, net.engine.precision)


def network_over(path: Path, net: Model) -> Callable[[], Any]:
    """A call of the network alone over all windows of the slide."""
    with open_slide(path) as slide:
        cutting = cutting_of(net)
        plan = make_plan(slide.frame, slide.grid_mpp(net.mpp), net, has_tissue=lambda box: True, cutting=cutting)
        run = bare(slide, net, plan)
    return lambda: len(run())


def tell(taken: tuple[Seconds, Seconds], records: Sequence[RunRecord], size: dict[str, Any], precision: str) -> None:
    """All lines of one engine."""
    whole, network = taken
    mm2, last, on_card = size["mm2"], records[-1], size["engine"] == "cuda"
    told = {
        "precision": precision,
        "objects": {name: last.tasks[name].objects for name in last.object_tasks},
        "stages": median_of([record.seconds for record in records[1:]]),
    }
    asked = None if on_card else ASKED_S.get(precision)
    say("whole_slide", "slide to objects on disk", **whole.each(mm2), unit="s/mm²", asked=asked, size=size, **told)
    say("whole_slide", "the bare network over the same windows", **network.each(mm2), unit="s/mm²", size=size)
    beside = Seconds(
        tuple(a - b for a, b in zip(whole.wall, network.wall, strict=True)),
        tuple(a - b for a, b in zip(whole.cpu, network.cpu, strict=True)),
    )
    asked = None if on_card else ASKED_BESIDE_S
    say("whole_slide", "all beside the network", **beside.each(mm2), unit="s/mm²", asked=asked, size=size)
    say(
        "whole_slide",
        "the network's share of the whole (roofline)",
        **ratio_of(network, whole),
        unit="share",
        better="higher",
        asked=ASKED_SHARE_OF_CARD if on_card else None,
        size=size,
    )
    nuclei = last.paths["objects/nuclei"].stat().st_size / max(1, last.tasks["nuclei"].objects)
    say("whole_slide", "bytes a nucleus, every column", value=nuclei, unit="bytes", asked=ASKED_BYTES, size=size)


def median_of(stages: Sequence[Any]) -> dict[str, float]:
    """By stage, the median over runs."""
    return {name: float(np.median([each[name] for each in stages])) for name in stages[0]}


if __name__ == "__main__":
    main()
