"""Nuclei, glands, lumina and tissue from H&E slides. Public names are loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "compress": "geryon.flows.compress:compress",
    "export": "geryon.flows.export:export",
    "fit": "geryon.train.fit:fit",
    "fit_encoder": "geryon.train.encoders.fit:fit_encoder",
    "fit_slides": "geryon.cohort.fit:fit_slides",
    "load_encoder": "geryon.nets.encoder:load_encoder",
    "load_model": "geryon.nets.model:load_model",
    "open_slide": "geryon.slides.reader:open_slide",
    "open_volume": "geryon.store.features:open_volume",
    "predict_slides": "geryon.cohort.answering:predict_slides",
    "read_objects": "geryon.store.tables:read_objects",
    "read_run": "geryon.store.run:read_run",
    "segment": "geryon.flows.segment:segment",
}

__all__ = [
    "compress",
    "export",
    "fit",
    "fit_encoder",
    "fit_slides",
    "load_encoder",
    "load_model",
    "open_slide",
    "open_volume",
    "predict_slides",
    "read_objects",
    "read_run",
    "segment",
]

if TYPE_CHECKING:
    from geryon.cohort.answering import predict_slides
    from geryon.cohort.fit import fit_slides
    from geryon.flows.compress import compress
    from geryon.flows.export import export
    from geryon.flows.segment import segment
    from geryon.nets.encoder import load_encoder
    from geryon.nets.model import load_model
    from geryon.slides.reader import open_slide
    from geryon.store.features import open_volume
    from geryon.store.run import read_run
    from geryon.store.tables import read_objects
    from geryon.train.encoders.fit import fit_encoder
    from geryon.train.fit import fit


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'geryon' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, "__version__"])
