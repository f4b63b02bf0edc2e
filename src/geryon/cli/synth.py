"""geryon synth: make a slide whose truth is known."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from geryon.events import Tell

EPILOG = """\
examples:
  geryon synth demo.tiff --size-mm 2x2 --seed 1
  geryon synth big.tiff --size-mm 20x20 --tissue-mm2 25 --malignant 0.5

  geryon synth cohort --cohort 300 --size-mm 1.5x1.5
  geryon synth digits --digits 2000 --size-px 900

Writes the slide (pyramidal OME-TIFF) and <name>.truth.json, from which Python makes its truth again:
  geryon.slides.synthetic.SyntheticSlide.from_file("demo.tiff").truth("nuclei", box, 0.5)
--cohort writes OUT/slides/*.json, which every command opens as slides (they are painted when read), and OUT/table.csv
with what is true of each. --digits writes images strewn with digits: see docs/synthetic.md.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path, metavar="OUT", help="the slide to write, such as demo.tiff; or a folder")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--cohort", type=int, metavar="N", help="N small slides of patients with lesions and survival")
    kind.add_argument("--digits", type=int, metavar="N", help="N images, one label each: the digit in the tilted shape")
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
    parser.add_argument(
        "--size-px", type=int, default=900, help="side of --digits; 3600 is the original's (%(default)s)"
    )
    parser.add_argument(
        "--digits-from", type=Path, metavar="FILE", help="MNIST's images (idx) in place of drawn digits"
    )
    parser.add_argument("--legacy", action="store_true", help="--digits by the original's law, leaks and all")


def run(args: argparse.Namespace) -> int:
    """Write the slide, the cohort or the digits, and say where."""
    from geryon.events import nobody

    tell, say = getattr(args, "tell", nobody), getattr(args, "say", print)
    if args.cohort is not None:
        from geryon.flows.synth_cohort import synth_cohort

        size = size_um(args.size_mm)
        table = synth_cohort(args.out, slides=args.cohort, size_um=size, seed=args.seed, mpp=args.mpp, tell=tell)
        say(f"{table}: {args.cohort} slides of {args.size_mm} mm at {args.mpp:g} µm/px, seed {args.seed}")
    elif args.digits is not None:
        from geryon.flows.synth_digits import Digits, synth_digits

        asked = Digits(
            count=args.digits, size_px=args.size_px, seed=args.seed, legacy=args.legacy, digits_from=args.digits_from
        )
        say(f"{synth_digits(args.out, asked, tell=tell)}: {args.digits} images of {args.size_px} px, seed {args.seed}")
    else:
        _one_slide(args, tell, say)
    return 0


def _one_slide(args: argparse.Namespace, tell: Tell, say: Callable[[str], None]) -> None:
    from geryon.flows.synth import synth

    path = synth(
        args.out,
        size_um=size_um(args.size_mm),
        seed=args.seed,
        mpp=args.mpp,
        malignant=args.malignant,
        tissue_mm2=args.tissue_mm2,
        quality=args.jpeg,
        tell=tell,
    )
    say(f"{path}: {args.size_mm} mm at {args.mpp:g} µm/px, seed {args.seed}")


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
