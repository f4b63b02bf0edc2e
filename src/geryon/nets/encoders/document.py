"""An encoder as one file: its tensors, and a JSON document that says what patches it takes and what it learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from geryon.nets.encoders import GROUP, TOPOLOGIES
from geryon.nets.faults import USES, of_mpp, of_ranges, of_terms
from geryon.nets.weights import ENCODER_KEY, SourceDocument, read_tensors, read_with_key, save_with_document
from geryon.plugins import names

FORMAT = 1
"""Raised when older readers could misread a document."""
MOST_PX, MOST_CODE = 4096, 65_536
"""Larger is a damaged document, not an encoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDocument:
    """What an encoder's file says about itself."""

    name: str
    version: str
    topology: str
    """In nets.encoders.TOPOLOGIES."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the topology."""
    mpp: float = 0.5
    """µm per pixel of the patches."""
    patch_px: int
    """Side of a patch at that mpp."""
    code: int
    """Numbers in the code of a patch."""
    sources: tuple[SourceDocument, ...] = ()
    use: str = "open"
    """"research" where any source is for research only; "experiment" for what is there to be compared with."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the run: steps, seconds, losses, validation."""
    held_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{source: groups that training did not see}."""
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """{layer: least and largest input} on histology (nets/ranges.py): engines may compute these in eight bits."""
    format: int = FORMAT

    @property
    def patch_um(self) -> float:
        """Side of a patch."""
        return self.patch_px * self.mpp


def save_encoder(
    path: Path, tensors: Mapping[str, np.ndarray], document: EncoderDocument, *, half: bool = False
) -> str:
    """Write the encoder's file, whole or not at all, and return its SHA-256; float32 unless `half`."""
    return save_with_document(path, tensors, {ENCODER_KEY: asdict(document)}, half=half)


def read_encoder(path: Path) -> tuple[EncoderDocument, dict[str, np.ndarray]]:
    """Document and tensors of an encoder's file; InputError where it is none, is damaged, or can't be used."""
    return read_encoder_document(path), read_tensors(path)


def read_encoder_document(path: Path) -> EncoderDocument:
    """The document alone; only the file's header is read."""
    return read_with_key(path, ENCODER_KEY, _parsed)


def _parsed(raw: Any) -> EncoderDocument:
    if not isinstance(raw, dict):
        raise ValueError("it is not an object")
    if raw.get("format", 0) != FORMAT:
        raise ValueError(f"it has format {raw.get('format')!r}, this version reads {FORMAT}: update geryon")
    known = {f.name for f in fields(EncoderDocument)}
    given = {k: v for k, v in raw.items() if k in known}
    sources = tuple(SourceDocument(**s) for s in given.pop("sources", ()))
    held_out = {source: tuple(groups) for source, groups in given.pop("held_out", {}).items()}
    document = EncoderDocument(sources=sources, held_out=held_out, **given)
    if found := faults(document):
        raise ValueError("; ".join(found))
    return document


def faults(document: EncoderDocument) -> list[str]:
    """Every fault of the document, in words; [] where it can be used."""
    texts = {name: getattr(document, name) for name in ("name", "version", "topology")}
    found = [
        f"{name} is {value!r}, not a text" for name, value in texts.items() if not isinstance(value, str) or not value
    ]
    if not found and document.topology not in names(TOPOLOGIES, GROUP):
        found.append(f"no encoder topology is called {document.topology!r}")
    found += of_mpp(document.mpp)
    found += [
        f"{name} is {value!r}, not a whole number of 1 to {most}"
        for name, value, most in (("patch_px", document.patch_px, MOST_PX), ("code", document.code, MOST_CODE))
        if type(value) is not int or not 1 <= value <= most
    ]
    found += [
        f"{name} is {value!r}, not an object"
        for name in ("settings", "training", "ranges")
        if not isinstance(value := getattr(document, name), Mapping)
    ]
    return found or of_terms(document, (*USES, "experiment")) + of_ranges(document.ranges)
