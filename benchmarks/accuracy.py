"""How right are the shipped weights?

    python -m benchmarks.accuracy [--data DIR] [--models geryon-s geryon-s-research] [--lines glas]

A line a figure: value, interval, protocol, what is asked, and after it the floors that it has to beat. Test images are
those that the model's own document says it was not trained on (`held_out`: {source: [groups]}; all where the source is
not among its own), and for GlaS the contest's testA. Without the data it says so and exits 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import say, skip
from geryon import plugins
from geryon.errors import GeryonError
from geryon.train.evaluate import MODEL, Evaluation, Look, Row, evaluate
from geryon.train.floors import ThresholdFloor
from geryon.train.sources.synthetic import squares

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MODELS = ("geryon-s", "geryon-s-research")
FRESH_SEEDS = range(7000, 7008)
"""Of synthetic slides: the source `synthetic` has others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One source and the figures of it that are reported."""

    source: str
    figures: dict[tuple[str, str], float | None]
    """(task, metric) -> the figure that is asked for, None where it only has to beat its floors."""
    only: str = ""
    """Prefix of the names of the test images; empty: the groups that the model holds out."""
    threshold: bool = False
    """Report the threshold floor too."""


LINES = (
    Line(
        source="glas",
        only="testA",
        threshold=True,
        figures={
            ("glands", "object_f1"): 0.89,
            ("glands", "object_dice"): 0.90,
            ("glands", "object_hausdorff_px"): None,
            ("glands", "accuracy"): None,
            ("glands", "balanced_accuracy"): None,
            ("lumina", "bright_dice"): None,
        },
    ),
    Line(
        source="consep",
        threshold=True,
        figures={
            ("nuclei", "pq"): 0.42,
            ("nuclei", "dice"): None,
            ("nuclei", "f_d"): None,
            ("nuclei", "accuracy"): None,
            ("nuclei", "balanced_accuracy"): None,
            ("nuclei", "given_weighted_f1"): None,
            ("nuclei", "given_balanced_accuracy"): None,
        },
    ),
    Line(source="monuseg", threshold=True, figures={("nuclei", "aji"): 0.58, ("nuclei", "pq"): None}),
    Line(source="tnbc", threshold=True, figures={("nuclei", "pq"): 0.50, ("nuclei", "dice"): None}),
    Line(
        source="crchistophenotypes",
        figures={
            ("nuclei", "f_d"): None,
            ("nuclei", "accuracy"): None,
            ("nuclei", "balanced_accuracy"): None,
            ("nuclei", "given_weighted_f1"): 0.78,
        },
    ),
    Line(
        source="synthetic",
        figures={
            ("lumina", "pq"): 0.7,
            ("lumina", "dice"): None,
            ("glands", "object_f1"): None,
            ("nuclei", "pq"): None,
            ("tissue", "balanced_accuracy"): None,
        },
    ),
    Line(source="lc25000_colon", figures={("tissue", "accuracy"): None, ("tissue", "balanced_accuracy"): 0.95}),
    Line(source="kather_crc", figures={("tissue", "accuracy"): None, ("tissue", "balanced_accuracy"): None}),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print every figure; 0 also where the data or a model is absent, which is said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with one folder a source")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--engine", default="auto", help="as of geryon segment: what computes (default: %(default)s)")
    parser.add_argument("--lines", nargs="+", default=[line.source for line in LINES], help="names of sources")
    parser.add_argument("--first", type=int, default=0, help="only so many images a source, to try it out")
    args = parser.parse_args(argv)
    for line in LINES:
        if line.source not in args.lines:
            continue
        root = args.data / line.source
        if not root.is_dir() and line.source != "synthetic":
            skip("accuracy", f"figures of {line.source}", f"the data are not at {root.name!r} under --data")
            continue
        for record in measured(line, root, [partial(load, name, args.engine) for name in args.models], args.first):
            tell(record)
    return 0


def load(name: str, engine: str) -> Any:
    """A model in that engine."""
    from geryon.nets.model import load_model

    return load_model(name, engine=engine)


def tell(record: dict[str, Any]) -> None:
    """One figure, or why there is none."""
    if "skipped" in record:
        skip("accuracy", f"figures of {record['source']} by {record['model']}", record["skipped"])
        return
    task, metric, value = record.pop("task"), record.pop("metric"), record.pop("value")
    better = "lower" if metric.endswith("_px") else "higher"
    asked, size = record.pop("asked"), {key: record.pop(key) for key in ("source", "images", "by")}
    if value is None:
        skip("accuracy", f"{task} {metric}", "it is not defined on these images", **size)
        return
    say("accuracy", f"{task} {metric}", value=value, unit=metric, asked=asked, better=better, size=size, **record)


def measured(line: Line, root: Path, models: Sequence[partial[Any]], first: int) -> Iterator[dict[str, Any]]:
    """The records of one line: each model's figures with their floors, or why there are none."""
    from geryon.train.source import SOURCES

    if line.source == "synthetic":
        cases = list(squares(FRESH_SEEDS))
    else:
        cases = list(plugins.find(SOURCES, "geryon.sources", line.source).cases(root))
    floored: set[tuple[str, ...]] = set()
    for load_it in models:
        name = load_it.args[0]
        try:
            model = load_it()
        except GeryonError as error:
            yield {"source": line.source, "model": name, "skipped": str(error)}
            continue
        own = {task.name for task in model.tasks}
        tasks = [task for task in dict.fromkeys(task for task, _ in line.figures) if task in own]
        test, train, split = parted(line, cases, model.document)
        if not test or not tasks:
            why = "the model holds out nothing of this source" if tasks else "the model has none of these tasks"
            yield {"source": line.source, "model": name, "skipped": why}
            continue
        test = test[:first] if first else test
        if line.threshold and (key := tuple(case.name for case in test)) not in floored:
            floored.add(key)
            yield from threshold_records(line, test, split)
        result = evaluate(model, test, tasks=tasks, train_cases=train, look=Look(source=line.source))
        yield from records(line, result, name, split)


