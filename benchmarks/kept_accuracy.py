"""Does every engine find what torch with float32 finds? Nuclei of both matched, and both against the truth.

    python -m benchmarks.kept_accuracy [--engine cpu openvino] [--data DIR] [--first 0] [--model geryon-s]

Images of CoNSeP and MoNuSeg that the model's document holds out (all, where it never saw the set), and squares of
synthetic slides, which need no data. A line for each engine and set: by how much panoptic quality against the truth
differs from that of float32. `against_float32` is the panoptic quality of its objects with those of float32 as truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import say, skip
from benchmarks.nets import exact, opened, processor_engines
from geryon.nets.model import Model
from geryon.space.boxes import Frame
from geryon.space.drawing import drawn
from geryon.tasks.metrics import Tally, tally
from geryon.train.source import Case, get_source
from geryon.train.sources.synthetic import squares

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SOURCES = ("synthetic", "consep", "monuseg")
FRESH_SEEDS = range(7000, 7004)
TASK = "nuclei"
ASKED = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="+", help="default: all that open here, but for cards")
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--first", type=int, default=0, help="only so many images a set")
    args = parser.parse_args()
    truth_bound = exact(args.model)
    nets = dict(opened("kept_accuracy", args.model, args.engine or processor_engines()))
    for source in args.sources:
        if source != "synthetic" and not (args.data / source).is_dir():
            skip("kept_accuracy", f"{TASK} of {source}", "the data are not under --data", source=source)
            continue
        cases = list(held_out(source, args.data / source, truth_bound))
        compare(source, cases[: args.first] if args.first else cases, truth_bound, nets)


def held_out(source: str, root: Path, net: Model) -> Iterator[Case]:
    """The images of a set that the model did not learn from."""
    if source == "synthetic":
        yield from squares(FRESH_SEEDS)
        return
    document = net.document
    seen = source in {each.name for each in document.sources}
    groups = {str(group) for group in document.held_out.get(source, ())}
    yield from (c for c in get_source(source).cases(root) if not seen or {str(c.group), c.name} & groups)


def compare(source: str, cases: Sequence[Case], reference: Model, nets: dict[str, Model]) -> None:
    """The lines of a set, all engines over each image in turn."""
    by_truth: dict[str, Tally] = {}
    by_reference: dict[str, Tally] = {}
    for case in cases:
        image, labelled = case.image(), case.labels[TASK]()
        truth = known(labelled.objects, labelled)
        expected = found(reference, image, case.mpp)
        add(by_truth, "", tally(known(expected, labelled), truth))
        for name, net in nets.items():
            labels = found(net, image, case.mpp)
            add(by_truth, name, tally(known(labels, labelled), truth))
            add(by_reference, name, tally(labels, expected))
    for name, net in nets.items():
        pq, pq_float32 = by_truth[name].scores()["pq"], by_truth[""].scores()["pq"]
        say(
            "kept_accuracy",
            f"{TASK} PQ on {source}, difference from float32",
            value=abs(pq - pq_float32),
            unit="PQ",
            asked=ASKED,
            size={"source": source, "images": len(cases), "model": net.document.name, "engine": name},
            precision=net.engine.precision,
            pq=pq,
            pq_float32=pq_float32,
            against_float32=by_reference[name].scores()["pq"],
            objects=int(by_reference[name].found),
        )


def found(net: Model, image: np.ndarray, mpp: float) -> np.ndarray:
    """int32 [y, x]: the objects of the task as the model draws them."""
    objects = net.predict(image, mpp=mpp).objects[TASK]
    frame = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=image.shape[1], height=image.shape[0])
    return drawn(objects.outlines, np.arange(1, len(objects) + 1), frame.box)


def known(labels: np.ndarray, labelled: Any) -> np.ndarray:
    """The labels where the source says the whole truth."""
    return labels if labelled.known is None else np.where(labelled.known, labels, 0)


def add(tallies: dict[str, Tally], name: str, one: Tally) -> None:
    tallies[name] = tallies[name] + one if name in tallies else one


if __name__ == "__main__":
    main()
