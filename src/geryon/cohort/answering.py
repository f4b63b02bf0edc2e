"""Answers about slides, of one network or of the ensemble in a model's file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geryon import events
from geryon.cohort.document import SlideModelDocument
from geryon.cohort.faults import few
from geryon.cohort.models import SlideModel, get_kind, load_slide_model, settings_of
from geryon.cohort.question import NOTHING_ASKED, Question
from geryon.cohort.results import Answered, write_table
from geryon.cohort.slides import Cohort, cohort_of, shelf_of
from geryon.cohort.table import read_cohort
from geryon.cohort.targets import get_target
from geryon.cohort.views import VIEWS, Slides, pooled, run
from geryon.errors import InputError, UsageError
from geryon.events import Tell
from geryon.store.given import PARQUET

HELD_BYTES = 2 << 30
"""A slide's volume is kept in memory while all networks are asked about it, where it is no larger."""
TABLES = (".csv", ".tsv", ".txt", *PARQUET)


def answers_of(document: SlideModelDocument, networks: Sequence[nn.Module], slides: Slides, i: int) -> list[np.ndarray]:
    """float64 [answer] of each network about slide i: the mean over all ways of looking at it."""
    kind, answers = get_kind(document.model), get_target(document.target.kind).answers
    if kind.is_convex:
        seen = pooled(slides, kind.sees, i).astype(np.float32)[None, None]
        return [answers(run(network, slides, [(seen, np.ones((1, 1), bool))], i)).mean(0) for network in networks]
    with torch.no_grad():
        return [answers(VIEWS[kind.sees].logits(network, slides, i)).mean(0) for network in networks]


def predict_slides(
    model: str | Path,
    slides: Sequence[str | Path],
    *,
    question: Question = NOTHING_ASKED,
    out: str | Path | None = None,
    fold: int = 0,
    tell: Tell = events.nobody,
) -> Answered:
    """Answer about slides: those of a table (one file), or volumes and folders of results.

    With `fold` only the networks that never saw that fold answer, so that they can be asked about its slides. The
    answers are averaged over networks of a seed, and over seeds. With `out` they are written there as CSV.
    """
    loaded = load_slide_model(model)
    document = loaded.document
    cohort = cohort_for([Path(slide) for slide in slides], question, document)
    check_cohort(document, cohort)
    members = [k for k, member in enumerate(document.members) if not fold or member.fold == fold]
    if not members:
        there = sorted({member.fold for member in document.members})
        raise UsageError(what=f"the model has no fold {fold}", mend=f"choose one of: {', '.join(map(str, there))}")
    for note in (*cohort.notes, *_other_precisions(document, cohort), _learnt_from(document, cohort, fold)):
        if note:
            tell(events.Warned(text=note))
    answered = _asked(loaded, members, cohort, tell)
    if out is not None:
        write_table(Path(out), answered.rows())
    return answered


def folds_of(document: SlideModelDocument, cohort: Cohort) -> list[int | None]:
    """The fold of each slide that the model learnt from, None of the others."""
    return [document.fold_of(patient=s.patient, slide=s.name, identity=s.identity) for s in cohort.slides]


def _learnt_from(document: SlideModelDocument, cohort: Cohort, fold: int) -> str:
    """In words, who is answered by networks that learnt from them; "" where nobody is."""
    folds = folds_of(document, cohort)
    if not fold:
        seen = [name for name, its in zip(cohort.patients, folds, strict=True) if its is not None]
        if not seen:
            return ""
        return (
            f"the model learnt from {few(list(dict.fromkeys(seen)))}: give --fold for answers of networks that did not"
        )
    seen = [slide.name for slide, its in zip(cohort.slides, folds, strict=True) if its not in (None, fold)]
    if not seen:
        return ""
    told = f"{len(seen)} slide{'s are' if len(seen) > 1 else ' is'} of other folds ({few(seen)})"
    return f"{told}: the networks of fold {fold} learnt from them or were chosen by them"


def _other_precisions(document: SlideModelDocument, cohort: Cohort) -> list[str]:
    """In words, codes that were computed in another way than all that the model learnt from."""
    strange = {name: n for name, n in cohort.precisions.items() if name not in document.precisions}
    if not document.precisions or not strange:
        return []
    told, mine = few([f"of {n} in {name}" for name, n in strange.items()]), " or ".join(document.precisions)
    return [
        f"the model learnt from codes computed in {mine}, those {told} differ a little; delete these volumes and "
        f"compress the slides again with the --engine that computes in {mine}"
    ]


def cohort_for(paths: Sequence[Path], question: Question, document: SlideModelDocument) -> Cohort:
    """The slides of a table (one file), or volumes, as a model can be asked about them."""
    given = Question(features=question.features, skip_empty=question.skip_empty, grid=question.grid)
    needs = given.for_model(get_kind(document.model).sees, bool(document.objects))
    tables = [path for path in paths if path.suffix.lower() in TABLES]
    if tables and len(paths) > 1:
        raise UsageError(what="a table stands beside other slides", mend="give one table, or volumes")
    return read_cohort(paths[0], needs) if tables else cohort_of(paths, needs)


def check_cohort(document: SlideModelDocument, cohort: Cohort) -> None:
    """The volumes are of the encoder that the model learnt from, and objects have the measures that it takes."""
    where = cohort.path or "the slides given"
    mine, theirs = document.encoder, cohort.encoder
    if mine and theirs and (different := mine.differences(theirs)):
        raise InputError(
            what=f"the volumes are of another encoder than the model's: {', '.join(different)}",
            where=where,
            mend=f"compress the slides with {mine.name or 'the same encoder'}",
        )
    if document.objects != cohort.measure_names:
        raise InputError(
            what="the objects are of other tasks or classes than the model learnt from",
            where=where,
            mend="segment the slides with the same model and tasks",
        )


def _asked(model: SlideModel, members: Sequence[int], cohort: Cohort, tell: Tell) -> Answered:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = [model.networks[k].to(device) for k in members]
    seeds = [model.document.members[k].seed for k in members]
    found: list[list[np.ndarray]] = []
    begun = time.monotonic()
    tell(events.Started(stage="slides", total=len(cohort.slides), unit="slides"))
    for i, slide in enumerate(cohort.slides):
        slides = Slides(
            shelf=shelf_of([slide], HELD_BYTES),
            has_turns=model.document.has_turns and cohort.has_turns,
            settings=settings_of(model.document),
            measures=cohort.measures[[i]] if cohort.measure_names else np.zeros((1, 0)),
            device=device,
        )
        found.append(answers_of(model.document, networks, slides, 0))
        tell(events.Advanced(stage="slides"))
    tell(events.Finished(stage="slides", seconds=time.monotonic() - begun))
    answers = np.array(found)
    return Answered(
        target=model.document.target,
        names=tuple(slide.name for slide in cohort.slides),
        patients=tuple(cohort.patients),
        folds=(0,) * len(cohort.slides),
        truth=np.zeros((len(cohort.slides), 0)),
        by_seed={seed: answers[:, [s == seed for s in seeds]].mean(1) for seed in sorted(set(seeds))},
    )
