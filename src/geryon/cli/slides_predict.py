"""geryon slides predict: what a model of slides says of slides."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  geryon slides predict runs/grade new.csv --features out --out predictions.csv
  geryon slides predict slide_model.safetensors out/a out/b/features.zarr --out predictions.csv
  geryon slides predict runs/grade slides.csv --fold 2 --out fold2.csv      (only networks that did not see fold 2)
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "slide_model", metavar="model", type=Path, help="folder of geryon slides fit, or its slide_model.safetensors"
    )
    parser.add_argument("slides", nargs="+", type=Path, help="one table (.csv, .parquet), or volumes, folders and .h5")
    parser.add_argument("--out", type=Path, required=True, help="the CSV to write")
    parser.add_argument("--features", type=Path, metavar="FOLDER", help="folder that holds each slide's folder")
    parser.add_argument("--skip-empty", action="store_true", help="leave out slides without tissue")
    parser.add_argument("--fold", type=int, default=0, help="only networks that did not see this fold")


def run(args: argparse.Namespace) -> int:
    """Answer, write the table, return the exit code."""
    from geryon.cohort.answering import predict_slides
    from geryon.cohort.question import Question

    question = Question(features=args.features, skip_empty=args.skip_empty)
    answered = predict_slides(
        args.slide_model, args.slides, question=question, out=args.out, fold=args.fold, tell=args.tell
    )
    args.say(f"{args.out}: {len(answered.names)} slides")
    return 0
