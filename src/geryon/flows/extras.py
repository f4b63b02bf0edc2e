"""Extras: what the results of a slide may hold on request, made from the finished tables at any time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

from geryon import events
from geryon.flows.labels import draw_labels, label_key, undrawn
from geryon.flows.measure import measure, shortfalls, unfinished
from geryon.slides.reader import Slide
from geryon.store.parts import Parts
from geryon.store.run import RunRecord, read_run, write_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What is asked beside what every run leaves."""

    labels: bool = False
    """labels/<task>.ome.tif for every task with objects."""
    measures: tuple[str, ...] = ()
    """Names in flows.measure.MEASURES."""


def with_extras(slide: Slide, record: RunRecord, extras: Extras, tell: events.Tell) -> RunRecord:
    """The record of the same run, the asked extras beside its tables; only what is missing is made."""
    files, seconds = dict(record.files), dict(record.seconds)
    if unfinished(record, extras.measures):
        began = perf_counter()
        measure(slide, record, extras.measures, tell)
        seconds["measures"] = perf_counter() - began
    if _maps_lack(record, extras):
        began = perf_counter()
        files |= draw_labels(record, tell)
        seconds["labels"] = perf_counter() - began
    warnings = dict.fromkeys((*record.warnings, *shortfalls(record, extras.measures)))
    return replace(record, files=files, seconds=seconds, warnings=tuple(warnings))


def complete(slide: Slide, record: RunRecord, extras: Extras, tell: events.Tell) -> RunRecord:
    """The record of a finished run with the asked extras; its folder is not touched where none is missing.

    The network is not asked again. A table, map or run.json is replaced as a whole, so after a stop at any moment the
    folder holds a finished run, and the same call makes the rest.
    """
    folder = record.folder
    assert folder is not None
    if has_all(record, extras):
        return record
    with Parts(folder, key="extras of a finished run") as alone:
        record = read_run(folder)  # another process may have written it before this one was alone
        record = write_run(folder, with_extras(slide, record, extras, holding(alone, tell)))
        alone.finish()
    return record


def has_all(record: RunRecord, extras: Extras) -> bool:
    """True when the folder holds the asked extras, and run.json says so."""
    if unfinished(record, extras.measures) or _maps_lack(record, extras):
        return False
    return set(shortfalls(record, extras.measures)) <= set(record.warnings)


def holding(parts: Parts, tell: events.Tell) -> events.Tell:
    """The same listener; with each event the lock on the slide is renewed, so that no other machine takes it over."""

    def heard(event: events.Event) -> None:
        parts.renew()
        tell(event)

    return heard


def _maps_lack(record: RunRecord, extras: Extras) -> bool:
    """Maps that run.json names and somebody deleted are made again too."""
    lacking = undrawn(record)
    return bool(lacking) and (extras.labels or any(label_key(task) in record.files for task in lacking))
