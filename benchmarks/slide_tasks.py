"""How well are real images classified from one label each, once compressed?

    python -m benchmarks.slide_tasks [--data DIR] [--out FOLDER] [--encoder geryon-s FILE.h5] [--model mean attention]

Images stand in for slides: each is compressed, and `geryon slides fit` learns from the volumes. GlaS asks for malignant
against benign (16 patients), EBHI-Seg for one of six stages; patients and cases are held out, intervals are drawn over
them. geryon-s learnt glands, not stages, from EBHI-Seg: a line of its own has the cases that it never saw. With --out
volumes and networks are kept, and the same command goes on. Without the data it says so and exits 0.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import say, skip
from geryon.cohort.fit import Course, fit_slides
from geryon.cohort.outcome import PREDICTIONS
from geryon.cohort.question import Question
from geryon.cohort.results import write_table
from geryon.errors import GeryonError
from geryon.flows.compress import compress_slide
from geryon.flows.compress_options import CompressOptions
from geryon.nets.encoder import Encoder, load_encoder
from geryon.slides.array import slide_of_image
from geryon.store.features import NAME
from geryon.tasks.weighted_metrics import balanced_accuracy, with_intervals
from geryon.train.source import Case, get_source

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEEDS = 3
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideTask:
    """A question about whole images."""

    source: str
    label_of: Callable[[Case], str]
    figure: str
    asked: float | None = None


TASKS = (
    SlideTask(source="glas", label_of=lambda case: case.stratum, figure="auc", asked=0.95),
    SlideTask(source="ebhi_seg", label_of=lambda case: case.name.rpartition("-")[2], figure="balanced_accuracy"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, help="folder to keep volumes and networks in")
    parser.add_argument("--encoder", nargs="+", default=["geryon-s"])
    parser.add_argument("--model", nargs="+", default=["mean", "attention"])
    parser.add_argument("--source", nargs="+", default=[task.source for task in TASKS])
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            if task.source in args.source:
                run(task, args.out or Path(folder), args)


def run(task: SlideTask, out: Path, args: argparse.Namespace) -> None:
    """All lines of one source."""
    try:
        cases = list(get_source(task.source).cases(args.data / task.source))
    except (GeryonError, OSError) as error:
        skip("slide_tasks", "images classified from one label each", str(error), source=task.source)
        return
    for name in args.encoder:
        encoder = load_encoder(name)
        table = compressed(task, cases, encoder, out / task.source / encoder.name)
        for model in args.model:
            fitted(task, table, encoder, model, args.folds)


def compressed(task: SlideTask, cases: Sequence[Case], encoder: Encoder, folder: Path) -> Path:
    """The table of the images with their volumes; those that are there are not made again."""
    rows = [["slide", "patient", "features", "label"]]
    options = CompressOptions(use_mask=False, allow_upsampling=True)
    for case in cases:
        slide = slide_of_image(case.image(), mpp=case.mpp, name=case.name)
        compress_slide(slide, encoder, folder / case.name, options=options)
        rows.append([case.name, case.group, f"{case.name}/{NAME}", task.label_of(case)])
    write_table(folder / "slides.csv", rows)
    return folder / "slides.csv"


def fitted(task: SlideTask, table: Path, encoder: Encoder, model: str, folds: int) -> None:
    """Learn, and tell what was found out of fold."""
    # Images are a few cells wide: half as large a crop would lose context, a larger one would be white.
    course = Course(model=model, folds=folds, seeds=SEEDS, settings={"cells": 8} if model == "cnn" else {})
    out = table.parent / f"run-{model}"
    question = Question(labels=("label",))
    found = fit_slides(table, out=out, question=question, course=course).figures["slides"]["mean"]
    size = {"source": task.source, "encoder": encoder.name, "model": model, "folds": folds, "seeds": SEEDS}
    told = {"figures": found, "patients": "out of fold"}
    line(task, "out of fold", found[task.figure], size, asked=task.asked, **told)
    if unseen := cases_unseen(encoder, task.source):
        line(task, "out of fold, cases that the encoder never saw", of_some(out / PREDICTIONS, unseen), size)


def line(task: SlideTask, which: str, value: dict[str, float], size: dict[str, Any], **more: Any) -> None:
    question = f"{task.figure}, {which}"
    say("slide_tasks", question, **value, unit=task.figure, better="higher", size=size, **more)


def cases_unseen(encoder: Encoder, source: str) -> frozenset[str]:
    """Cases of the source that the encoder held out, where it learnt from others of it."""
    return frozenset(encoder.document.held_out.get(source, ()))


def of_some(predictions: Path, patients: frozenset[str]) -> dict[str, float]:
    """Balanced accuracy over the slides of these patients."""
    every = list(answers(predictions))
    classes = sorted({row["label"] for row in every})
    rows = [row for row in every if row["patient"] in patients]
    true = np.array([classes.index(row["label"]) for row in rows])
    said = np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows]).argmax(1)
    return with_intervals(
        lambda weights: {"balanced_accuracy": balanced_accuracy(true, said, weights)},
        [row["patient"] for row in rows],
    )["balanced_accuracy"]


def answers(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    main()
