"""geryon export: results in the format of QuPath or a spreadsheet."""

from __future__ import annotations

import argparse
from pathlib import Path

from geryon.cli.names import add_tasks
from geryon.plugins import names
from geryon.store.export import EXPORTERS

HELP = "write results in the format of another program (QuPath, a spreadsheet)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("folder", type=Path, help="one slide's results: OUT/<slide>")
    parser.add_argument("--to", required=True, metavar="FORMAT", help="|".join(names(EXPORTERS, "geryon.exporters")))
    parser.add_argument(  # as text: a path forgets that it ended in a separator
        "--out",
        metavar="FILE",
        help="file to write, or a folder where it ends in / or in no ending of the format; else beside the results",
    )
    add_tasks(parser)
    parser.add_argument(
        "--gzip", action="store_true", help="compress and add .gz to the name (QuPath opens .geojson.gz)"
    )
    parser.add_argument(
        "--canvas",
        action="store_true",
        help="pixels and µm in the file's whole canvas, not in the part that QuPath shows (MRXS, SCN)",
    )


def run(args: argparse.Namespace) -> int:
    """Export, and name the files made."""
    from geryon.flows.export import export

    tell = getattr(args, "tell", None)
    extra = {"tell": tell} if tell else {}
    made = export(args.folder, to=args.to, out=args.out, tasks=args.tasks, gzip=args.gzip, canvas=args.canvas, **extra)
    if not getattr(args, "quiet", False):
        for path in made:
            print(path)
    return 0
