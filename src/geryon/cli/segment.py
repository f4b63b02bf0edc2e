"""geryon segment: find every object of every task on slides."""

from __future__ import annotations

import argparse
from pathlib import Path

from geryon.cli.names import add_names, add_tasks

EPILOG = """\
examples:
  geryon segment slide.svs --out results
  geryon segment slides/*.svs --out results --tasks nuclei,glands
  geryon segment field.png --out results --mpp 0.25
  geryon segment --table slides.csv --out results
  geryon segment slide.svs --out results --labels --measures shape,stain
  geryon segment slide.svs --out results --features
  geryon segment slide.svs --out results --normalise macenko

Each slide gets a folder results/<name>/ with objects/<task>.parquet, tissue.ome.tif, quality.ome.tif and
run.json. Run the same command again to resume: finished slides are not touched.

--labels adds labels/<task>.ome.tif for nuclei, glands and lumina: at each pixel the row number of its
object in objects/<task>.parquet plus 1, 0 outside. --measures adds columns to objects/<task>.parquet:
  shape   perimeter_um, major_axis_um, minor_axis_um, eccentricity_ratio, circularity_ratio, solidity_ratio
  stain   haematoxylin_od, haematoxylin_sd_od, eosin_od, eosin_sd_od: optical density inside the object
Both may be asked of a slide that was finished without them: they are added, and the network does not run
again. --features adds features.zarr, what the network's encoder sees: 152 numbers for each 64 µm of tissue,
for geryon slides; the same as of geryon compress --encoder geryon-s. A finished slide gets it by the encoder
alone. Then, for QuPath (measures come as measurements):
  geryon export results/slide --to geojson
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
        "--model",
        default="geryon-s",
        help="a name, a .safetensors file, or hub:OWNER/NAME/FILE[@REVISION][#sha256=HEX] (default: %(default)s)",
    )
    add_tasks(parser)
    parser.add_argument("--mpp", type=float, help="µm per pixel of the slides, where the file is silent or wrong")
    parser.add_argument("--mask", type=Path, help="your own tissue mask, 0/1 or 0/255, any scale (TIFF or PNG)")
    parser.add_argument(
        "--tissue-mask",
        choices=("auto", "on", "off"),
        default="auto",
        help="built-in tissue mask; auto: on slides of 4 mm² and more",
    )
    parser.add_argument(
        "--normalise",
        default="",
        metavar="METHOD",
        help="macenko or reinhard: make the stain of each slide like that of the training images before the network "
        "sees it (default: as it is); docs/stain.md has when that helps",
    )
    parser.add_argument(
        "--engine",
        default="auto",
        help="openvino, openvino-float32, cpu or cuda (default: %(default)s, the fastest there is); cuda:1 is the "
        "second card; several, by commas, share many slides in a process each, as several cards do unasked",
    )
    parser.add_argument(
        "--window", default="default", help="the model's windows of that name (imported Cerberus: published)"
    )
    parser.add_argument(
        "--labels", action="store_true", help="also write which object each pixel belongs to: labels/<task>.ome.tif"
    )
    parser.add_argument(
        "--features", action="store_true", help="also write what the network's encoder sees: features.zarr"
    )
    add_names(parser, "--measures", dest="measures", help="further columns of the tables: shape,stain (see below)")
    parser.add_argument("--tile", type=int, default=1024, help="side of a kept piece in pixels; changes no result")


def run(args: argparse.Namespace) -> int:
    """Segment them all; one bad slide does not stop the others."""
    from geryon.errors import UsageError
    from geryon.flows.listed import read_table
    from geryon.flows.segment import Options
    from geryon.flows.segment_all import segment_all

    slides = [*args.slides, *(read_table(args.table) if args.table else ())]
    if not slides:
        raise UsageError(what="no slide is named", mend="name slides, or give a table of them with --table")
    options = Options(
        mpp=args.mpp,
        mask=args.mask,
        use_mask={"auto": None, "on": True, "off": False}[args.tissue_mask],
        engine=args.engine,
        windows=args.window,
        tile_px=args.tile,
        labels=args.labels,
        measures=tuple(args.measures or ()),
        normalise=args.normalise,
        features=args.features,
    )
    records = segment_all(slides, out=args.out, model=args.model, tasks=args.tasks, options=options, tell=args.tell)
    for record in records:
        counts = ", ".join(f"{record.tasks[task].objects} {task}" for task in record.object_tasks)
        args.say(
            f"{record.slide}: {counts or 'no objects'} in {record.tissue_mm2:.3g} mm² -> {args.out / record.slide}"
        )
    return 0
