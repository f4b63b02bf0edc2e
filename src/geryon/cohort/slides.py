"""The slides of a cohort: opened from what a table or a command line gives, and checked against one another."""

from __future__ import annotations

from collections import Counter
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
from geryon.cohort.volumes import Shelf, encoder_of, has_turns, identity, open_cells, precision_of
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
    cells: Volume | Bag | None
    """None where the question is of objects alone."""
    identity: str
    """Digest of its codes, as cohort.volumes has it, or of its objects."""
    precision: str = ""
    """What its codes were computed in, "" where that is not known."""
    fold: int = 0
    """As the table gives it, 0 where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """The slides of a table that can be learnt from, or asked about."""

    path: str
    slides: tuple[Slide, ...]
    encoder: EncoderUsed | None
    """None where no volumes were asked for."""
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
    def precisions(self) -> dict[str, int]:
        """{what codes were computed in: how many slides'}, most first; those that do not say it lack."""
        return dict(Counter(slide.precision for slide in self.slides if slide.precision).most_common())

    @property
    def kind(self) -> Target:
        """The kind of question."""
        assert self.target is not None, "the table was read with a question"
        return get_target(self.target.kind)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What was opened, {slide: what}; empty of what the question does not need."""

    cells: Mapping[str, Volume | Bag]
    objects: Mapping[str, SlideObjects]

    @property
    def slides(self) -> list[str]:
        """The slides that can be seen."""
        return list(self.cells or self.objects)

    @property
    def empty(self) -> list[str]:
        """Those without tissue."""
        if self.cells:
            return [name for name, each in self.cells.items() if not each.tissue.any()]
        return [name for name, each in self.objects.items() if not each.has_tissue]

    def identity(self, name: str) -> str:
        """A digest of the slide's codes, or of its objects where no codes are seen."""
        return identity(self.cells[name]) if self.cells else self.objects[name].identity


def shelf_of(slides: Sequence[Slide], memory_bytes: int) -> Shelf:
    """Their volumes; empty where the question is of objects alone."""
    return Shelf([slide.cells for slide in slides if slide.cells is not None], memory_bytes)


def built(rows: Sequence[tuple[str, str, int]], found: Found, faults: Faults) -> Cohort:
    """The cohort of rows (slide, patient, fold) that were found, where nothing is wrong."""
    identities = {name: found.identity(name) for name, *_ in rows}
    checks.twins(identities, faults)
    cells = {name: found.cells[name] for name, *_ in rows if found.cells}
    encoder = checks.encoders({name: encoder_of(each) for name, each in cells.items()}, faults)
    checks.objects(found.objects, faults)
    faults.end()
    measures = tuple(next(iter(found.objects.values())).measures) if found.objects else ()
    return Cohort(
        path="",
        slides=tuple(
            Slide(
                name=name,
                patient=patient,
                cells=cells.get(name),
                identity=identities[name],
                precision=precision_of(cells[name]) if cells else "",
                fold=fold,
            )
            for name, patient, fold in rows
        ),
        encoder=encoder,
        has_turns=bool(cells) and all(map(has_turns, cells.values())),
        measure_names=measures,
        measures=table_of([found.objects[name] for name, *_ in rows] if found.objects else [], measures),
    )


def empty_of(found: Found, may_be: bool, faults: Faults) -> tuple[str, ...]:
    """The slides without tissue."""
    empty = tuple(found.empty)
    if empty and not may_be:
        faults.found(f"no tissue in {few(empty)}; leave out slides without tissue with --skip-empty")
    elif empty and len(empty) == len(found.slides):
        faults.found("no slide has tissue")
    return empty


def told_of_empty(empty: Sequence[str]) -> tuple[str, ...]:
    """The note about slides that were left out."""
    return (f"left out, without tissue: {few(empty)}",) if empty else ()


def cohort_of(paths: Sequence[Path], question: Question) -> Cohort:
    """Volumes, or folders of results, without a table, each a slide and patient of its own name; all faults in one
    InputError. Of the question only what it needs of a slide counts (cells, grid, objects)."""
    faults = Faults("the slides given")
    cells: dict[str, Volume | Bag] = {}
    objects: dict[str, SlideObjects] = {}
    for path in paths:
        if question.cells:
            if (each := _opened(path, str(path), faults)) is None:
                continue
            told = each.about.slide if isinstance(each, Volume) else each.slide
            name = told if told not in cells else str(path)
            cells[name] = each
        if question.objects and (measured := _measured(_folder(path), str(path), faults)) is not None:
            if not question.cells:
                name = measured.slide if measured.slide not in objects else str(path)
            objects[name] = measured
    _flat(cells, question, faults)
    found = Found(cells=cells, objects=objects)
    empty = empty_of(found, True, faults)
    rows = [(name, name, 0) for name in found.slides if name not in empty]
    return replace(built(rows, found, faults), notes=told_of_empty(empty), left_out=empty)


def opened(table: Path, columns: Mapping[str, list[str]], question: Question, faults: Faults) -> Found:
    """Of each slide of a table what the question needs: its volume; its objects, from the folder in the column
    `objects`, else from the one that holds the volume, or would."""
    if question.features is None and FEATURES not in columns and (question.cells or OBJECTS not in columns):
        what = (FEATURES, "volumes") if question.cells else (OBJECTS, "results")
        faults.asked(f"there is no column {what[0]!r}, and no folder of {what[1]}; give --features FOLDER")
        return Found(cells={}, objects={})
    cells: dict[str, Volume | Bag] = {}
    objects: dict[str, SlideObjects] = {}
    taken: dict[Path, str] = {}
    for i, name in enumerate(columns[SLIDE]):
        if not name or name in cells or name in objects:
            continue
        features, folder = (columns[column][i] if column in columns else "" for column in (FEATURES, OBJECTS))
        place = _place(table, features, question, name)
        at = table.parent / folder if folder else _folder(place) if place else None
        kind, needed = (FEATURES, place) if question.cells else (OBJECTS, at)
        if needed is None:
            faults.found(f"{name}: no {kind} is given; fill it, or give --features FOLDER")
            continue
        volume = _opened(needed, name, faults) if question.cells else None
        if question.cells and volume is None:
            continue
        if (other := taken.setdefault((volume.path if volume else needed).resolve(), name)) != name:
            faults.found(f"{name} and {other} are given the same {kind}; a slide may stand once")
            continue
        if volume is not None:
            cells[name] = volume
        if question.objects and at is not None and (measured := _measured(at, name, faults)) is not None:
            objects[name] = measured
    _flat(cells, question, faults)
    return Found(cells=cells, objects=objects)


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
    return next((file for file in files if question.cells and file.is_file()), question.features / name)


def _folder(place: Path) -> Path:
    """The folder of results that a volume or bag lies in."""
    return place.parent if place.name == NAME or place.suffix in SUFFIXES else place


def _opened(place: Path, name: str, faults: Faults) -> Volume | Bag | None:
    try:
        return open_cells(place)
    except MissingPartError:
        raise
    except GeryonError as error:
        faults.found(f"{name}: {error}")
        return None


def _measured(folder: Path, name: str, faults: Faults) -> SlideObjects | None:
    try:
        return objects_of(folder)
    except GeryonError as error:
        faults.found(f"{name}: no objects: {error}")
        return None
