"""A table of slides and labels, checked as a whole: all its faults are told at once, before anything is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from geryon.cohort import checks
from geryon.cohort.document import TargetDocument
from geryon.cohort.faults import Faults, few
from geryon.cohort.labels import is_blank
from geryon.cohort.question import OPTIONS, Question
from geryon.cohort.slides import FOLD, PATIENT, SLIDE, Cohort, built, empty_of, opened, told_of_empty
from geryon.cohort.target import LABELS
from geryon.cohort.targets import asked_by, get_target, guessed
from geryon.errors import UsageError
from geryon.store.given import read_columns


def read_cohort(path: Path, question: Question) -> Cohort:
    """The slides of a table with their labels; one InputError tells everything that is wrong with it (a UsageError
    where only the columns asked for are wrong)."""
    columns = read_columns(path)
    faults = Faults(str(path))
    target = _target(columns, question, faults)
    if SLIDE not in columns:
        faults.column(SLIDE, columns)
        raise faults.error()
    names = columns[SLIDE]
    if not names:
        faults.found("it has no rows")
        raise faults.error()
    patients = columns.get(PATIENT, names)
    checks.names(names, patients, faults)
    truth = _truth(columns, target, faults) if target else np.zeros((len(names), 0))
    folds = checks.folds(columns.get(FOLD) if question.is_asked else None, names, patients, faults)
    found = opened(path, columns, question, faults)
    empty = empty_of(found, question.skip_empty, faults)
    kept = [i for i, name in enumerate(names) if name in found.slides and name not in empty]
    if target:
        checks.truth(target, truth, patients, [i for i in range(len(names)) if names[i] not in empty], faults)
    if target and any(folds[i] for i in kept):
        checks.sides(target, truth[kept], [patients[i] for i in kept], [folds[i] for i in kept], faults)
    rows = [(names[i], patients[i], folds[i]) for i in kept]
    notes: tuple[str, ...] = ()
    if PATIENT not in columns:
        notes = (f"there is no column {PATIENT!r}: each slide is taken for a patient",)
    if target and not question.kind and get_target(target.kind).options == LABELS:
        told = ", ".join(map(repr, target.columns[:4]))
        notes = (*notes, f"the question of {told} is taken for {target.kind}; --target asks another")
    base = built(rows, found, faults)
    notes = (*notes, *told_of_empty(empty), *(_told_of_precisions(base.precisions) if target else ()))
    return replace(base, path=str(path), target=target, truth=truth[kept], notes=notes, left_out=empty)


def _told_of_precisions(found: Mapping[str, int]) -> tuple[str, ...]:
    """The note about codes of one encoder that were computed in several ways."""
    if len(found) < 2:
        return ()
    (most, n), *others = found.items()
    told = few([f"{m} in {name}" for name, m in others])
    return (
        f"codes of {n} slides were computed in {most}, {told}: they differ a little, by the machine and not the slide; "
        f"delete the volumes of the others and compress them again with the --engine that computes in {most}",
    )


def _target(columns: Mapping[str, list[str]], question: Question, faults: Faults) -> TargetDocument | None:
    """The question with its classes, or None where its columns can't be used (or nothing is asked)."""
    given = {name: named for name in OPTIONS if (named := question.columns(name))}
    kind = question.kind or asked_by(given)
    takes = get_target(kind).options if kind else LABELS
    if (kind or given) and set(given) != set(takes):
        others = " or ".join(option for name, option in OPTIONS.items() if name not in takes)
        faults.asked(f"{kind} takes {few([f'{OPTIONS[name]} COLUMN' for name in takes])}, and no {others}")
        return None
    asked = tuple(column for name in takes for column in given.get(name, ()))
    missing = [name for name in asked if name not in columns]
    for name in missing:
        faults.column(name, columns)
    if missing or not asked:
        return None
    cells = [columns[name] for name in asked]
    kind = kind or guessed(cells)
    target = get_target(kind)
    if not target.columns[0] <= len(asked) <= target.columns[1]:
        faults.asked(f"{kind} takes one label column, not {len(asked)} ({', '.join(asked)})")
        return None
    try:
        classes = target.classes([[c for c in each if not is_blank(c)] for each in cells], question.classes)
    except UsageError as error:
        faults.asked(f"{error.what}; {error.mend}")
        classes = ()
    except ValueError as error:
        faults.found(f"column {asked[0]!r}: {error}")
        for name in asked:
            checks.blanks(name, columns[name], columns.get(SLIDE, []), faults)
        return None
    return TargetDocument(kind=kind, columns=asked, classes=classes)


def _truth(columns: Mapping[str, list[str]], target: TargetDocument, faults: Faults) -> np.ndarray:
    """float64 [row, k]; a row of nan where a label is blank or wrong."""
    kind, names = get_target(target.kind), columns[SLIDE]
    for name in target.columns:
        checks.blanks(name, columns[name], names, faults)
    rows: list[list[float]] = []
    wrong: dict[str, list[str]] = {}
    width = 1 if kind.columns == (1, 1) else len(target.columns)
    for name, row in zip(names, zip(*(columns[c] for c in target.columns), strict=True), strict=True):
        try:
            rows.append([np.nan] * width if any(map(is_blank, row)) else kind.truth(row, target))
        except ValueError as error:
            wrong.setdefault(str(error), []).append(name)
            rows.append([np.nan] * width)
    told = ", ".join(map(repr, target.columns[:4]))
    for what, slides in wrong.items():
        faults.found(f"column {told}: {what}, in the row of {few(slides)}")
    return np.array(rows, float).reshape(len(names), width)
