"""Objects as Arrow tables and GeoParquet 1.1 files: columns, streaming writer, reading by box."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geryon.atomic import whole_file
from geryon.compiling import compiled
from geryon.errors import InputError, UsageError
from geryon.space.boxes import Box
from geryon.space.objects import Objects
from geryon.store.columns import (
    BBOX,
    BBOX_TYPE,
    CLASS_TYPE,
    bbox_column,
    chunked,
    class_column,
    float_column,
    geometry_column,
    plain_column,
    plain_values,
)
from geryon.store.run import RunRecord, read_run

ROWS = 50_000
"""Rows of a row group: what a box query reads at least."""
GEOMETRY_BYTES = 128 << 20
"""A row group is cut earlier where its outlines exceed this (glands), so that memory is bounded."""
LEVEL = 1
"""zstd: a fifth of the seconds of level 7, and the same bytes within three in a hundred (levels 3 to 5 make more):
outlines are short runs of steps, in which it finds little by looking longer (benchmarks/store.py)."""
PAGE_BYTES = 200 << 10
"""zstd has tables of settings by input size; those for up to 256 KiB suit outlines better than the next."""


def objects_schema(class_names: Sequence[str], *, holder_name: str = "", measures: Sequence[str] = ()) -> pa.Schema:
    """The columns of `objects/<task>.parquet` as design.md lists them; `holder_name` "" leaves that column out."""
    fields = [
        pa.field("id", pa.uint64(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        pa.field("bbox", BBOX_TYPE, nullable=False),
        pa.field("geometry", pa.binary(), nullable=False),
    ]
    if class_names:
        fields.append(pa.field("class", CLASS_TYPE))
    fields.append(pa.field("score", pa.uint8(), nullable=False))
    fields += [pa.field(f"p_{name}", pa.uint8(), nullable=False) for name in class_names]
    fields.append(pa.field("area_um2", pa.float32(), nullable=False))
    if holder_name:
        fields.append(pa.field(holder_name, pa.uint64()))
    return pa.schema(fields + [pa.field(name, pa.float32()) for name in measures])


def objects_table(
    objects: Objects,
    *,
    ids: np.ndarray,
    class_names: tuple[str, ...],
    area_um2: np.ndarray,
    holder: np.ndarray | None = None,
    holder_name: str = "",
    measures: Mapping[str, np.ndarray] | None = None,
) -> pa.Table:
    """Objects in the level0 frame as rows of the columns above; `holder` 0 becomes null, NaN measures too."""
    assert objects.frame.name == "level0", "what is stored is level0"
    assert objects.p.shape[1] == len(class_names), "one column of p a class"
    measures = measures or {}
    columns: dict[str, Any] = {
        "id": np.asarray(ids, np.uint64),
        "x": objects.xy[:, 0].astype(np.float32),
        "y": objects.xy[:, 1].astype(np.float32),
        "bbox": bbox_column(objects),
        "geometry": geometry_column(objects),
        "score": objects.score,
        "area_um2": np.asarray(area_um2, np.float32),
        **{f"p_{name}": np.ascontiguousarray(objects.p[:, k]) for k, name in enumerate(class_names)},
        **{name: float_column(value) for name, value in measures.items()},
    }
    if class_names:
        columns["class"] = class_column(objects.p, class_names)
    if holder is not None:
        columns[holder_name] = plain_column(np.asarray(holder, np.uint64), missing=np.asarray(holder) == 0)
    schema = objects_schema(
        class_names, holder_name=holder_name if holder is not None else "", measures=tuple(measures)
    )
    return pa.Table.from_arrays([chunked(columns[name]) for name in schema.names], schema=schema)


def hilbert(x: np.ndarray, y: np.ndarray, order: int) -> np.ndarray:
    """uint64: place along the Hilbert curve through a grid of 2**order cells a side; x, y are cell numbers.

    Sorting by it keeps neighbours together (Hilbert 1891; the loop is the usual quadrant recursion).

    >>> hilbert(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]), 1).tolist()
    [0, 1, 2, 3]
    """
    assert 0 < order <= 31
    return _along_curve(np.array(x, np.int64), np.array(y, np.int64), order).astype(np.uint64)


@compiled
def _along_curve(x, y, order):  # type: ignore[no-untyped-def]
    out = np.empty(len(x), np.int64)
    for i in range(len(x)):
        u, v, place = x[i], y[i], 0
        for bit in range(order - 1, -1, -1):
            right, low = (u >> bit) & 1, (v >> bit) & 1
            place = (place << 2) | ((3 * right) ^ low)
            inner = (1 << bit) - 1
            u, v = u & inner, v & inner
            if low == 0:
                u, v = (inner - v, inner - u) if right else (v, u)
        out[i] = place
    return out


class TableWriter:
    """Streams tables of one schema into a GeoParquet file that appears whole or not at all.

    Rows keep their order; row groups depend on the rows alone, not on how they were handed over, so the
    same rows give the same bytes. One row group is encoded in a thread of its own while the next is gathered; held in
    memory are these two and the table just written.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, rows: int = ROWS, level: int = LEVEL) -> None:
        self.path, self.schema = Path(path), schema.remove_metadata()
        self._rows, self._level = rows, level
        self._file = whole_file(self.path)
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._box = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._encoding: Future[None] | None = None

    def __enter__(self) -> TableWriter:
        temporary = self._file.__enter__()
        try:
            self._writer = pq.ParquetWriter(temporary, self.schema, **_layout(self.schema, self._level))
        except BaseException as error:
            self._file.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            if error is None:
                self._flush(at_end=True)
                self._encoded()
                self._writer.add_key_value_metadata({"geo": geo_metadata(self._box)})
            self._encoder.shutdown()
            self._writer.close()
        except BaseException as fault:
            self._encoder.shutdown()
            self._writer.is_open = False
            self._file.__exit__(type(fault), fault, fault.__traceback__)
            raise
        return self._file.__exit__(kind, error, trace)

    def write(self, table: pa.Table) -> None:
        """Append the rows of `table`."""
        if table.num_rows == 0:
            return
        if table.schema != self.schema:
            table = table.cast(self.schema)  # imports all of pyarrow's functions, so not for nothing
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        self._waiting_bytes += int(_lengths(table).sum())
        self._widen(table["bbox"])
        self._flush(at_end=False)

    def _widen(self, bbox: pa.ChunkedArray) -> None:
        for chunk in bbox.chunks:
            for k, (name, best) in enumerate(zip(BBOX, (min, min, max, max), strict=True)):
                if len(chunk):
                    values = plain_values(chunk.field(name))
                    self._box[k] = best(self._box[k], values.min() if k < 2 else values.max())

    def _flush(self, *, at_end: bool) -> None:
        while self._waiting_rows and (
            at_end or self._waiting_rows >= self._rows or self._waiting_bytes > GEOMETRY_BYTES
        ):
            table = pa.concat_tables(self._waiting)
            lengths = _lengths(table)
            n = min(self._rows, max(1, int(np.searchsorted(np.cumsum(lengths), GEOMETRY_BYTES, side="right"))))
            group = table.slice(0, n).unify_dictionaries().combine_chunks()
            self._encoded()
            self._encoding = self._encoder.submit(self._writer.write_table, group, row_group_size=n)
            rest = table.slice(n)
            self._waiting = [rest] if rest.num_rows else []
            self._waiting_rows, self._waiting_bytes = rest.num_rows, int(lengths[n:].sum())

    def _encoded(self) -> None:
        """Wait for the row group under way; what went wrong there is raised here."""
        if self._encoding is not None:
            self._encoding.result()
            self._encoding = None


