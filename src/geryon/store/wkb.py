"""Outlines to WKB polygons and back: bytes copied by a compiled loop, no geometry library.

Well-known binary after OGC 06-103r4, 8.2: byte order 1 (little endian), type 3 (polygon), number of
rings, then each ring's number of points and its points as x, y doubles, the first point repeated last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from geryon.compiling import compiled
from geryon.errors import InputError
from geryon.space.objects import Outlines, offsets

_LARGEST = 2**31 - 1


def sizes(outlines: Outlines) -> np.ndarray:
    """int64 [object]: bytes of each object's WKB."""
    rings = np.diff(outlines.object_at)
    points = outlines.ring_at[outlines.object_at[1:]] - outlines.ring_at[outlines.object_at[:-1]]
    return 9 + 20 * rings + 16 * points


def wkb_from_outlines(outlines: Outlines) -> pa.BinaryArray:
    """One WKB polygon an object; their total must stay below 2 GiB (`sizes` tells)."""
    at = offsets(sizes(outlines))
    assert at[-1] <= _LARGEST, "split the outlines: an Arrow binary array holds 2 GiB"
    out = np.empty(int(at[-1]), np.uint8)
    points = np.ascontiguousarray(outlines.points, "<f8").view(np.uint8).reshape(-1)
    _write(points, outlines.ring_at, outlines.object_at, at, out)
    buffers = [None, pa.py_buffer(at.astype(np.int32)), pa.py_buffer(out)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(outlines), buffers)


def outlines_from_wkb(column: Any) -> Outlines:
    """The outlines of a binary array or chunked array of little-endian WKB polygons without nulls."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    column = column.cast(pa.large_binary())
    if len(column) == 0:
        return Outlines(points=np.zeros((0, 2)), ring_at=np.zeros(1, np.int64), object_at=np.zeros(1, np.int64))
    if column.null_count:
        raise InputError(what="a geometry is missing (null)", mend="only polygons can be read here")
    at = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
    raw = np.frombuffer(column.buffers()[2], np.uint8)
    rings, points, bad = _count(raw, at)
    if bad >= 0:
        raise InputError(
            what=f"geometry {bad} is no whole little-endian WKB polygon with closed rings",
            mend="write polygons only (no multipolygons, no Z)",
        )
    ring_at, object_at = np.zeros(rings + 1, np.int64), np.zeros(len(at), np.int64)
    flat = np.empty(points * 16, np.uint8)
    _read(raw, at, ring_at, object_at, flat)
    return Outlines(points=flat.view("<f8").reshape(-1, 2), ring_at=ring_at, object_at=object_at)


@compiled
def _put(out, at, value):  # type: ignore[no-untyped-def]
    for i in range(4):
        out[at + i] = (value >> (8 * i)) & 255
    return at + 4


@compiled
def _get(raw, at):  # type: ignore[no-untyped-def]
    value = np.int64(0)
    for i in range(4):
        value |= np.int64(raw[at + i]) << (8 * i)
    return value


@compiled
def _copy(source, start, to, at, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        to[at + i] = source[start + i]
    return at + n


@compiled
def _write(points, ring_at, object_at, at, out):  # type: ignore[no-untyped-def]
    for i in range(len(object_at) - 1):
        k = at[i]
        out[k] = 1
        k = _put(out, k + 1, 3)
        k = _put(out, k, object_at[i + 1] - object_at[i])
        for r in range(object_at[i], object_at[i + 1]):
            first, n = ring_at[r] * 16, (ring_at[r + 1] - ring_at[r]) * 16
            k = _put(out, k, n // 16 + 1)
            k = _copy(points, first, out, k, n)
            k = _copy(points, first, out, k, 16)


@compiled
def _count(raw, at):  # type: ignore[no-untyped-def]
    """Rings and points without the repeated ones, and the first object that is not as it should be (-1: none)."""
    rings, points = 0, 0
    for i in range(len(at) - 1):
        k, end = at[i], at[i + 1]
        if end - k < 9 or raw[k] != 1 or _get(raw, k + 1) != 3:
            return rings, points, i
        n_rings = _get(raw, k + 5)
        k += 9
        for _ in range(n_rings):
            if k + 4 > end:
                return rings, points, i
            n = _get(raw, k)
            last = k + 4 + (n - 1) * 16
            if n < 1 or last + 16 > end:
                return rings, points, i
            for j in range(16):
                if raw[k + 4 + j] != raw[last + j]:
                    return rings, points, i
            points += n - 1
            k = last + 16
        rings += n_rings
        if k != end or n_rings < 1:
            return rings, points, i
    return rings, points, -1


@compiled
def _read(raw, at, ring_at, object_at, flat):  # type: ignore[no-untyped-def]
    ring, point = 0, 0
    for i in range(len(at) - 1):
        n_rings = _get(raw, at[i] + 5)
        k = at[i] + 9
        for _ in range(n_rings):
            n = _get(raw, k) - 1
            _copy(raw, k + 4, flat, point * 16, n * 16)
            k += 4 + (n + 1) * 16
            point += n
            ring += 1
            ring_at[ring] = point
        object_at[i + 1] = ring
