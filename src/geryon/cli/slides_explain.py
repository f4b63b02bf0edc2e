"""geryon slides explain: where a model of slides looked, back on the slide."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  geryon slides explain runs/lesion slides.csv --features out --out evidence
  geryon slides explain runs/lesion out/a out/b/features.zarr --out evidence --pictures slides
  geryon slides explain runs/type slides.csv --out evidence --method occlusion --output mucinous

Writes OUT/<slide>/evidence_<method>: .ome.tif (numbers), _colours.ome.tif, .geojson (regions; drop it on the slide in
QuPath), .png and .json. Patients that the model learnt from are explained by the networks that did not see them.
docs/evidence.md says what the numbers are.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "slide_model", metavar="model", type=Path, help="folder of geryon slides fit, or its slide_model.safetensors"
    )
    parser.add_argument("slides", nargs="+", type=Path, help="one table (.csv, .parquet), or volumes and their folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for the slides' evidence")
    parser.add_argument(
        "--method",
        default="",
        help="grad-cam, attention or occlusion (default: the first of them that the model has what it takes for)",
    )
    parser.add_argument("--output", default="", help="class or label to explain (default: the likeliest)")
    parser.add_argument("--threshold", type=float, help="regions are above it (default: Otsu's, of each slide)")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="the slides' files, to draw the evidence over")
    parser.add_argument("--features", type=Path, metavar="FOLDER", help="folder that holds each slide's folder")
    parser.add_argument("--skip-empty", action="store_true", help="leave out slides without tissue")


def run(args: argparse.Namespace) -> int:
    """Explain, and say where it lies."""
    from geryon.cohort.explain import Explain, explain_slides
    from geryon.cohort.question import Question

    asked = Explain(method=args.method, output=args.output, threshold=args.threshold, pictures=args.pictures)
    question = Question(features=args.features, skip_empty=args.skip_empty)
    folders = explain_slides(
        args.slide_model, args.slides, out=args.out, question=question, asked=asked, tell=args.tell
    )
    args.say(f"{args.out}: {len(folders)} slides")
    return 0
