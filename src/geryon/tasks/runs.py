"""Label maps as runs, and what is asked of them: sums, and rings around the labels.

A run is a stretch of pixels of one label in one row: int32 [run, 4] of row, first column, column past the end and
label, in reading order; runs of a row that touch are of different labels. Background costs nothing here.
"""

from __future__ import annotations

import numpy as np

from geryon.tasks.kernels import compiled

# A ring walks along sides of pixels, the pixel on its right hand: top 0, right 1, bottom 2, left 3. From one side's
# middle to the next it goes straight on (twice the side) or turns half (one more or one less): eight directions.
_DX = np.array([2, 1, 0, -1, -2, -1, 0, 1])
_DY = np.array([0, 1, 2, 1, 0, -1, -2, -1])


@compiled
def runs_of(labels):  # type: ignore[no-untyped-def]
    """The runs of an int32 [y, x] map; 0 is background."""
    height, width = labels.shape
    runs = np.empty((_count(labels), 4), np.int32)
    n = 0
    for y in range(height):
        line = labels[y]
        x = 0
        while x < width:
            label, start = line[x], x
            x += 1
            if label == 0:
                continue
            while x < width and line[x] == label:
                x += 1
            runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = y, start, x, label
            n += 1
    return runs


@compiled
def _count(labels):  # type: ignore[no-untyped-def]
    n = 0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            n += labels[y, x] != 0 and (x == 0 or labels[y, x - 1] != labels[y, x])
    return n


@compiled
def sums(runs, n, values, coarse):  # type: ignore[no-untyped-def]
    """Per label 1..n: pixel count and centre sums x, y int64 [n, 3], and sums of the uint8 values
    [y // coarse, x // coarse, channel] int64 [n, channel]."""
    rows, columns, channels = values.shape
    place = np.zeros((n, 3), np.int64)
    total = np.zeros((n, channels), np.int64)
    for r in range(len(runs)):
        y, x0, x1, i = np.int64(runs[r, 0]), np.int64(runs[r, 1]), np.int64(runs[r, 2]), runs[r, 3] - 1
        place[i, 0] += x1 - x0
        place[i, 1] += (x1 - x0) * (x0 + x1 - 1) // 2
        place[i, 2] += (x1 - x0) * y
        row, first, last = y, x0, x1 - 1
        if coarse > 1:  # a division takes as long as a run's sum
            row, first, last = y // coarse, x0 // coarse, (x1 - 1) // coarse
        row = min(row, rows - 1)
        before, after = x0 - first * coarse, (last + 1) * coarse - x1
        for c in range(channels):
            whole = max(0, last + 1 - max(first, columns)) * np.int64(values[row, columns - 1, c])
            for cell in range(first, min(last + 1, columns)):
                whole += values[row, cell, c]
            ends = before * values[row, min(first, columns - 1), c] + after * values[row, min(last, columns - 1), c]
            total[i, c] += coarse * whole - ends
    return place, total


@compiled
def trace(runs):  # type: ignore[no-untyped-def]
    """Rings around every label, in reading order of their first pixels: corners int32 [n, 2]
    (x, y in half pixels), each ring's first and past its last int64 [r, 2], labels int32 [r], 8 x areas int64 [r].

    A ring joins the middles of the pixel sides that it follows, straight runs shortened, so that its
    filled pixel centres are exactly the label and no ring ever touches itself or another. Corners where
    two pixels of a label meet diagonally are crossed, as an 8-connected boundary does. The outer ring
    of a connected label comes before its holes; outer rings have a positive area (y downwards), holes a negative one.
    """
    if len(runs) == 0:
        runs = np.zeros((1, 4), np.int32)  # one of no pixels
    top, left = runs[0, 0] - 1, np.min(runs[:, 1]) - 1
    wide = np.max(runs[:, 2]) - left + 1
    runs = runs - np.array([top, left, left, 0], np.int32)
    labels = _drawn(runs, wide)
    tops = _tops(runs, labels, wide)
    # Of a ring's sides as many look up as down, and each run has one at either end.
    corners = np.empty((2 * len(tops) + 2 * len(runs), 2), np.int32)
    walked = np.zeros(len(labels), np.bool_)
    spans, owners = np.empty((len(tops), 2), np.int64), np.empty(len(tops), np.int32)
    areas = np.empty(len(tops), np.int64)
    n, end = 0, 0
    for at in tops:
        if not walked[at]:
            spans[n, 0], owners[n] = end, labels[at]
            end, areas[n] = _walk(labels, walked, at, corners, end, wide)
            spans[n, 1] = end
            n += 1
    for k in range(end):
        corners[k, 0] += 2 * left
        corners[k, 1] += 2 * top
    return corners[:end].copy(), spans[:n].copy(), owners[:n].copy(), areas[:n].copy()


@compiled
def _drawn(runs, wide):  # type: ignore[no-untyped-def]
    """The label map, flat; runs keep off its border, so that no neighbour needs a check."""
    labels = np.zeros((np.int64(runs[-1, 0]) + 2) * wide, np.int32)
    for r in range(len(runs)):
        row = np.int64(runs[r, 0]) * wide
        labels[row + runs[r, 1] : row + runs[r, 2]] = runs[r, 3]
    return labels


@compiled
def _tops(runs, labels, wide):  # type: ignore[no-untyped-def]
    """Places of all pixels whose label ends at their upper side."""
    out = np.empty(np.sum(runs[:, 2] - runs[:, 1]) + 1, np.int64)
    n = 0
    for r in range(len(runs)):
        row = np.int64(runs[r, 0]) * wide
        for at in range(row + runs[r, 1], row + runs[r, 2]):
            out[n] = at
            n += labels[at - wide] != labels[at]
    return out[:n]


@compiled
def _walk(labels, walked, start, corners, first, wide):  # type: ignore[no-untyped-def]
    """One ring from the top of the pixel at `start`, written from corner `first` on; past its last, 8 x area."""
    ahead, dx, dy = np.array([1, wide, -1, -wide]), _DX.copy(), _DY.copy()
    label, at, side, n = labels[start], start, 0, first
    x, y = 2 * (start % wide) + 1, 2 * (start // wide)
    before = 7
    if labels[start - wide - 1] == label:
        before = 1
    elif labels[start - 1] == label:
        before = 0
    area, last_x, last_y = np.int64(0), np.int64(0), np.int64(0)
    while True:
        if side == 0:
            walked[at] = True
        front, left = at + ahead[side], (side + 3) & 3
        if labels[front + ahead[left]] == label:
            at, to, turned = front + ahead[left], (2 * side + 7) & 7, left
        elif labels[front] == label:
            at, to, turned = front, 2 * side, side
        else:
            to, turned = 2 * side + 1, (side + 1) & 3
        if to != before:
            corners[n, 0], corners[n, 1] = x, y
            area += last_x * y - x * last_y
            last_x, last_y, before = x, y, to
            n += 1
        x, y, side = x + dx[to], y + dy[to], turned
        if at == start and side == 0:
            break
    area += last_x * corners[first, 1] - corners[first, 0] * last_y
    return n, area


@compiled
def gathered(corners, spans):  # type: ignore[no-untyped-def]
    """float64 [n, 2]: the corners within the spans, one after the other, in pixels."""
    out = np.empty((np.sum(spans[:, 1] - spans[:, 0]), 2), np.float64)
    n = 0
    for r in range(len(spans)):
        for k in range(spans[r, 0], spans[r, 1]):
            out[n, 0], out[n, 1] = 0.5 * corners[k, 0], 0.5 * corners[k, 1]
            n += 1
    return out
