"""Outlines drawn onto pixels: a pixel belongs to the outlines that hold its centre."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from geryon.compiling import compiled
from geryon.space.arrays import Labels
from geryon.space.boxes import Box
from geryon.space.objects import Outlines, ranges

PIXELS_AT_ONCE = 1 << 22
"""Each takes 32 bytes while it is drawn."""


def inside(outlines: Outlines, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """(object, pixel), both int64 [k]: every object with every pixel of the box whose centre it holds, in order.

    The box has whole-number edges in the frame of the outlines; its pixels count row by row. Even-odd rule, so holes
    are out; of two outlines that share an edge one holds a centre on it. No pixel depends on how boxes are cut.
    """
    rows, columns = box.shape
    crossings = _crossings(outlines, box) if rows and columns else np.zeros(0, np.int64)
    return _between(crossings, rows, columns)


def drawn(outlines: Outlines, numbers: np.ndarray, box: Box) -> Labels:
    """int32 [y, x] over the box: `numbers` [object] where their outlines are, later ones on top, 0 elsewhere."""
    labels = np.zeros(box.shape, np.int32)
    band = max(1, PIXELS_AT_ONCE // max(1, labels.shape[1]))
    for y in range(0, labels.shape[0], band):
        part = labels[y : y + band]
        number, pixel = inside(outlines, Box(box.frame, box.xmin, box.ymin + y, box.xmax, box.ymin + y + len(part)))
        part.reshape(-1)[pixel] = numbers[number]
    return labels


def by_square(outlines: Outlines, step: int) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Row and column of each square of `step` pixels that boxes of outlines meet, with their numbers (int64), row by
    row."""
    boxes = outlines.boxes()
    first = np.floor(boxes[:, :2] / step).astype(np.int64)
    count = np.maximum(np.ceil(boxes[:, 2:] / step).astype(np.int64) - first, 1)
    number = np.repeat(np.arange(len(boxes)), count.prod(axis=1))
    row, column = np.divmod(ranges(np.zeros(len(boxes), np.int64), count.prod(axis=1)), count[number, 0])
    row, column = row + first[number, 1], column + first[number, 0]
    order = np.lexsort((number, column, row))
    row, column, number = row[order], column[order], number[order]
    new = np.flatnonzero((np.diff(row) != 0) | (np.diff(column) != 0)) + 1
    for part in np.split(np.arange(len(number)), new) if len(number) else ():
        yield (int(row[part[0]]), int(column[part[0]])), number[part]


def _crossings(outlines: Outlines, box: Box) -> np.ndarray:
    """int64 [2 k], sorted: where scan lines enter and leave each object, as (object, row, column) in one number."""
    place = round(box.xmin), round(box.ymin), *box.shape
    owner = np.repeat(np.arange(len(outlines)), np.diff(outlines.object_at))
    none = np.zeros(0, np.int64)
    n = _cross(outlines.points, outlines.ring_at, owner, place, none)
    out = np.empty(n, np.int64)
    _cross(outlines.points, outlines.ring_at, owner, place, out)
    out.sort()
    return out


@compiled
def _between(crossings, rows, columns):  # type: ignore[no-untyped-def]
    """Objects and pixels from each crossing that enters to the next, which leaves."""
    size = np.sum(crossings[1::2]) - np.sum(crossings[::2])
    number, pixel = np.empty(size, np.int64), np.empty(size, np.int64)
    n = 0
    for k in range(0, len(crossings), 2):
        line = crossings[k] // (columns + 1)
        i = line // rows
        at = (line - i * rows) * columns + crossings[k] - line * (columns + 1)
        for step in range(crossings[k + 1] - crossings[k]):
            number[n + step], pixel[n + step] = i, at + step
        n += crossings[k + 1] - crossings[k]
    return number, pixel


@compiled
def _cross(points, ring_at, owner, place, out):  # type: ignore[no-untyped-def]
    """How many crossings there are; written, unsorted, if there is room. An edge is the same from both its sides."""
    x0, y0, rows, columns = place
    n = 0
    for r in range(len(owner)):
        for k in range(ring_at[r], ring_at[r + 1]):
            after = k + 1 if k + 1 < ring_at[r + 1] else ring_at[r]
            upper, lower = (after, k) if points[k, 1] > points[after, 1] else (k, after)
            ax, ay, bx, by = points[upper, 0], points[upper, 1], points[lower, 0], points[lower, 1]
            first, end = max(math.ceil(ay - 0.5), y0), min(math.ceil(by - 0.5), y0 + rows)
            if len(out) == 0:
                n += max(end - first, 0)
                continue
            for row in range(first, end):
                x = ax + (row + 0.5 - ay) * (bx - ax) / (by - ay)
                column = min(max(math.ceil(x - 0.5) - x0, 0), columns)
                out[n] = (owner[r] * rows + (row - y0)) * (columns + 1) + column
                n += 1
    return n
