"""geryon compress: turn slides into small volumes of features."""

from __future__ import annotations

import argparse
from pathlib import Path

from geryon.cli.names import add_names

EPILOG = """\
examples:
  geryon compress slide.svs --out results --encoder encoder_multitask-4.h5
  geryon compress slides/*.svs --out results --encoder geryon-s
  geryon compress slides/*.svs --out results --encoder mean-rgb --turns mean
  geryon compress --table slides.csv --out results --encoder mine.safetensors --to h5,pt
  geryon compress slide.svs --out results --encoder encoder_multitask-4.h5 --stride 32um --dtype int8

Each slide gets results/<name>/features.zarr: one code for each cell with tissue, on a grid in µm, with the mask of
tissue, the encoder and its SHA-256. Run the same command again to resume: finished slides are not touched, and
another encoder or other settings for their folder are refused.

--to writes the same codes as other programs read them, a folder a layout:
  h5      results/h5/<name>.h5: features and coords (level 0), as CLAM and TRIDENT
  pt      results/pt/<name>.pt: the codes alone, a tensor for torch.load; rows as in h5
  stamp   results/stamp/<name>.h5: feats and coords in µm
  nic     results/nic/<name>_features.npy and its index files, as published with the first encoders
docs/compress.md tells more.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("slides", nargs="*", type=Path, help="slides or images")
    parser.add_argument(
        "--table", type=Path, help="CSV with a column slide, and mpp and mask where they differ from slide to slide"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--encoder",
        required=True,
        help="a name, or a file (.h5 of Keras, .safetensors); of a model such as geryon-s its own encoder",
    )
    parser.add_argument("--mpp", type=float, help="µm per pixel of the slides, where the file is silent or wrong")
    parser.add_argument("--mask", type=Path, help="your own tissue mask, 0/1 or 0/255, any scale (TIFF or PNG)")
    parser.add_argument(
        "--tissue-mask",
        choices=("auto", "on", "off"),
        default="auto",
        help="built-in tissue mask; auto: on slides of 4 mm² and more",
    )
    parser.add_argument(
        "--least-tissue",
        type=float,
        metavar="SHARE",
        help="encode a cell when more than this share of its patch is tissue (default: 0.05; with --legacy 0.6)",
    )
    parser.add_argument(
        "--patch",
        default="",
        metavar="LENGTH",
        help="side of what the encoder sees as one patch, such as 64um or 128px of its own (default: its own)",
    )
    parser.add_argument(
        "--stride", default="", metavar="LENGTH", help="from cell to cell, such as 32um or 64px (default: the patch)"
    )
    parser.add_argument(
        "--turns",
        choices=("one", "mean", "eight"),
        default="one",
        help="codes of the patch as it lies, their mean over its eight turns, or each of the eight (8 times the work)",
    )
    parser.add_argument(
        "--normalise",
        default="",
        metavar="METHOD",
        help="macenko or reinhard, as of geryon segment (default: as it is)",
    )
    parser.add_argument("--dtype", choices=("float16", "int8"), default="float16", help="how codes are kept")
    add_names(parser, "--to", dest="layouts", help="also write these layouts: h5,pt,stamp,nic (see below)")
    parser.add_argument(
        "--legacy", action="store_true", help="average patches and choose cells as the published code did"
    )
    parser.add_argument(
        "--allow-upsampling", action="store_true", help="make up pixels where a slide is coarser than the encoder asks"
    )
    parser.add_argument("--engine", default="auto", help="where the encoder runs (default: %(default)s, the fastest)")


def run(args: argparse.Namespace) -> int:
    """Compress them all; one bad slide does not stop the others."""
    from geryon.errors import UsageError
    from geryon.flows.compress_all import compress_all
    from geryon.flows.compress_options import CompressOptions
    from geryon.flows.listed import read_table

    slides = [*args.slides, *(read_table(args.table) if args.table else ())]
    if not slides:
        raise UsageError(what="no slide is named", mend="name slides, or give a table of them with --table")
    options = CompressOptions(
        mpp=args.mpp,
        mask=args.mask,
        use_mask={"auto": None, "on": True, "off": False}[args.tissue_mask],
        least_tissue=args.least_tissue,
        patch=args.patch,
        stride=args.stride,
        turns=args.turns,
        dtype=args.dtype,
        engine=args.engine,
        allow_upsampling=args.allow_upsampling,
        is_legacy=args.legacy,
        normalise=args.normalise,
    )
    volumes = compress_all(
        slides, out=args.out, encoder=args.encoder, options=options, to=args.layouts or (), tell=args.tell
    )
    for volume in volumes:
        cells = int(volume.tissue.sum())
        grid = f"{volume.rows} x {volume.columns} of {volume.about.stride_um:.4g} µm"
        found = f"{cells} cells" if cells else "no tissue, so no cells"
        args.say(f"{volume.about.slide}: {found} in {grid}, {volume.code} numbers each -> {volume.path}")
    return 0
