"""geryon import-weights: turn published weights of others into a file of ours: a model, or an encoder."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
example:
  geryon import-weights cerberus weights.tar --out cerberus.safetensors
  geryon segment slide.svs --out results --model cerberus.safetensors
  geryon import-weights nic encoder_multitask-4.h5 --out multitask-4.safetensors
  geryon compress slide.svs --out features --encoder multitask-4.safetensors

Kinds: cerberus (a model), nic (an encoder of neural image compression, as Keras 2 saved it). Weights of others keep
their own terms (Cerberus: CC BY-NC-SA 4.0, non-commercial; the nic encoders: MIT); they are named in the file.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", help="whose weights: cerberus or nic")
    parser.add_argument("checkpoint", type=Path, help="the published file")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")


def run(args: argparse.Namespace) -> int:
    """Import, check and save."""
    from geryon.nets.encoders.document import EncoderDocument
    from geryon.nets.foreign import import_weights

    document = import_weights(args.kind, args.checkpoint, args.out)
    if isinstance(document, EncoderDocument):
        what = f"an encoder of patches of {document.patch_px} px at {document.mpp:g} µm/px to {document.code} numbers"
    else:
        what = f"tasks {', '.join(t.name for t in document.task_values())}"
    args.say(f"{args.out}: {document.name}, {what}; terms: {', '.join(s.licence for s in document.sources)}")
    return 0
