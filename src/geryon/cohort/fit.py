"""`geryon slides fit`: from a table of slides and labels to answers out of fold, figures, and a model of slides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geryon import __version__, events
from geryon.atomic import whole_file
from geryon.cohort.document import Member, SlideModelDocument, digest
from geryon.cohort.ensemble import Work, train_all
from geryon.cohort.folds import folds_for, thin
from geryon.cohort.models import Kind, get_kind, kept
from geryon.cohort.outcome import Fitted, finish, finished
from geryon.cohort.question import Question
from geryon.cohort.slides import Cohort, shelf_of
from geryon.cohort.table import read_cohort
from geryon.cohort.views import Slides
from geryon.errors import InputError, UsageError
from geryon.events import Tell

SLIDES = "slides.json"
"""In the folder of a run: who was in which fold, and the question that the folder belongs to."""
ROOMY = 4
"""Crops so many times as wide as the longest slide are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How slides are learnt from."""

    model: str = "cnn"
    """In cohort.models.MODELS."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of cohort.models.Settings, where they differ from the model's defaults."""
    folds: int = 5
    """Parts of the patients; one is answered, the next validates, the others are learnt from. A column `fold` in the
    table goes before it."""
    seeds: int = 3
    """Networks of each fold, which differ in their beginning, crops and validating fold."""
    memory_bytes: int = 2 << 30
    """Volumes are kept in memory up to so much in all; the others are read crop by crop."""
    device: str = "auto"
    """"cpu", "cuda" or "auto"."""


def fit_slides(
    table: str | Path, *, out: str | Path, question: Question, course: Course = Course(), tell: Tell = events.nobody
) -> Fitted:
    """Learn from a table and write a run's folder: predictions.csv and patients.csv (out of fold), figures.json,
    report.html and slide_model.safetensors. The same call goes on where it was stopped, and leaves a finished run as
    it is."""
    table, out = Path(table), Path(out)
    kind = get_kind(course.model)
    settings, device = kind.settings(course.settings), _device(course.device)
    cohort = read_cohort(table, question.for_model(kind.sees, question.objects))
    if cohort.target is None:
        raise UsageError(what="nothing is asked", mend="give --label COLUMN, or --time and --event")
    folds = folds_for(cohort, course.folds)
    cohort.kind.check_parts()
    for note in (
        *cohort.notes,
        *thin(cohort, folds),
        *(_roomy(cohort, settings.cells) if kind.sees == "crops" else ()),
    ):
        tell(events.Warned(text=note))
    document = _document(cohort, kind, kept(settings), folds)
    key = _keep(out, cohort, document, course)
    if (done := finished(out, key)) is not None:
        return done
    slides = Slides(
        shelf=shelf_of(cohort.slides, course.memory_bytes),
        has_turns=cohort.has_turns,
        settings=settings,
        measures=cohort.measures if cohort.measure_names else np.zeros((len(cohort.slides), 0)),
        device=device,
    )
    seeds = list(range(1, course.seeds + 1))
    pairs = [(fold, seed) for seed in seeds for fold in sorted(set(folds))]
    parts = train_all(out, key, Work(cohort=cohort, slides=slides, document=document, folds=folds), pairs, tell)
    return finish(out, key, cohort, replace(document, members=tuple(Member(fold=f, seed=s) for f, s in pairs)), parts)


def _document(cohort: Cohort, kind: Kind, settings: Mapping[str, Any], folds: Sequence[int]) -> SlideModelDocument:
    assert cohort.target is not None
    return SlideModelDocument(
        name=Path(cohort.path).stem,
        version=__version__,
        model=kind.name,
        settings=settings,
        target=cohort.target,
        encoder=cohort.encoder,
        precisions=tuple(sorted(cohort.precisions)),
        has_turns=cohort.has_turns,
        objects=cohort.measure_names,
        members=(),
        folds={digest(patient): fold for patient, fold in zip(cohort.patients, folds, strict=True)},
        slides={
            digest(known): fold
            for slide, fold in zip(cohort.slides, folds, strict=True)
            for known in (slide.name, slide.identity)
        },
    )


def _keep(out: Path, cohort: Cohort, document: SlideModelDocument, course: Course) -> str:
    """Write what the run asks into its folder, or see that it is what the folder was begun with; return its digest."""
    slides = [
        {
            "slide": slide.name,
            "patient": slide.patient,
            "fold": document.folds[digest(slide.patient)],
            "codes": slide.identity,
        }
        for slide in cohort.slides
    ]
    asked = {"document": asdict(document), "slides": slides, "seeds": course.seeds, "left_out": list(cohort.left_out)}
    numbers = np.concatenate([cohort.truth.ravel(), cohort.measures.ravel()]).tobytes()
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode() + numbers).hexdigest()
    path = out / SLIDES
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8")).get("key")
        except (ValueError, AttributeError) as error:
            raise InputError(what="is damaged", where=str(path), mend="choose another --out") from error
        if before != key:
            raise UsageError(
                what="holds a run of another table or other settings", where=str(out), mend="choose another --out"
            )
        return key
    with whole_file(path) as fresh:
        text = json.dumps({"key": key, "notes": cohort.notes, **asked}, indent=1, ensure_ascii=False)
        fresh.write_text(text + "\n", encoding="utf-8")
    return key


def _roomy(cohort: Cohort, cells: int) -> list[str]:
    """In words, crops that are glass for the most part on every slide: time is lost on it."""
    most = max(max(slide.cells.tissue.shape) for slide in cohort.slides if slide.cells is not None)
    if cells < ROOMY * most:
        return []
    side = most + most % 2
    part = (cells / side) ** 2
    return [
        f"crops of {cells} x {cells} cells are much larger than the slides, of which none is longer than {most}: "
        f"--cells {side} takes about 1/{part:.0f} of the time"
    ]


def _device(asked: str) -> str:
    has = torch.cuda.is_available()
    if asked == "cuda" and not has:
        raise UsageError(what="there is no CUDA card that torch can use", mend="leave --device out")
    return "cuda" if has and asked != "cpu" else "cpu"
