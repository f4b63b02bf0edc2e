"""Compiled passes of the published Cerberus post-processing; each looks at every pixel a fixed number of times."""

from __future__ import annotations

import numpy as np

from geryon.compiling import compiled


@compiled
def parts(values):  # type: ignore[no-untyped-def]
    """4-connected parts of equal nonzero values: int32 [y, x], numbered by their first pixel in reading order,
    and their number."""
    height, width = values.shape
    labels = np.zeros((height, width), np.int32)
    parent = np.zeros(height * width + 1, np.int32)
    n = 0
    for y in range(height):
        for x in range(width):
            value = values[y, x]
            if value == 0:
                continue
            above = labels[y - 1, x] if y > 0 and values[y - 1, x] == value else 0
            left = labels[y, x - 1] if x > 0 and values[y, x - 1] == value else 0
            if above == 0 and left == 0:
                n += 1
                parent[n] = n
                labels[y, x] = n
            elif above == 0 or left == 0:
                labels[y, x] = max(above, left)
            else:
                a, b = _root(parent, above), _root(parent, left)
                parent[max(a, b)] = min(a, b)
                labels[y, x] = min(a, b)
    number = np.zeros(n + 1, np.int32)
    found = 0
    for i in range(1, n + 1):
        root = _root(parent, i)
        if root == i:
            found += 1
            number[i] = found
        else:
            number[i] = number[root]
    for y in range(height):
        for x in range(width):
            labels[y, x] = number[labels[y, x]]
    return labels, found


@compiled
def _root(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def boxes(labels, n):  # type: ignore[no-untyped-def]
    """int64 [n + 1, 5]: row0, column0, row1, column1 (past the end) and pixel count of each label."""
    height, width = labels.shape
    out = np.zeros((n + 1, 5), np.int64)
    out[:, 0], out[:, 1] = height, width
    for y in range(height):
        for x in range(width):
            i = labels[y, x]
            if i > 0:
                out[i, 0] = min(out[i, 0], y)
                out[i, 1] = min(out[i, 1], x)
                out[i, 2] = max(out[i, 2], y + 1)
                out[i, 3] = max(out[i, 3], x + 1)
                out[i, 4] += 1
    return out


@compiled
def tally(labels, types, n, kinds):  # type: ignore[no-untyped-def]
    """Per label: sums of x and y int64 [n + 1, 2], and pixels of each type id int64 [n + 1, kinds]."""
    place = np.zeros((n + 1, 2), np.int64)
    votes = np.zeros((n + 1, kinds), np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            i = labels[y, x]
            if i > 0:
                place[i, 0] += x
                place[i, 1] += y
                votes[i, types[y, x]] += 1
    return place, votes


@compiled
def spread(labels, offsets):  # type: ignore[no-untyped-def]
    """Labels dilated: a free pixel takes the label at the first of the offsets (int64 [k, 2]: y, x) that holds one.

    Which label wins depends on places alone, never on numbers, so that any cutting gives the same.
    """
    height, width = labels.shape
    out = labels.copy()
    for y in range(height):
        for x in range(width):
            if labels[y, x] != 0:
                continue
            for k in range(len(offsets)):
                ny, nx = y + offsets[k, 0], x + offsets[k, 1]
                if 0 <= ny < height and 0 <= nx < width and labels[ny, nx] != 0:
                    out[y, x] = labels[ny, nx]
                    break
    return out


@compiled
def flood(height_map, markers, mask):  # type: ignore[no-untyped-def]
    """Watershed by priority flood: int32 [y, x], markers grown within the mask, lowest pixels first.

    4 neighbours in the order up, left, right, down; equal heights first come, first served, markers in
    reading order before all others (Vincent & Soille 1991; Barnes et al. 2014 for the queue).
    """
    height, width = height_map.shape
    size = height * width
    labels = np.zeros((height, width), np.int32)
    level = np.empty(size, height_map.dtype)
    place = np.empty(size, np.int64)
    heap = np.empty(size, np.int64)
    born = 0
    waiting = 0
    for y in range(height):
        for x in range(width):
            if markers[y, x] > 0 and mask[y, x]:
                labels[y, x] = markers[y, x]
                level[born], place[born] = height_map[y, x], y * width + x
                waiting = _push(heap, waiting, level, born)
                born += 1
    while waiting > 0:
        first = heap[0]
        waiting = _pop(heap, waiting, level)
        y, x = place[first] // width, place[first] % width
        for k in range(4):
            ny = y + (-1 if k == 0 else (1 if k == 3 else 0))
            nx = x + (-1 if k == 1 else (1 if k == 2 else 0))
            if 0 <= ny < height and 0 <= nx < width and mask[ny, nx] and labels[ny, nx] == 0:
                labels[ny, nx] = labels[y, x]
                level[born], place[born] = height_map[ny, nx], ny * width + nx
                waiting = _push(heap, waiting, level, born)
                born += 1
    return labels


@compiled
def _before(level, a, b):  # type: ignore[no-untyped-def]
    return level[a] < level[b] or (level[a] == level[b] and a < b)


@compiled
def _push(heap, n, level, entry):  # type: ignore[no-untyped-def]
    at = n
    while at > 0 and _before(level, entry, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = entry
    return n + 1


@compiled
def _pop(heap, n, level):  # type: ignore[no-untyped-def]
    n -= 1
    entry = heap[n]
    at = 0
    while 2 * at + 1 < n:
        below = 2 * at + 1
        if below + 1 < n and _before(level, heap[below + 1], heap[below]):
            below += 1
        if not _before(level, heap[below], entry):
            break
        heap[at] = heap[below]
        at = below
    heap[at] = entry
    return n