def parted(line: Line, cases: Sequence[Any], document: Any) -> tuple[list[Any], list[Any], str]:
    """Test cases, training cases, and the split in words."""
    held_out = getattr(document, "held_out", None) or document.training.get("held_out", {})
    if line.source == "synthetic":
        test, split = list(cases), f"slides of seeds {FRESH_SEEDS[0]} to {FRESH_SEEDS[-1]}, which no model learnt from"
    elif line.only:
        test = [case for case in cases if case.name.startswith(line.only)]
        split = f"images {line.only}*, the source's own split"
    elif line.source in {source.name for source in document.sources}:
        groups = {str(group) for group in held_out.get(line.source, ())}
        test = [case for case in cases if str(case.group) in groups]
        split = f"groups held out by the model: {', '.join(sorted(groups))}"
    else:
        test, split = list(cases), "all images: the model never saw this source"
    chosen = {id(case) for case in test}
    return test, [case for case in cases if id(case) not in chosen], split


def threshold_records(line: Line, test: Sequence[Any], split: str) -> Iterator[dict[str, Any]]:
    """The figures of thresholding by colour, on the same images."""
    floor = ThresholdFloor()
    tasks = [task.name for task in floor.tasks if any(task.name == asked for asked, _ in line.figures)]
    result = evaluate(floor, test, tasks=tasks, look=Look(source=line.source, bright_lumina=False))
    for task, metric in line.figures:
        row = result.figure(task, metric)
        if row is not None and "accuracy" not in metric:
            yield record(row, floor.name, split, None)


def records(line: Line, result: Evaluation, model: str, split: str) -> Iterator[dict[str, Any]]:
    """The asked figures of a model, and after each the floors that it has to beat."""
    for (task, metric), asked in line.figures.items():
        for row in result.rows:
            if (row.task, row.metric, row.stratum) == (task, metric, ""):
                yield record(row, model if row.by == MODEL else row.by, split, asked if row.by == MODEL else None)


def record(row: Row, by: str, split: str, asked: float | None) -> dict[str, Any]:
    """One figure as JSON has it."""
    fields = {k: (None if v != v else round(v, 4) if isinstance(v, float) else v) for k, v in asdict(row).items()}
    return fields | {"by": by, "split": split, "asked": asked}


if __name__ == "__main__":
    sys.exit(main())
