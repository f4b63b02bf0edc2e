"""Weights of others: read, checked, and written as a model file of ours."""

from __future__ import annotations

from pathlib import Path

from geryon import plugins
from geryon.nets.weights import ModelDocument, save_model

IMPORTERS = {"cerberus": "geryon.nets.foreign.cerberus:import_checkpoint"}
"""Entry points of the group geryon.importers add to it; each takes a path and gives tensors and a document."""


def import_weights(kind: str, checkpoint: Path, out: Path) -> ModelDocument:
    """Write the model file `out` from a published checkpoint; return what it says of itself.

    Weights stay float32: the import must give the original's numbers.
    """
    tensors, document = plugins.find(IMPORTERS, "geryon.importers", kind)(checkpoint)
    save_model(out, tensors, document, half=False)
    described: ModelDocument = document
    return described
