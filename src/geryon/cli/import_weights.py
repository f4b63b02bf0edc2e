"""geryon import-weights: turn published weights of others into a model file."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
example:
  geryon import-weights cerberus weights.tar --out cerberus.safetensors
  geryon segment slide.svs --out results --model cerberus.safetensors

Weights of others keep their own terms (Cerberus: CC BY-NC-SA 4.0, non-commercial); they are named in the file.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", help="whose weights: cerberus")
    parser.add_argument("checkpoint", type=Path, help="the published file")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")


def run(args: argparse.Namespace) -> int:
    """Import, check and save."""
    from geryon.nets.foreign import import_weights

    document = import_weights(args.kind, args.checkpoint, args.out)
    tasks = ", ".join(t.name for t in document.task_values())
    args.say(f"{args.out}: {document.name}, tasks {tasks}; terms: {', '.join(s.licence for s in document.sources)}")
    return 0
