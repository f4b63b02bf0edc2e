"""A table of slides and labels, checked as a whole: all its faults are told at once, before anything is learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from geryon.cohort import checks
from geryon.cohort.document import EncoderUsed, TargetDocument
from geryon.cohort.faults import Faults, few
from geryon.cohort.labels import is_blank
from geryon.cohort.objects import SlideObjects, objects_of, table_of
from geryon.cohort.target import LABELS, Target
from geryon.cohort.targets import asked_by, get_target, guessed
from geryon.cohort.volumes import encoder_of, has_turns, identity, open_cells
from geryon.errors import GeryonError, MissingPartError, UsageError
from geryon.store.bags.reading import SUFFIXES, Bag
from geryon.store.features import NAME, Volume
from geryon.store.given import read_columns

SLIDE, PATIENT, FEATURES, OBJECTS, FOLD = "slide", "patient", "features", "objects", "fold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a table."""

    labels: tuple[str, ...] = ()
    """Columns that hold the answer; for survival left out."""
    kind: str = ""
    """In cohort.targets.TARGETS; "": told by what the columns hold."""
    classes: tuple[str, ...] = ()
    """Classes in their order, where it is not that of numbers or the alphabet."""
    time: str = ""
    event: str = ""
    """Columns of survival: time to death or to the last visit, and 1 for a death."""
    features: Path | None = None
    """Folder that holds each slide's folder (or .h5), for tables without the column `features`."""
    objects: bool = False
    """Whether measures of the slides' objects are taken too."""
    skip_empty: bool = False
    """Whether slides without tissue are left out; else they are a fault."""
    grid: bool = False
    """Whether the model needs cells with places, which an .h5 does not hold."""

    def columns(self, option: str) -> tuple[str, ...]:
        """The columns that a field of OPTIONS names."""
        named = getattr(self, option)
        return tuple(filter(None, (named,) if isinstance(named, str) else named))


NOTHING_ASKED = Question()
OPTIONS = {"labels": "--label", "time": "--time", "event": "--event"}
"""Fields of a question that name columns, and how the command line has them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slide:
    """One row of the table."""

    name: str
    patient: str
    cells: Volume | Bag
    identity: str
    """Digest of its codes, as cohort.volumes has it."""
    fold: int = 0
    """As the table gives it, 0 where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """The slides of a table that can be learnt from, or asked about."""

    path: str
    slides: tuple[Slide, ...]
    encoder: EncoderUsed
    has_turns: bool
    """Whether all hold codes of eight turned patches."""
    target: TargetDocument | None = None
    truth: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """float64 [slide, k], see cohort.targets."""
    measure_names: tuple[str, ...] = ()
    measures: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """float64 [slide, measure] of the objects."""
    left_out: tuple[str, ...] = ()
    """Slides without tissue."""
    notes: tuple[str, ...] = ()
    """What a reader of the results should know of the table."""

    @property
    def patients(self) -> list[str]:
        """The patient of each slide."""
        return [slide.patient for slide in self.slides]

    @property
    def kind(self) -> Target:
        """The kind of question."""
        assert self.target is not None, "the table was read with a question"
        return get_target(self.target.kind)


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
    folds = checks.folds(columns.get(FOLD) if target else None, names, patients, faults)
    cells = _cells(path, columns, question, faults)
    empty = _empty(cells, question.skip_empty, faults)
    objects = _objects(path, columns, cells, faults) if question.objects else {}
    kept = [i for i, name in enumerate(names) if name in cells and name not in empty]
    if target:
        checks.truth(target, truth, patients, [i for i in range(len(names)) if names[i] not in empty], faults)
    if target and any(folds[i] for i in kept):
        checks.sides(target, truth[kept], [patients[i] for i in kept], [folds[i] for i in kept], faults)
    rows = [(names[i], patients[i], cells[names[i]], folds[i]) for i in kept]
    notes: tuple[str, ...] = ()
    if PATIENT not in columns:
        notes = (f"there is no column {PATIENT!r}: each slide is taken for a patient",)
    if target and not question.kind and get_target(target.kind).options == LABELS:
        told = ", ".join(map(repr, target.columns[:4]))
        notes = (*notes, f"the question of {told} is taken for {target.kind}; --target asks another")
    base = _built(rows, objects, faults)
    return replace(
        base, path=str(path), target=target, truth=truth[kept], notes=(*notes, *_told(empty)), left_out=empty
    )


