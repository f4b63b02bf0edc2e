"""geryon slides needles: how small may an object be in an image, and which pooling finds it."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  geryon slides needles --out runs/needles
  geryon slides needles --out runs/needles --minutes 5          (goes on where it stopped)
  geryon slides needles --out runs/quick --ratios 0.1,0.01 --train 100 --pooling mean,attention --steps 200

Writes needles.json (all runs), needles.csv and needles.svg, and says which known trends hold. The images are codes of
drawn digits: nothing is read or downloaded. docs/synthetic.md says what is varied.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, required=True, help="folder of the series")
    parser.add_argument(
        "--ratios", default="0.1,0.01,0.001,0.0001", help="object to image, by commas (default: %(default)s)"
    )
    parser.add_argument("--train", default="100,1000", help="images to learn from, by commas (default: %(default)s)")
    parser.add_argument(
        "--pooling", default="mean,max,lse,attention,cnn", help="which, by commas (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each combination (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=800, help="training steps of a run (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so long (default: all)")


def run(args: argparse.Namespace) -> int:
    """Run the series and say what it shows."""
    from geryon.cohort.needle_series import PLOT, Series, needles
    from geryon.errors import UsageError

    try:
        ratios = tuple(float(each) for each in args.ratios.split(","))
        train = tuple(int(each) for each in args.train.split(","))
    except ValueError as error:
        raise UsageError(
            what=f"--ratios and --train take numbers: {error}", mend="such as 0.1,0.01 and 100,1000"
        ) from None
    pooling = tuple(args.pooling.split(","))
    series = Series(ratios=ratios, train=train, pooling=pooling, seeds=args.seeds, steps=args.steps)
    found = needles(args.out, series, minutes=args.minutes, tell=args.tell)
    words = {True: "holds", False: "does not hold", None: "open (runs are missing, or it was not varied)"}
    for trend, holds in found.trends:
        args.say(f"{trend}: {words[holds]}")
    more = f"; {found.left} runs are left, the same command goes on" if found.left else ""
    args.say(f"{found.folder / PLOT}: {len(found.points)} points{more}")
    return 0
