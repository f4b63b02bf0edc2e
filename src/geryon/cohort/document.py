"""A model of slides as one file: the tensors of its members, and a JSON document that says what they answer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from geryon.nets.weights import SLIDES_KEY, read_tensors, read_with_key, save_with_document
from geryon.slides.reader import GRID_WITHIN

FORMAT = 1
"""Raised when older readers could misread a document."""
SHA_TOLD = 12
"""Digits of a SHA-256 that a message holds."""
GRIDS = (1 + GRID_WITHIN) / (1 - GRID_WITHIN)
"""Ratio of the µm per pixel of two slides, each read on a grid of its own near the same resolution, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderUsed:
    """What made the codes that a model of slides learnt from; it can answer no others."""

    name: str
    sha256: str
    """"" where the volumes do not say it (feature files of other tools)."""
    code: int
    """Numbers in a code."""
    mpp: float
    """µm per pixel of what the encoder saw; 0 where unknown."""
    patch_um: float
    """Side of a patch; 0 where unknown."""
    stride_um: float
    """From patch to patch; 0 where unknown."""
    patches: str = ""
    """What was done to them: "plain", or some of "mean of turns", "legacy", "stain normalised"; "" where unknown."""

    def differences(self, other: EncoderUsed) -> list[str]:
        """In words, what of the other is not as here; what is unknown on one side is not compared.

        Slides are read on grids of their own (Slide.grid_mpp): lengths that differ by that alone are alike.
        """
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        told = [(name, here, there) for name, here, there in pairs if here and there and not self._alike(name, other)]
        return [f"{name} {_short(name, there)} in place of {_short(name, here)}" for name, here, there in told]

    def _alike(self, name: str, other: EncoderUsed) -> bool:
        here, there = getattr(self, name), getattr(other, name)
        if name == "mpp":
            return max(here, there) <= min(here, there) * GRIDS * (1 + 1e-9)
        if name in ("patch_um", "stride_um"):  # asked in µm and rounded to pixels, or as many pixels of each grid
            if abs(here - there) <= max(self.mpp, other.mpp, 1e-6 * here):
                return True
            return bool(self.mpp and other.mpp) and math.isclose(here / self.mpp, there / other.mpp, rel_tol=1e-6)
        return bool(here == there)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetDocument:
    """The question: its kind, the columns of the table that hold it, and its classes in order."""

    kind: str
    """In cohort.targets.TARGETS."""
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    """Of binary, multiclass and ordinal questions; for binary ones the second is what the probability is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network of the ensemble."""

    fold: int
    """The fold, 1.., that it never saw."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideModelDocument:
    """What the file of a model of slides says about itself."""

    name: str
    version: str
    """Geryon's."""
    model: str
    """In cohort.models.MODELS."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the network and its training."""
    target: TargetDocument
    encoder: EncoderUsed | None
    """None of a model that sees objects alone."""
    precisions: tuple[str, ...] = ()
    """What the codes that it learnt from were computed in, such as "float32"; those that volumes do not say lack."""
    has_turns: bool = False
    """Whether the volumes held codes of all eight turned patches."""
    objects: tuple[str, ...] = ()
    """Measures of the slide's objects that it takes beside the volume, in order."""
    members: tuple[Member, ...]
    folds: Mapping[str, int] = field(default_factory=dict)
    """{digest of a patient's name: fold}: members of that fold did not see them. No name leaves the run's folder."""
    slides: Mapping[str, int] = field(default_factory=dict)
    """{digest of a slide's name, and of its volume's identity: fold}: slides given without their patient are known."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Figures out of fold."""
    format: int = FORMAT

    @property
    def code(self) -> int:
        """Numbers in a code; 0 where none is seen."""
        return self.encoder.code if self.encoder else 0

    def fold_of(self, *, patient: str, slide: str, identity: str) -> int | None:
        """The fold of a slide that was learnt from, by its codes, patient or name; None for a new one."""
        found = self.slides.get(digest(identity)), self.folds.get(digest(patient)), self.slides.get(digest(slide))
        return next((fold for fold in found if fold is not None), None)


def digest(patient: str) -> str:
    """What stands for a patient's name."""
    return hashlib.sha256(patient.encode()).hexdigest()[:16]


def save_slide_model(path: Path, members: Sequence[Mapping[str, np.ndarray]], document: SlideModelDocument) -> str:
    """Write the model, whole or not at all, and return its SHA-256; the tensors of member i are named "i.name"."""
    assert len(members) == len(document.members)
    tensors = {f"{i}.{name}": tensor for i, some in enumerate(members) for name, tensor in some.items()}
    return save_with_document(path, tensors, {SLIDES_KEY: asdict(document)}, half=False)


def read_slide_model(path: Path) -> tuple[SlideModelDocument, list[dict[str, np.ndarray]]]:
    """Document and tensors of each member; InputError where it is no such file, is damaged, or can't be used."""
    document = read_slide_document(path)
    members: list[dict[str, np.ndarray]] = [{} for _ in document.members]
    for name, tensor in read_tensors(path).items():
        number, _, inner = name.partition(".")
        if number.isdigit() and int(number) < len(members):
            members[int(number)][inner] = tensor
    return document, members


def read_slide_document(path: Path) -> SlideModelDocument:
    """The document alone; only the file's header is read."""
    return read_with_key(path, SLIDES_KEY, _parsed)


def _parsed(raw: Any) -> SlideModelDocument:
    if not isinstance(raw, dict):
        raise ValueError("it is not an object")
    if raw.get("format", 0) != FORMAT:
        raise ValueError(f"it has format {raw.get('format')!r}, this version reads {FORMAT}: update geryon")
    known = {f.name for f in fields(SlideModelDocument)}
    given = {k: v for k, v in raw.items() if k in known}
    target: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.pop("target").items()}
    document = SlideModelDocument(
        target=TargetDocument(**target),
        encoder=EncoderUsed(**encoder) if (encoder := given.pop("encoder")) is not None else None,
        objects=tuple(given.pop("objects", ())),
        precisions=tuple(given.pop("precisions", ())),
        members=tuple(Member(**m) for m in given.pop("members")),
        **given,
    )
    if found := faults(document):
        raise ValueError("; ".join(found))
    return document


def faults(document: SlideModelDocument) -> list[str]:
    """Every fault of the document, in words; [] where it can be used."""
    texts = {name: getattr(document, name) for name in ("name", "version", "model")}
    texts["target.kind"] = document.target.kind
    found = [
        f"{name} is {value!r}, not a text" for name, value in texts.items() if not isinstance(value, str) or not value
    ]
    if document.encoder is None and not document.objects:
        found.append("it has neither an encoder nor objects")
    if document.encoder is not None and (type(document.code) is not int or document.code < 1):
        found.append(f"encoder.code is {document.encoder.code!r}, not a whole number from 1 on")
    found += [
        f"{name} is {value!r}, not an object"
        for name in ("settings", "folds", "slides", "training")
        if not isinstance(value := getattr(document, name), Mapping)
    ]
    lists = {"objects": document.objects, "precisions": document.precisions, "target.columns": document.target.columns}
    lists |= {"target.classes": document.target.classes}
    found += [f"{k} is {v!r}, not texts" for k, v in lists.items() if not all(isinstance(each, str) for each in v)]
    if not document.members:
        found.append("it has no members")
    wrong = [m for m in document.members if not (type(m.fold) is type(m.seed) is int)]
    return found + [f"the member {m!r} has no numbers for fold and seed" for m in wrong]


def _short(name: str, value: str | float) -> str:
    return str(value)[:SHA_TOLD] if name == "sha256" else str(value)
