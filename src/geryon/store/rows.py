"""Rows of a finished table by their numbers: outlines of a place, and further columns for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from geryon.space.boxes import Box
from geryon.space.objects import Objects, Outlines, join_outlines, offsets
from geryon.store.run import RunRecord
from geryon.store.tables import TableWriter, groups_meeting, open_objects, overlapping
from geryon.store.wkb import outlines_from_wkb

_OWN_FLOATS = ("x", "y", "area_um2")
"""The float32 columns that every table has; all others are measures."""


def numbered_outlines(record: RunRecord, task: str, box: Box) -> tuple[np.ndarray, Outlines]:
    """Row numbers (int64 [n]) and outlines (level0) of the objects whose boxes overlap the box, in stored order.

    Held at once: one row group, and what is found.
    """
    place = box.to(record.frame)
    edges = (place.xmin, place.ymin, place.xmax, place.ymax)
    numbers, outlines = [np.zeros(0, np.int64)], []
    with open_objects(record, task) as file:
        metadata = file.metadata
        first = offsets(np.array([metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)], np.int64))
        for group in groups_meeting(metadata, edges):
            table = file.read_row_group(group, columns=["bbox", "geometry"])
            here = np.flatnonzero(overlapping(table["bbox"], edges))
            numbers.append(first[group] + here)
            outlines.append(outlines_from_wkb(table["geometry"].take(pa.array(here))))
    return np.concatenate(numbers), join_outlines(outlines)


def stored_objects(record: RunRecord, task: str) -> Objects:
    """All objects of a task as they are stored, in level0 pixels."""
    with open_objects(record, task) as file:
        table = file.read()
    names = record.tasks[task].classes
    columns = {name: table[name].to_numpy() for name in ("x", "y", "score", "area_um2", *(f"p_{n}" for n in names))}
    p = [columns[f"p_{name}"] for name in names]
    return Objects(
        frame=record.frame,
        xy=np.stack([columns["x"], columns["y"]], axis=1).astype(np.float64),
        outlines=outlines_from_wkb(table["geometry"]),
        area=columns["area_um2"].astype(np.float64) / (record.mpp[0] * record.mpp[1]),
        score=columns["score"],
        p=np.stack(p, axis=1) if p else np.zeros((len(table), 0), np.uint8),
    )


def measures_of(record: RunRecord, task: str) -> tuple[str, ...]:
    """Names of the columns that were measured beyond those of every table."""
    with open_objects(record, task) as file:
        return _measures(file.schema_arrow)


def add_measures(
    record: RunRecord,
    task: str,
    columns: Sequence[str],
    measured: Callable[[Outlines], Mapping[str, np.ndarray]],
) -> None:
    """Give the table the float32 `columns`, whole or not at all; rows and all other columns stay as they are.

    `measured` is asked row group by row group: outlines (level0) -> values [n] of each column, NaN for null. Measures
    stand sorted by name, so that the bytes do not tell in which order they came.
    """
    with open_objects(record, task) as file:
        old, groups = file.schema_arrow.remove_metadata(), file.metadata.num_row_groups
    names = sorted({*_measures(old), *columns})
    schema = pa.schema([f for f in old if f.name not in names] + [pa.field(name, pa.float32()) for name in names])
    # The old file is closed before the new one takes its name: some systems refuse otherwise.
    with TableWriter(record.paths[f"objects/{task}"], schema) as writer, open_objects(record, task) as file:
        for group in range(groups):
            table = file.read_row_group(group)
            values = measured(outlines_from_wkb(table["geometry"]))
            table = table.drop_columns([name for name in columns if name in old.names])
            for name in columns:
                column = pa.array(np.asarray(values[name], np.float32), from_pandas=True)
                table = table.append_column(pa.field(name, pa.float32()), column)
            writer.write(table.select(schema.names))


def unmeasured(record: RunRecord, task: str, columns: Sequence[str]) -> int:
    """How many objects have no value: the most of any of the columns."""
    with open_objects(record, task) as file:
        metadata = file.metadata
    at = {metadata.schema.column(k).path: k for k in range(metadata.num_columns)}
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    return max((sum(group.column(at[name]).statistics.null_count for group in groups) for name in columns), default=0)


def _measures(schema: pa.Schema) -> tuple[str, ...]:
    return tuple(f.name for f in schema if pa.types.is_float32(f.type) and f.name not in _OWN_FLOATS)
