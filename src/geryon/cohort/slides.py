"""The slides of a cohort: opened from what a table or a command line gives, and checked against one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from geryon.cohort import checks
from geryon.cohort.document import EncoderUsed, TargetDocument
from geryon.cohort.faults import Faults, few
from geryon.cohort.objects import SlideObjects, objects_of, table_of
from geryon.cohort.question import Question
from geryon.cohort.target import Target
from geryon.cohort.targets import get_target
from geryon.cohort.volumes import encoder_of, has_turns, identity, open_cells
from geryon.errors import GeryonError, MissingPartError
from geryon.store.bags.reading import SUFFIXES, Bag
from geryon.store.features import NAME, Volume

SLIDE, PATIENT, FEATURES, OBJECTS, FOLD = "slide", "patient", "features", "objects", "fold"
"""Columns of a table that are no labels."""


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


def built(
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


def empty_of(cells: Mapping[str, Volume | Bag], may_be: bool, faults: Faults) -> tuple[str, ...]:
    """The slides without tissue."""
    empty = tuple(name for name, each in cells.items() if not each.tissue.any())
    if empty and not may_be:
        faults.found(f"no tissue in {few(empty)}; leave out slides without tissue with --skip-empty")
    elif empty and len(empty) == len(cells):
        faults.found("no slide has tissue")
    return empty


def told_of_empty(empty: Sequence[str]) -> tuple[str, ...]:
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
    empty = empty_of(cells, True, faults)
    measured: dict[str, SlideObjects] = {}
    for name, each in cells.items() if question.objects else ():
        _add_objects(measured, name, each.path.parent, faults)
    rows = [(name, name, each, 0) for name, each in cells.items() if name not in empty]
    return replace(built(rows, measured, faults), notes=told_of_empty(empty), left_out=empty)


def cells_of(
    path: Path, columns: Mapping[str, list[str]], question: Question, faults: Faults
) -> dict[str, Volume | Bag]:
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


def measured(
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
