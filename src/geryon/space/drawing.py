"""Outlines drawn onto pixels: a pixel belongs to the outlines that hold its centre."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

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
    starts, ends = crossings[::2], crossings[1::2]
    line, column = np.divmod(starts, columns + 1)
    number, row = np.divmod(line, max(rows, 1))
    first = row * columns + column
    return np.repeat(number, ends - starts), ranges(first, first + (ends - starts))


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
    rows, columns = box.shape
    x0, y0 = round(box.xmin), round(box.ymin)
    (ax, ay), (bx, by), number = _downward_edges(outlines)
    first = np.maximum(np.ceil(ay - 0.5).astype(np.int64), y0)
    end = np.minimum(np.ceil(by - 0.5).astype(np.int64), y0 + rows)
    count = np.maximum(end - first, 0)
    edge, row = np.repeat(np.arange(len(count)), count), ranges(first, first + count)
    x = ax[edge] + (row + 0.5 - ay[edge]) * (bx - ax)[edge] / (by - ay)[edge]
    column = np.clip(np.ceil(x - 0.5).astype(np.int64) - x0, 0, columns)
    return np.sort((number[edge] * rows + (row - y0)) * (columns + 1) + column)


def _downward_edges(outlines: Outlines) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Upper ends [2, edge], lower ends [2, edge] and objects of all edges: an edge is the same from both its sides."""
    points = outlines.points
    after = np.arange(1, len(points) + 1)
    after[outlines.ring_at[1:] - 1] = outlines.ring_at[:-1]
    upward = points[:, 1] > points[after, 1]
    a = np.where(upward[:, None], points[after], points)
    b = np.where(upward[:, None], points, points[after])
    number = np.repeat(np.arange(len(outlines)), np.diff(outlines.ring_at[outlines.object_at]))
    return a.T, b.T, number
