"""Other people's formats: what an exporter is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from geryon import events, plugins
from geryon.store.export import EXPORTERS
from geryon.store.run import RunRecord, TaskDone
from geryon.store.tables import open_objects

BATCH = 2_000
"""Rows held at once as Python values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """What the user chose."""

    tasks: tuple[str, ...]
    """At least one, each with a table of objects."""
    gzip: bool = False
    canvas: bool = False
    """Count from the origin of the file's whole canvas, not of the part that QuPath and we show (MRXS, SCN)."""
    object_types: dict[str, str] = field(
        default_factory=lambda: {"bounded": "detection", "unbounded": "annotation", "within": "detection"}
    )
    """QuPath's object type for each kind of task, and for one whose objects lie within those of another: it holds
    millions of detections, but not of annotations."""
    tell: events.Tell = events.nobody

    def object_type(self, task: TaskDone) -> str:
        """QuPath's object type for the objects of a task."""
        return self.object_types.get("within" if task.within else task.kind, "annotation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """One format: `write` makes the file at `path`, whole or not at all, in memory that the rows don't set."""

    suffix: str
    one_file: bool
    """True where all tasks go into one file, False for one file a task."""
    write: Callable[[RunRecord, Path, ExportSettings], None]
    also_named: tuple[str, ...] = ()
    """Other endings that the name of such a file may have."""

    @property
    def endings(self) -> tuple[str, ...]:
        """All that a file's name may end in, each with and without ".gz"; any other name is that of a folder."""
        return tuple(e + gz for e in (self.suffix, *self.also_named) for gz in (".gz", ""))


def get_exporter(name: str) -> Exporter:
    """The exporter of that name, ours or another package's."""
    exporter: Exporter = plugins.find(EXPORTERS, "geryon.exporters", name)
    return exporter


def batches(
    record: RunRecord, task: str, *, tell: events.Tell = events.nobody, leave_out: tuple[str, ...] = ()
) -> Iterator[pa.Table]:
    """The rows of one task in stored order, a few thousand at a time, without the columns left out."""
    with open_objects(record, task) as file:
        columns = [name for name in file.schema_arrow.names if name not in leave_out]
        for number in range(file.metadata.num_row_groups):
            for batch in file.iter_batches(batch_size=BATCH, row_groups=[number], columns=columns):
                yield pa.Table.from_batches([batch])
                tell(events.Advanced(stage="export", n=batch.num_rows))


def shift_level0(record: RunRecord, settings: ExportSettings) -> tuple[int, int]:
    """x, y to add to stored coordinates."""
    return record.origin_level0 if settings.canvas else (0, 0)
