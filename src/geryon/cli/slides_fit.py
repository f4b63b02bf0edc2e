"""geryon slides fit: learn from a table of slides with one label each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geryon.cli.names import add_names

EPILOG = """\
examples:
  geryon slides fit slides.csv --label grade --features out --out runs/grade
  geryon slides fit slides.csv --label grade --target ordinal --classes low,mid,high --model attention --out runs/g
  geryon slides fit slides.csv --time months --event died --model mean --objects --out runs/survival

The table (CSV or Parquet) has a row a slide: slide, patient (else each slide is one), features (features.zarr or the
slide's folder of results, from the table's folder on; or --features FOLDER for FOLDER/<slide>), objects (folder of
geryon segment's results; else that of the features), fold, and the columns that hold labels.

OUT gets predictions.csv and patients.csv (of networks that did not see the patient), figures.json with intervals,
report.html and slide_model.safetensors. Ctrl-C keeps what is finished; the same command goes on from it.
"""
SETTINGS = ("cells", "head", "instances", "batch", "rate", "epochs", "patience", "test_crops")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("table", type=Path, help="the table of slides (.csv or .parquet)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    add_names(parser, "--label", "--labels", dest="labels", help="column of the label; several for multilabel")
    parser.add_argument(
        "--target",
        default="",
        help="binary, multiclass, ordinal, multilabel, regression or survival (default: by what the column holds)",
    )
    add_names(parser, "--classes", dest="classes", help="classes in order, least first; of two, the second is asked")
    parser.add_argument("--time", default="", metavar="COLUMN", help="survival: time to the event or the last visit")
    parser.add_argument("--event", default="", metavar="COLUMN", help="survival: 1 where the event came, 0 if censored")
    parser.add_argument(
        "--features", type=Path, metavar="FOLDER", help="folder that holds each slide's folder (volume, objects)"
    )
    parser.add_argument(
        "--model",
        dest="slide_network",
        metavar="MODEL",
        default="cnn",
        help="cnn, attention, mean or objects (default: %(default)s)",
    )
    parser.add_argument("--objects", action="store_true", help="also counts, densities and class mix of the objects")
    parser.add_argument("--skip-empty", action="store_true", help="leave out slides without tissue")
    parser.add_argument("--folds", type=int, default=5, help="parts of the patients (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="networks a fold (default: %(default)s)")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="of volumes kept in memory (default: %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")
    training = parser.add_argument_group("training (docs/slides.md has the defaults and their reasons)")
    training.add_argument("--cells", type=int, help="side of the CNN's crops in cells (400)")
    training.add_argument("--head", help="of the CNN: mean (of the last map) or flat")
    training.add_argument("--instances", type=int, help="most cells of a bag in a step, for attention (4096)")
    training.add_argument("--batch", type=int, help="slides a step (16)")
    training.add_argument("--rate", type=float, help="first learning rate (cnn 0.01, attention 0.001)")
    training.add_argument("--epochs", type=int, help="most epochs (200)")
    training.add_argument("--patience", type=int, help="epochs without gain before the rate falls (8)")
    training.add_argument("--test-crops", type=int, help="crops of a slide that are answered, each in 8 turns (10)")


def run(args: argparse.Namespace) -> int:
    """Learn, say the main figures, return the exit code."""
    from geryon.cohort.fit import Course, fit_slides

    _check(args)
    course = Course(
        model=args.slide_network,
        settings={name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None},
        folds=args.folds,
        seeds=args.seeds,
        memory_bytes=int(args.memory_gb * 2**30),
        device=args.device,
    )
    fitted = fit_slides(args.table, out=args.out, question=question_of(args), course=course, tell=args.tell)
    for level in ("slides", "patients"):
        for name, value in fitted.figures.get(level, {}).get("mean", {}).items():
            args.say(f"{level} {name} {_interval(value)}")
    args.say(f"{fitted.model} and {args.out / 'report.html'}")
    return 0


def question_of(args: argparse.Namespace) -> Any:
    """What the command line asks of the table."""
    from geryon.cohort.question import Question

    return Question(
        labels=tuple(args.labels or ()),
        kind=args.target,
        classes=tuple(args.classes or ()),
        time=args.time,
        event=args.event,
        features=args.features,
        objects=args.objects,
        skip_empty=args.skip_empty,
    )


def _check(args: argparse.Namespace) -> None:
    from geryon.errors import UsageError

    if not args.labels and not (args.time or args.event):
        raise UsageError(what="nothing is asked", mend="give --label COLUMN, or --time COLUMN and --event COLUMN")
    if args.seeds < 1:
        raise UsageError(what=f"--seeds is {args.seeds}", mend="give 1 or more")
    if args.memory_gb < 0:
        raise UsageError(what=f"--memory-gb is {args.memory_gb:g}", mend="give 0 (keep nothing) or more")


def _interval(value: dict[str, float | None]) -> str:
    told = [f"{number:.3f}" if number is not None else "-" for number in (value["value"], value["low"], value["high"])]
    return f"{told[0]} ({told[1]} to {told[2]})"
