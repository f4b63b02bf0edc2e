"""Fitting a model's calibration on images that it did not learn from, and saying what that is worth.

Temperatures and shifts are those of least negative log likelihood (Guo et al., ICML 2017, section 4.2; Platt,
1999). What they are worth is told by cross-fitting: the objects of each half of the groups are calibrated by
the other half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from scipy import optimize

from geryon.nets import weights
from geryon.nets.weights import ModelDocument
from geryon.tasks.calibration import FLOOR, SHIFT, TEMPERATURES, Calibration, logit
from geryon.train.figures import class_names_of, known_classes, reliability_rows
from geryon.train.protocols import About, Row
from geryon.train.scoring import Piece

LEAST = 50
"""Fewer objects or cells say nothing about a temperature."""
CROSS_FITTED = "model, calibrated by the other half of the groups"


def fit_calibrations(pieces: Sequence[Piece]) -> dict[str, Calibration]:
    """The calibration of each task of which there is enough; pieces of several sources weigh by their objects."""
    found = {}
    for name in dict.fromkeys(p.task.name for p in pieces if p.matches is not None):
        some = [p for p in pieces if p.task.name == name and p.matches is not None]
        temperature, score = fit_classes(some), fit_scores(some)
        if temperature is not None or score is not None:
            found[name] = Calibration(
                class_temperature=temperature or 1.0,
                score_temperature=score[0] if score else 1.0,
                score_shift=score[1] if score else 0.0,
            )
    return found


def fit_classes(pieces: Sequence[Piece]) -> float | None:
    """The temperature of class probabilities: of paired objects, or cells, of known class; None for too few."""
    names, task = class_names_of(pieces), pieces[0].task
    if not names or task.classes is None:
        return None
    known = [known_classes(piece, names) for piece in pieces]
    p, truth = np.concatenate([p for p, _ in known]), np.concatenate([truth for _, truth in known])
    if len(p) < LEAST:
        return None
    log_p = np.log(np.maximum(p, FLOOR) / 255.0)
    below = np.zeros((len(names), p.shape[1]), bool)
    for k, name in enumerate(names):
        below[k, list(task.classes.below(name))] = True

    def loss(log_temperature: float) -> float:
        warm = np.exp(log_p / np.exp(log_temperature))
        right = np.where(below[truth], warm, 0.0).sum(axis=1) / warm.sum(axis=1)
        return float(-np.log(right).mean())

    best = optimize.minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(best.x))


def fit_scores(pieces: Sequence[Piece]) -> tuple[float, float] | None:
    """Temperature and shift of object scores; None for too few found objects, or none of them right or wrong."""
    counts = np.zeros((2, 256))
    for piece in pieces:
        if piece.kind == "tile" or piece.matches is None:
            continue
        is_so = np.zeros(len(piece.matches.score), bool)
        is_so[piece.matches.pairs[:, 0]] = True
        for k in range(2):
            counts[k] += np.bincount(piece.matches.score[is_so == bool(k)], minlength=256)
    if counts.sum() < LEAST or not counts.sum(axis=1).all():
        return None
    odds = logit(np.arange(256))

    def loss(given: np.ndarray) -> float:
        z = odds * np.exp(-given[0]) + given[1]
        return float((counts[1] * np.logaddexp(0, -z) + counts[0] * np.logaddexp(0, z)).sum() / counts.sum())

    low, high = np.log(TEMPERATURES)
    best = optimize.minimize(loss, np.zeros(2), bounds=[(low, high), (-SHIFT, SHIFT)], method="L-BFGS-B").x
    return float(np.exp(best[0])), float(best[1])


def with_calibrations(pieces: Sequence[Piece], found: Mapping[str, Calibration]) -> list[Piece]:
    """The same pieces, counted with these calibrations."""
    return [replace(p, task=replace(p.task, calibration=found.get(p.task.name))) for p in pieces]


def cross_fitted(pieces: Sequence[Piece]) -> list[Piece]:
    """Each half of the groups (by a digest of their names) with the calibration of the other half."""
    halves: list[list[Piece]] = [[], []]
    for piece in pieces:
        halves[hashlib.sha256(piece.group.encode()).digest()[0] % 2].append(piece)
    return [
        *with_calibrations(halves[0], fit_calibrations(halves[1])),
        *with_calibrations(halves[1], fit_calibrations(halves[0])),
    ]


def worth(pieces: Sequence[Piece], about: About) -> list[Row]:
    """Calibration errors after cross-fitting, of the tasks that have a calibration in both halves."""
    rows: list[Row] = []
    crossed = cross_fitted(pieces)
    for task, kind in dict.fromkeys((p.task.name, p.kind) for p in crossed if p.matches is not None):
        some = [p for p in crossed if (p.task.name, p.kind) == (task, kind)]
        if all(p.task.calibration for p in some):
            rows += reliability_rows(some, replace(about, task=task, images=len(some), by=CROSS_FITTED))
    return rows


def calibrated_document(document: ModelDocument, found: Mapping[str, Calibration], on: str) -> ModelDocument:
    """The document with these calibrations, and what they were fitted on in words."""
    numbers = {name: {k: round(v, 4) for k, v in asdict(each).items()} for name, each in found.items()}
    training = {**document.training, "calibrated_on": on}
    return replace(document, calibration={**document.calibration, **numbers}, training=training)


def save_calibrated(model: Path, out: Path, found: Mapping[str, Calibration], on: str) -> str:
    """The model file once more, with calibrations and its card beside it; the SHA-256 of the new file."""
    document = calibrated_document(weights.read_document(model), found, on)
    sha256 = weights.save_model(out, weights.read_tensors(model), document)
    weights.write_card(out.with_suffix(".md"), document, sha256=sha256)
    return sha256
