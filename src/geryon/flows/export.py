"""Export: a slide's results in another program's format."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from geryon import events
from geryon.errors import InputError, UsageError
from geryon.store.export.exporter import Exporter, ExportSettings, get_exporter
from geryon.store.run import RunRecord, read_run
from geryon.store.tables import open_objects


def export(
    result_folder: str | Path,
    *,
    to: str,
    out: str | Path | None = None,
    tasks: Sequence[str] | None = None,
    gzip: bool = False,
    canvas: bool = False,
    tell: events.Tell = events.nobody,
) -> list[Path]:
    """Write the objects of a whole run in the format `to`; return the files made.

    They lie beside the results as <slide>.<suffix>, or at `out` (a file, or a folder that is there).
    """
    record, exporter = read_run(Path(result_folder)), get_exporter(to)
    settings = ExportSettings(tasks=_asked(record, tasks), gzip=gzip, canvas=canvas, tell=tell)
    places = _places(record, exporter, settings, Path(out) if out is not None else None)
    total = 0
    for name in settings.tasks:  # all can be read: told before anything is written
        with open_objects(record, name) as file:
            total += file.metadata.num_rows
    tell(events.Started(stage="export", total=total, unit="objects"))
    start = time.monotonic()
    for path, names in places.items():
        exporter.write(record, path, replace(settings, tasks=names))
    tell(events.Finished(stage="export", seconds=time.monotonic() - start))
    return list(places)


def _asked(record: RunRecord, tasks: Sequence[str] | None) -> tuple[str, ...]:
    there = record.object_tasks
    if not there:
        raise InputError(what="the run holds no tables of objects", where=str(record.folder))
    unknown = [name for name in tasks or () if name not in there]
    if unknown:
        raise UsageError(
            what=f"the run holds no objects of {', '.join(map(repr, unknown))}", mend=f"choose from: {', '.join(there)}"
        )
    return tuple(dict.fromkeys(tasks)) if tasks else there


def _places(
    record: RunRecord, exporter: Exporter, settings: ExportSettings, out: Path | None
) -> dict[Path, tuple[str, ...]]:
    """Each file with the tasks that go into it."""
    suffix = exporter.suffix + (".gz" if settings.gzip else "")
    folder, stem = record.folder, record.slide
    assert folder is not None
    if out is not None and not out.is_dir():
        whole = suffix if out.name.endswith(suffix) else out.suffix
        folder, stem, suffix = out.parent, out.name.removesuffix(whole), whole
    elif out is not None:
        folder = out
    if exporter.one_file or (out is not None and not out.is_dir() and len(settings.tasks) == 1):
        return {folder / f"{stem}{suffix}": settings.tasks}
    return {folder / f"{stem}.{name}{suffix}": (name,) for name in settings.tasks}
