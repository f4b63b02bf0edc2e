"""geryon export-weights: write a model or an encoder for other engines."""

from __future__ import annotations

import argparse
from pathlib import Path

from geryon.cli.names import add_tasks
from geryon.errors import UsageError

EPILOG = """\
example:
  geryon export-weights geryon-s --to onnx --out geryon-s.onnx
  geryon export-weights multitask-4.safetensors --to onnx --out multitask-4.onnx

The file takes images (uint8 [n, y, x, 3], RGB) and gives the maps as bytes, or of an encoder the codes as float32; what
each is stands in its metadata.
Before it appears, it is run in ONNX Runtime and compared with the model itself.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="a model's name or .safetensors file, or an encoder's file")
    parser.add_argument("--to", choices=["onnx"], default="onnx", help="the format (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    add_tasks(parser)


def run(args: argparse.Namespace) -> int:
    """Export, check and save."""
    from geryon.nets.encoder import names_encoder
    from geryon.nets.onnx_ import export_encoder, export_onnx

    if names_encoder(args.model):
        if args.tasks is not None:
            raise UsageError(what="an encoder has no tasks", where="--tasks", mend="leave it out")
        told = export_encoder(args.model, args.out)
        args.say(
            f"{args.out}: {told['code']} numbers from patches of {told['patch_px']} px at {told['mpp']:g} µm/px; "
            "answers as torch does"
        )
        return 0
    told = export_onnx(args.model, args.out, tasks=args.tasks)
    args.say(
        f"{args.out}: {', '.join(told['maps'])} at {told['mpp']:g} µm/px; "
        f"sides in multiples of {told['multiple_px']} px; answers as torch does"
    )
    return 0
