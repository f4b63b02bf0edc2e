"""Weights of others: read, checked, and written as a file of ours."""

from __future__ import annotations

from pathlib import Path

from geryon import plugins
from geryon.nets.encoders.document import EncoderDocument, save_encoder
from geryon.nets.weights import ModelDocument, save_model

IMPORTERS = {
    "cerberus": "geryon.nets.foreign.cerberus:import_checkpoint",
    "nic": "geryon.nets.foreign.keras:import_encoder",
}
"""Entry points of the group geryon.importers add to it; each takes a path and gives tensors and a document, of a model
or of an encoder."""


def import_weights(kind: str, checkpoint: Path, out: Path) -> ModelDocument | EncoderDocument:
    """Write the file `out` of a model or an encoder from a published checkpoint; return what it says of itself.

    Weights stay float32: the import must give the original's numbers.
    """
    tensors, document = plugins.find(IMPORTERS, "geryon.importers", kind)(checkpoint)
    described: ModelDocument | EncoderDocument = document
    if isinstance(described, EncoderDocument):
        save_encoder(out, tensors, described)
    else:
        save_model(out, tensors, described, half=False)
    return described
