"""geryon synth: make a slide whose truth is known."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

HELP = "make a synthetic H&E slide whose every nucleus and gland is known"
EPILOG = """\
examples:
  geryon synth demo.tiff --size-mm 2x2 --seed 1
  geryon synth big.tiff --size-mm 20x20 --tissue-mm2 25 --malignant 0.5

Writes the slide (pyramidal OME-TIFF) and <name>.truth.json, from which Python makes its truth again:
  geryon.slides.synthetic.SyntheticSlide.from_file("demo.tiff").truth("nuclei", box, 0.5)
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path, metavar="OUT", help="the slide to write, such as demo.tiff")
    parser.add_argument("--size-mm", default="2x2", metavar="WxH", help="width and height (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed, another slide and stain (default: %(default)s)"
    )
    parser.add_argument("--mpp", type=float, default=0.5, help="µm per pixel (default: %(default)s)")
    parser.add_argument(
        "--malignant", type=float, default=0.3, help="share of the glandular tissue, 0 to 1 (default: %(default)s)"
    )
    parser.add_argument("--tissue-mm2", type=float, help="area of the specimen amid glass (default: tissue all over)")
    parser.add_argument("--jpeg", type=int, default=90, help="quality of the file's JPEG (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Write the slide and say where."""
    from geryon.events import nobody
    from geryon.flows.synth import synth

    path = synth(
        args.out,
        size_um=size_um(args.size_mm),
        seed=args.seed,
        mpp=args.mpp,
        malignant=args.malignant,
        tissue_mm2=args.tissue_mm2,
        quality=args.jpeg,
        tell=getattr(args, "tell", nobody),
    )
    getattr(args, "say", print)(f"{path}: {args.size_mm} mm at {args.mpp:g} µm/px, seed {args.seed}")
    return 0


def size_um(text: str) -> tuple[float, float]:
    """Width and height in µm of a text such as 2x1.5 (mm).

    >>> size_um("2x1.5")
    (2000.0, 1500.0)
    """
    from geryon.errors import UsageError

    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)\s*", text)
    if not match:
        raise UsageError(what=f"--size-mm {text!r} is no width x height", mend="write it as 2x2 or 1.5x3")
    return float(match[1]) * 1000, float(match[2]) * 1000
