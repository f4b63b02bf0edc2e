"""Tables for spreadsheets and statistics: one row an object, no outlines."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from geryon.atomic import whole_file
from geryon.store.export.exporter import Exporter, ExportSettings, batches, shift_level0
from geryon.store.run import RunRecord
from geryon.store.tables import open_objects

_LEFT_OUT = ("bbox", "geometry")


def write(record: RunRecord, path: Path, settings: ExportSettings) -> None:
    """Write the one asked task: id, centroid (level0, µm), class, score, probabilities 0..1, measures."""
    (task,) = settings.tasks
    with open_objects(record, task) as file:
        schema = pa.schema([f for f in file.schema_arrow.remove_metadata() if f.name not in _LEFT_OUT])
    schema = _rows(schema.empty_table(), record, settings).schema
    with ExitStack() as stack:
        temporary = stack.enter_context(whole_file(path))
        binary: Any = stack.enter_context(temporary.open("wb"))
        if settings.gzip:
            binary = stack.enter_context(
                gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=binary, mtime=0)
            )
        options = pacsv.WriteOptions(quoting_style="needed")
        with pacsv.CSVWriter(pa.PythonFile(binary, "w"), schema, write_options=options) as writer:
            for table in batches(record, task, tell=settings.tell, leave_out=_LEFT_OUT):
                writer.write_table(_rows(table, record, settings))


def _rows(table: pa.Table, record: RunRecord, settings: ExportSettings) -> pa.Table:
    shift_x, shift_y = shift_level0(record, settings)
    x = pc.add(table["x"].cast(pa.float64()), float(shift_x))  # µm count from the same corner as pixels
    y = pc.add(table["y"].cast(pa.float64()), float(shift_y))
    columns: dict[str, Any] = {
        "id": table["id"],
        "x_level0": pc.round(x, 3),
        "y_level0": pc.round(y, 3),
        "x_um": pc.round(pc.multiply(x, record.mpp[0]), 3),
        "y_um": pc.round(pc.multiply(y, record.mpp[1]), 3),
    }
    for name in table.column_names:
        if name in ("id", "x", "y"):
            continue
        column = table[name]
        if pa.types.is_uint8(column.type):
            column = pc.round(pc.divide(column.cast(pa.float64()), 255.0), 4)
        elif pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        columns[name] = column
    return pa.table(columns)


EXPORTER = Exporter(suffix=".csv", one_file=False, write=write, also_named=(".txt",))