def _built(
    rows: Sequence[tuple[str, str, Volume | Bag, int]], objects: Mapping[str, SlideObjects], faults: Faults
) -> Cohort:
    """The cohort of rows (slide, patient, volume, fold), where nothing is wrong."""
    identities = {name: identity(cells) for name, _, cells, _ in rows}
    checks.twins(identities, faults)
    encoder = checks.encoders({name: encoder_of(cells) for name, _, cells, _ in rows}, faults)
    checks.objects(objects, faults)
    faults.end()
    assert encoder is not None, "no volume is a fault"
    measures = tuple(next(iter(objects.values())).measures) if objects else ()
    return Cohort(
        path="",
        slides=tuple(
            Slide(name=name, patient=patient, cells=cells, identity=identities[name], fold=fold)
            for name, patient, cells, fold in rows
        ),
        encoder=encoder,
        has_turns=all(has_turns(cells) for _, _, cells, _ in rows),
        measure_names=measures,
        measures=table_of([objects[name] for name, *_ in rows] if objects else [], measures),
    )


def _empty(cells: Mapping[str, Volume | Bag], may_be: bool, faults: Faults) -> tuple[str, ...]:
    """The slides without tissue."""
    empty = tuple(name for name, each in cells.items() if not each.tissue.any())
    if empty and not may_be:
        faults.found(f"no tissue in {few(empty)}; leave out slides without tissue with --skip-empty")
    elif empty and len(empty) == len(cells):
        faults.found("no slide has tissue")
    return empty


def _told(empty: Sequence[str]) -> tuple[str, ...]:
    return (f"left out, without tissue: {few(empty)}",) if empty else ()


def cohort_of(paths: Sequence[Path], question: Question) -> Cohort:
    """Volumes without a table, each a slide and patient of its own name; all faults in one InputError. Of the question
    only what it needs of a slide counts (objects, grid)."""
    faults = Faults("the slides given")
    cells: dict[str, Volume | Bag] = {}
    for path in paths:
        if (found := _opened(path, str(path), faults)) is not None:
            name = found.about.slide if isinstance(found, Volume) else found.slide
            cells[name if name not in cells else str(path)] = found
    _flat(cells, question, faults)
    empty = _empty(cells, True, faults)
    measured: dict[str, SlideObjects] = {}
    for name, each in cells.items() if question.objects else ():
        _add_objects(measured, name, each.path.parent, faults)
    rows = [(name, name, each, 0) for name, each in cells.items() if name not in empty]
    return replace(_built(rows, measured, faults), notes=_told(empty), left_out=empty)


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


def _cells(path: Path, columns: Mapping[str, list[str]], question: Question, faults: Faults) -> dict[str, Volume | Bag]:
    """{slide: its volume} of those that can be opened."""
    given = columns.get(FEATURES)
    if given is None and question.features is None:
        faults.asked(f"there is no column {FEATURES!r}, and no folder of volumes; give --features FOLDER")
        return {}
    found: dict[str, Volume | Bag] = {}
    taken: dict[Path, str] = {}
    for i, name in enumerate(columns[SLIDE]):
        if not name or name in found:
            continue
        place = _place(path, given[i] if given else "", question, name)
        if place is None:
            faults.found(f"{name}: no {FEATURES} is given; fill it, or give --features FOLDER")
            continue
        if (cells := _opened(place, name, faults)) is None:
            continue
        if (other := taken.setdefault(cells.path.resolve(), name)) != name:
            faults.found(f"{name} and {other} are given the same {FEATURES}; a slide may stand once")
            continue
        found[name] = cells
    _flat(found, question, faults)
    return found


def _flat(cells: Mapping[str, Volume | Bag], question: Question, faults: Faults) -> None:
    """Bags are no volumes for a model that looks at places."""
    if flat := [name for name, each in cells.items() if question.grid and isinstance(each, Bag)]:
        faults.found(f"no grid of cells in {few(flat)}, which this model needs; give features.zarr for them")


def _place(table: Path, given: str, question: Question, name: str) -> Path | None:
    if given:
        return table.parent / given
    if question.features is None:
        return None
    files = [question.features / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), question.features / name)


def _opened(place: Path, name: str, faults: Faults) -> Volume | Bag | None:
    try:
        return open_cells(place)
    except MissingPartError:
        raise
    except GeryonError as error:
        faults.found(f"{name}: {error}")
        return None


def _objects(
    path: Path, columns: Mapping[str, list[str]], cells: Mapping[str, Volume | Bag], faults: Faults
) -> dict[str, SlideObjects]:
    """{slide: its objects}: of the folder in the column `objects`, else of the one that holds features.zarr."""
    found: dict[str, SlideObjects] = {}
    for name, given in zip(columns[SLIDE], columns.get(OBJECTS, [""] * len(columns[SLIDE])), strict=True):
        if name in cells and name not in found:
            at = cells[name].path
            _add_objects(found, name, path.parent / given if given else at.parent if at.name == NAME else at, faults)
    return found


def _add_objects(found: dict[str, SlideObjects], name: str, folder: Path, faults: Faults) -> None:
    try:
        found[name] = objects_of(folder)
    except GeryonError as error:
        faults.found(f"{name}: no objects: {error}")
