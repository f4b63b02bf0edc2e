"""geryon export-weights: write a model for other engines."""

from __future__ import annotations

import argparse
from pathlib import Path

from geryon.cli.names import add_tasks

EPILOG = """\
example:
  geryon export-weights geryon-s --to onnx --out geryon-s.onnx

The file takes images (uint8 [n, y, x, 3], RGB) and gives the maps as bytes; what each is stands in its metadata.
Before it appears, it is run in ONNX Runtime and compared with the model itself.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="a model's name or .safetensors file")
    parser.add_argument("--to", choices=["onnx"], default="onnx", help="the format (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    add_tasks(parser)


def run(args: argparse.Namespace) -> int:
    """Export, check and save."""
    from geryon.nets.onnx_ import export_onnx

    told = export_onnx(args.model, args.out, tasks=args.tasks)
    args.say(
        f"{args.out}: {', '.join(told['maps'])} at {told['mpp']:g} µm/px; "
        f"sides in multiples of {told['multiple_px']} px; answers as torch does"
    )
    return 0
