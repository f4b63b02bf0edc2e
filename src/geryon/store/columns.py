"""Arrow columns of the parts of objects: boxes, outlines, classes, plain numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from geryon.space.objects import Objects, offsets
from geryon.store.wkb import sizes, wkb_from_outlines

BBOX = ("xmin", "ymin", "xmax", "ymax")
BBOX_TYPE = pa.struct([pa.field(name, pa.float32(), nullable=False) for name in BBOX])
CLASS_TYPE = pa.dictionary(pa.int32(), pa.string())


def bbox_column(objects: Objects) -> pa.StructArray:
    """Rounded outwards to float32, so that a box always covers its outline."""
    boxes = objects.outlines.boxes()
    near = boxes.astype(np.float32)
    low = np.where(near > boxes, np.nextafter(near, np.float32(-np.inf)), near)
    high = np.where(near < boxes, np.nextafter(near, np.float32(np.inf)), near)
    edges = [low[:, 0], low[:, 1], high[:, 2], high[:, 3]]
    return pa.StructArray.from_arrays([plain_column(e) for e in edges], fields=list(BBOX_TYPE))


def geometry_column(objects: Objects) -> pa.ChunkedArray:
    """WKB in chunks of at most 1 GiB, for an Arrow binary array ends at 2."""
    part = np.cumsum(sizes(objects.outlines)) >> 30
    cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(objects)]
    pieces = [np.arange(a, b) for a, b in pairwise(cuts)]
    outlines = [objects.outlines] if len(pieces) == 1 else [objects.outlines.take(piece) for piece in pieces]
    return pa.chunked_array([wkb_from_outlines(o) for o in outlines], pa.binary())


def class_column(p: np.ndarray, class_names: tuple[str, ...]) -> pa.DictionaryArray:
    """The class of highest probability, the first of equals; null where all are 0."""
    best = plain_column(p.argmax(axis=1).astype(np.int32), missing=p.max(axis=1) == 0)
    names = [name.encode() for name in class_names]
    at = offsets(np.array([len(name) for name in names], np.int64)).astype(np.int32)
    buffers = pa.py_buffer(at), pa.py_buffer(b"".join(names))
    return pa.DictionaryArray.from_arrays(best, pa.StringArray.from_buffers(len(names), *buffers))


def float_column(values: np.ndarray) -> pa.Array:
    """float32, NaN as null."""
    values = np.asarray(values, np.float32)
    return plain_column(values, missing=np.isnan(values))


def plain_column(values: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    """The numbers as they lie in memory, null where `missing`; pa.array would import pandas where that is installed."""
    valid = None if missing is None or not missing.any() else np.packbits(~missing, bitorder="little")
    buffers = [None if valid is None else pa.py_buffer(valid), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)


def plain_values(column: pa.Array) -> np.ndarray:
    """Numbers without nulls as they lie in memory; to_numpy would import pandas too."""
    values = np.frombuffer(column.buffers()[1], column.type.to_pandas_dtype())
    return values[column.offset : column.offset + len(column)]


def chunked(column: Any) -> pa.ChunkedArray:
    """The same as a chunked array; of numbers too."""
    if isinstance(column, pa.ChunkedArray):
        return column
    return pa.chunked_array([column if isinstance(column, pa.Array) else plain_column(column)])
