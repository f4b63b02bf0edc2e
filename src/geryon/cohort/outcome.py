"""What a run leaves: tables, figures, report and model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geryon import __version__
from geryon.atomic import whole_file
from geryon.cohort import results
from geryon.cohort.document import SlideModelDocument, digest, save_slide_model
from geryon.cohort.ensemble import PARTS, Trained
from geryon.cohort.models import FILE, get_kind
from geryon.cohort.report import Trainings, write_report
from geryon.cohort.slides import Cohort

FIGURES, PREDICTIONS, PATIENTS = "figures.json", "predictions.csv", "patients.csv"
COMPLETE = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a run left."""

    model: Path
    figures: Mapping[str, Any]
    """As figures.json holds them."""


def finished(out: Path, key: str) -> Fitted | None:
    """What a run of that key left whole; None where it is not there, or not finished."""
    path = out / FIGURES
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if (
        not isinstance(document, dict)
        or document.get("key") != key
        or document.get("status") != COMPLETE
        or not (out / FILE).exists()
    ):
        return None
    return Fitted(model=out / FILE, figures=document)


def finish(out: Path, key: str, cohort: Cohort, document: SlideModelDocument, parts: Sequence[Trained]) -> Fitted:
    """Tables, figures, report and model; figures.json last, then the parts go."""
    folds = [document.folds[digest(patient)] for patient in cohort.patients]
    seeds = sorted({member.seed for member in document.members})
    by_seed = {seed: np.zeros((len(folds), parts[0].answers.shape[1])) for seed in seeds}
    for member, part in zip(document.members, parts, strict=True):
        by_seed[member.seed][[i for i, fold in enumerate(folds) if fold == member.fold]] = part.answers
    slides = results.Answered(
        target=document.target,
        names=tuple(slide.name for slide in cohort.slides),
        patients=tuple(cohort.patients),
        folds=tuple(folds),
        truth=cohort.truth,
        by_seed=by_seed,
    )
    patients = results.by_patient(slides)
    figures: dict[str, Any] = {} if cohort.kind.of_patients else {"slides": slides.figures()}
    figures |= {"patients": patients.figures()} if patients else {}
    results.write_table(out / PREDICTIONS, slides.rows())
    if patients:
        results.write_table(out / PATIENTS, patients.rows())
    figures = _without_nan(figures)
    document = replace(document, training={"figures": figures})
    save_slide_model(out / FILE, [part.tensors for part in parts], document)
    write_report(out, document, (slides, patients), _trainings(document, parts), cohort.notes)
    whole = {"status": COMPLETE, "key": key, "version": __version__, "target": asdict(document.target), **figures}
    with whole_file(out / FIGURES) as fresh:
        fresh.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return Fitted(model=out / FILE, figures=whole)


def _trainings(document: SlideModelDocument, parts: Sequence[Trained]) -> Trainings:
    is_path = get_kind(document.model).is_convex
    losses = {}
    for member, part in zip(document.members, parts, strict=True):
        x = np.log10(part.course[:, 2]) if is_path else np.arange(1, len(part.course) + 1)
        points = [(float(a), float(b)) for a, b in zip(x, part.course[:, 1], strict=True)]
        losses[f"fold {member.fold}, seed {member.seed}"] = points
    return Trainings(x="log10 of the penalty" if is_path else "epoch", losses=losses)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
