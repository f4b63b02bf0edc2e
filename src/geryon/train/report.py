"""The end of a fit: calibration, figures by source and task, pictures, curves and the model card.

Figures come from whole images and the model that users will load, not from packed samples. They are bounded: so
many images of each source and part, spread evenly over its cases by name.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.events import Tell
from geryon.nets import weights
from geryon.nets.model import Model, ResearchOnly, load_model
from geryon.nets.weights import ModelDocument
from geryon.train import calibration, tables
from geryon.train.curves_page import write_curves
from geryon.train.evaluate import Look, look_at
from geryon.train.figures import figures_of
from geryon.train.overlays import overlays
from geryon.train.protocols import MODEL, Row
from geryon.train.scoring import Piece
from geryon.train.splits import VALIDATION

IMAGES = 40
"""Of each source and part, unless asked for others."""
PICTURES = 3
"""Overlays of each source, part and task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The cases of one source that training did not learn from."""

    source: str
    split: str
    """"validation" (steered the run, calibrates the model) or "held out" (neither)."""
    cases: tuple[Any, ...]
    of: int
    """How many there are; `cases` are at most as many as were asked for."""


def parts_of(source: str, cases: Iterable[Any], names: Mapping[str, AbstractSet[str]], images: int) -> list[Part]:
    """The parts of one source, of as many images as asked for; names: {split: names of its cases}."""
    every = list(cases)
    by_split = {split: [case for case in every if case.name in some] for split, some in names.items()}
    return [
        Part(source=source, split=split, cases=tuple(spread(some, images)), of=len(some))
        for split, some in by_split.items()
        if some
    ]


def spread(cases: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the cases, evenly over their names."""
    ordered = sorted(cases, key=lambda case: str(case.name))
    if len(ordered) <= most:
        return ordered
    return [ordered[int(i)] for i in np.linspace(0, len(ordered) - 1, most).round()]


def report(model: Path, parts: Sequence[Part], out: Path, tell: Tell) -> str:
    """Calibrate the saved model, measure it, and write it again with its card; the SHA-256 of the file.

    Leaves metrics.json, .md and .csv, curves.html and overlays/ in `out`.
    """
    document = weights.read_document(model)
    rows: list[Row] = []
    if parts:
        net = _loaded(model)
        seen = [_looked_at(net, part, out, tell) for part in parts]
        document, rows = measured(document, list(zip(parts, seen, strict=True)))
        document = replace(document, training={**document.training, "measured": compact(rows)})
        weights.save_model(model, weights.read_tensors(model), document)
    sha256 = weights.file_sha256(model)
    write_curves(out, f"{document.name} {document.version}")
    _write_tables(out, document, sha256, rows, parts)
    lines = [*_about(parts), "", *tables.markdown(rows)] if parts else _about(parts)
    weights.write_card(model.with_suffix(".md"), document, sha256=sha256, measured=lines)
    return sha256


def _loaded(model: Path) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResearchOnly)  # who trains it has said so in the recipe
        return load_model(model)


def _looked_at(net: Model, part: Part, out: Path, tell: Tell) -> list[Piece]:
    folder = out / "overlays" / f"{part.source}-{part.split.replace(' ', '-')}"
    return look_at(net, part.cases, look=Look(seen=overlays(folder, PICTURES)), tell=tell)


def measured(document: ModelDocument, seen: Sequence[tuple[Part, list[Piece]]]) -> tuple[ModelDocument, list[Row]]:
    """The document with a calibration from the validation images, and the figures of all parts with it.

    Of the validation images calibration errors are told by cross-fitting, since they fitted the calibration.
    """
    checking = [piece for part, pieces in seen if part.split == VALIDATION for piece in pieces]
    found = calibration.fit_calibrations(checking)
    if found:
        names = sorted({part.source for part, _ in seen if part.split == VALIDATION})
        document = calibration.calibrated_document(document, found, f"validation images of {', '.join(names)}")
    rows: list[Row] = []
    for part, pieces in seen:
        about = Look(source=part.source, split=part.split).about(part.cases)
        own = figures_of(calibration.with_calibrations(pieces, found), about)
        if part.split == VALIDATION:
            fitted = {row.task for row in own if row.metric.startswith("ece_") and row.task in found}
            own = [r for r in own if not (r.metric.startswith("ece_") and r.task in fitted and r.by == MODEL)]
            own += [row for row in calibration.worth(pieces, about) if row.task in fitted]
        rows += own
    return document, rows


def compact(rows: Sequence[Row]) -> dict[str, Any]:
    """{split: {source: {task: {metric: value}}}} of what the model itself reached."""
    found: dict[str, Any] = {}
    for row in rows:
        if row.by == MODEL and np.isfinite(row.value):
            place = found.setdefault(row.split, {}).setdefault(row.source, {}).setdefault(row.task, {})
            place[row.metric] = round(row.value, 4)
    return found


def _about(parts: Sequence[Part]) -> list[str]:
    if not parts:
        return ["Nothing was measured: no image was kept from training, or the sources were not at hand.", ""]
    lines = [f"- {p.source}, {p.split}: {len(p.cases)} of {p.of} images" for p in parts]
    return ["Images that training did not learn from, spread evenly over each source:", "", *lines]


def _write_tables(out: Path, document: ModelDocument, sha256: str, rows: Sequence[Row], parts: Sequence[Part]) -> None:
    images = [{"source": p.source, "split": p.split, "images": len(p.cases), "of": p.of} for p in parts]
    whole: dict[str, Any] = {
        "model": document.name,
        "sha256": sha256,
        "calibration": dict(document.calibration),
        "images": images,
    }
    whole["rows"] = [row.document() for row in rows]
    text = [f"# {document.name} {document.version}: figures", "", *_about(parts), "", *tables.markdown(rows)]
    for name, content in (
        ("metrics.json", json.dumps(whole, indent=1, ensure_ascii=False) + "\n"),
        ("metrics.md", "\n".join(text)),
        ("metrics.csv", tables.comma_separated(rows)),
    ):
        with whole_file(out / name) as fresh:
            fresh.write_text(content, encoding="utf-8")