def geo_metadata(box: np.ndarray) -> str:
    """The `geo` key of GeoParquet 1.1 for pixels (crs null); `box` is that of all rows, infinite for none."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": None,
        "edges": "planar",
        "orientation": "counterclockwise",
        "covering": {"bbox": {name: ["bbox", name] for name in BBOX}},
    }
    if np.isfinite(box).all():
        column["bbox"] = [float(v) for v in box]
    return json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}})


def read_objects(
    path: str | Path, task: str, *, box: Box | Sequence[float] | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """The objects of `task` in the slide's result folder whose boxes overlap `box` (level0), in stored order.

    Row groups that lie elsewhere are not read.
    """
    record = read_run(Path(path))
    with open_objects(record, task) as file:
        wanted = _checked(file, columns, task)
        if box is None:
            return file.read(columns=wanted)
        xmin, ymin, xmax, ymax = _level0(box, record)
        groups = groups_meeting(file.metadata, (xmin, ymin, xmax, ymax))
        table = file.read_row_groups(groups, columns=[*wanted, *({"bbox"} - set(wanted))])
    return table.filter(pa.array(overlapping(table["bbox"], (xmin, ymin, xmax, ymax)))).select(wanted)


def overlapping(bbox: pa.ChunkedArray, box: tuple[float, float, float, float]) -> np.ndarray:
    """bool [row]: the boxes of the column `bbox` that overlap the box (both level0)."""
    xmin, ymin, xmax, ymax = (_field(bbox, name) for name in BBOX)
    return (xmin < box[2]) & (xmax > box[0]) & (ymin < box[3]) & (ymax > box[1])


def open_objects(record: RunRecord, task: str) -> pq.ParquetFile:
    """The Parquet file of one task of a whole run; to be closed."""
    assert record.folder is not None, "a record that was read knows its folder"
    if task not in record.object_tasks:
        raise InputError(
            what=f"it holds no objects of the task {task!r}",
            where=str(record.folder),
            mend=f"choose one of: {', '.join(record.object_tasks) or '(none)'}",
        )
    path = record.paths[f"objects/{task}"]
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(what=f"can't be read: {error}", where=str(path), mend="run geryon segment again") from error


def groups_meeting(metadata: pq.FileMetaData, box: tuple[float, float, float, float]) -> list[int]:
    """The row groups whose statistics leave room for an object that overlaps `box`."""
    at = {metadata.schema.column(k).path: k for k in range(metadata.num_columns)}
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        low = [_limit(group.column(at[f"bbox.{name}"]).statistics, "min") for name in BBOX[:2]]
        high = [_limit(group.column(at[f"bbox.{name}"]).statistics, "max") for name in BBOX[2:]]
        if low[0] < box[2] and low[1] < box[3] and high[0] > box[0] and high[1] > box[1]:
            found.append(number)
    return found


def _limit(statistics: Any, which: str) -> float:
    if statistics is None or not statistics.has_min_max:
        return -np.inf if which == "min" else np.inf
    return float(getattr(statistics, which))


def _checked(file: pq.ParquetFile, columns: Sequence[str] | None, task: str) -> list[str]:
    names: list[str] = file.schema_arrow.names
    unknown = [name for name in columns or () if name not in names]
    if unknown:
        raise UsageError(
            what=f"the table of {task} has no column {', '.join(map(repr, unknown))}",
            mend=f"choose from: {', '.join(names)}",
        )
    return names if columns is None else list(columns)


def _level0(box: Box | Sequence[float], record: RunRecord) -> tuple[float, float, float, float]:
    if isinstance(box, Box):
        box = box.to(record.frame)
        return box.xmin, box.ymin, box.xmax, box.ymax
    if len(box) != 4:
        raise UsageError(what=f"a box has 4 numbers, not {len(box)}", mend="give xmin, ymin, xmax, ymax")
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _lengths(table: pa.Table) -> np.ndarray:
    """int64 [row]: bytes of each geometry."""
    chunks = [c for c in table["geometry"].chunks if len(c)]
    at = [np.frombuffer(c.buffers()[1], np.int32)[c.offset : c.offset + len(c) + 1] for c in chunks]
    return np.concatenate([np.diff(a) for a in at]).astype(np.int64) if at else np.zeros(0, np.int64)


def _field(column: pa.ChunkedArray, name: str) -> np.ndarray:
    parts = [plain_values(chunk.field(name)) for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _layout(schema: pa.Schema, level: int) -> dict[str, Any]:
    """What ParquetWriter is told: encodings and levels as benchmarks/store.py found them smallest."""
    leaves = [f"bbox.{n}" if f.name == "bbox" else f.name for f in schema for n in (BBOX if f.name == "bbox" else [0])]
    split = [f.name for f in schema if pa.types.is_float32(f.type)] + [f"bbox.{name}" for name in BBOX]
    encoding = dict.fromkeys(split, "BYTE_STREAM_SPLIT") | {"id": "DELTA_BINARY_PACKED", "geometry": "PLAIN"}
    return {
        "compression": "zstd",
        "compression_level": dict.fromkeys(leaves, level),
        "use_dictionary": [name for name in leaves if name not in encoding],
        "column_encoding": encoding,
        "write_statistics": [name for name in leaves if name != "geometry"],
        "data_page_size": PAGE_BYTES,
        "write_batch_size": 64,
    }
