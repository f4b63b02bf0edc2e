"""Export: a slide's results in another program's format."""

from __future__ import annotations

import os
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

    They lie beside the results as <slide>.<suffix>, or at `out`: a file where its name has an ending of the format,
    else a folder, there or new. What is compressed ends in ".gz", and a name that does is compressed.
    """
    record, exporter = read_run(Path(result_folder)), get_exporter(to)
    file = _file_named(out, exporter, gzip=gzip)
    is_packed = gzip or (file is not None and file.suffix.lower() == ".gz")
    settings = ExportSettings(tasks=_asked(record, tasks), gzip=is_packed, canvas=canvas, tell=tell)
    places = _places(record, exporter, settings, file, Path(out) if out is not None else record.folder)
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
    record: RunRecord, exporter: Exporter, settings: ExportSettings, file: Path | None, folder: Path | None
) -> dict[Path, tuple[str, ...]]:
    """Each file with the tasks that go into it: those of the name `file`, or <slide>.<suffix> in `folder`."""
    if file is not None:
        suffix = next(ending for ending in exporter.endings if file.name.lower().endswith(ending))
        folder, stem, suffix = file.parent, file.name[: -len(suffix)], file.name[-len(suffix) :]
        if exporter.one_file or len(settings.tasks) == 1:
            return {folder / f"{stem}{suffix}": settings.tasks}
    else:
        stem, suffix = record.slide, exporter.suffix + (".gz" if settings.gzip else "")
    assert folder is not None
    if exporter.one_file:
        return {folder / f"{stem}{suffix}": settings.tasks}
    return {folder / f"{stem}.{name}{suffix}": (name,) for name in settings.tasks}


def _file_named(out: str | Path | None, exporter: Exporter, *, gzip: bool) -> Path | None:
    """The file that `out` names, ".gz" added where it holds gzip; None where it names a folder."""
    if out is None or str(out).endswith(("/", os.sep)) or Path(out).is_dir():
        return None
    path = Path(out)
    if not path.name.lower().endswith(exporter.endings):
        return None
    return path.with_name(f"{path.name}.gz") if gzip and path.suffix.lower() != ".gz" else path
