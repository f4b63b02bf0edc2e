"""Measures: further columns of finished tables, made row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from geryon import events, plugins
from geryon.errors import UsageError
from geryon.slides.reader import Slide
from geryon.space import shapes
from geryon.space.objects import Outlines
from geryon.store.rows import add_measures, measures_of, unmeasured
from geryon.store.run import RunRecord

MEASURES = {
    "shape": "geryon.flows.measure:SHAPE",
    "stain": "geryon.flows.stain:STAIN",
}
"""Entry points of the group geryon.measures add to it."""
GROUP = "geryon.measures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where objects lie."""

    slide: Slide
    """Its frame is the level0 that outlines are counted in."""
    mpp: float
    """The task's own µm per pixel."""
    tell: events.Tell = events.nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Numbers about single objects; those of one object depend on its outline and the slide alone."""

    columns: tuple[str, ...]
    """Their names, each ending in its unit."""
    of: Callable[[Outlines, Place], Mapping[str, np.ndarray]]
    """Outlines (level0) -> {column: float [object]}, NaN where there is no value."""


def shape_of(outlines_level0: Outlines, place: Place) -> dict[str, np.ndarray]:
    """float64 [object] for each column of space.shapes."""
    return shapes.shapes(outlines_level0.scaled(place.slide.frame.mpp_x, place.slide.frame.mpp_y))


SHAPE = Measure(columns=shapes.COLUMNS, of=shape_of)


def get_measures(names: Sequence[str]) -> tuple[Measure, ...]:
    """The measures of those names, ours or another package's; UsageError names all that there are not."""
    known = plugins.names(MEASURES, GROUP)
    unknown = [name for name in names if name not in known and ":" not in name]
    if unknown:
        raise UsageError(
            what=f"no measure is called {', '.join(map(repr, unknown))}", mend=f"choose from: {', '.join(known)}"
        )
    return tuple(plugins.find(MEASURES, GROUP, name) for name in dict.fromkeys(names))


def unfinished(record: RunRecord, names: Sequence[str]) -> dict[str, tuple[Measure, ...]]:
    """Task -> the measures of those names that its table lacks; tasks that lack none are left out."""
    wanted = get_measures(names)
    there = {task: set(measures_of(record, task)) for task in record.object_tasks} if wanted else {}
    lacking = {task: tuple(m for m in wanted if not there[task].issuperset(m.columns)) for task in there}
    return {task: measures for task, measures in lacking.items() if measures}


def measure(slide: Slide, record: RunRecord, names: Sequence[str], tell: events.Tell) -> None:
    """Give every table of the run the measures that it lacks.

    A table is replaced when its columns are whole, so a run that is stopped has each table as before or as asked.
    """
    for task, measures in unfinished(record, names).items():
        _measure_task(slide, record, task, measures, tell)


def shortfalls(record: RunRecord, names: Sequence[str]) -> tuple[str, ...]:
    """What there is to warn about where all tables have these measures: objects without a value."""
    measures = dict(zip(dict.fromkeys(names), get_measures(names), strict=True))
    left = {(n, t): unmeasured(record, t, m.columns) for n, m in measures.items() for t in record.object_tasks}
    return tuple(f"{count} {task} have no {name}" for (name, task), count in left.items() if count)


def _measure_task(slide: Slide, record: RunRecord, task: str, measures: Sequence[Measure], tell: events.Tell) -> None:
    began, stage, done = perf_counter(), f"measure {task}", record.tasks[task]
    place = Place(slide=slide, mpp=done.mpp, tell=tell)
    tell(events.Started(stage=stage, total=done.objects, unit="objects"))

    def measured(outlines: Outlines) -> dict[str, np.ndarray]:
        values = {name: value for m in measures for name, value in m.of(outlines, place).items()}
        tell(events.Advanced(stage=stage, n=len(outlines)))
        return values

    add_measures(record, task, [name for m in measures for name in m.columns], measured)
    tell(events.Finished(stage=stage, seconds=perf_counter() - began))
