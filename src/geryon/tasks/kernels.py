"""Compiled passes that find objects in maps; each looks at every pixel a fixed number of times, in integers.

Integers because the same pixels must give the same objects wherever a window lies; floating-point
filters of image libraries round differently at different alignments. Pixels inside are listed, so that later
passes touch no others; no array grows inside a loop, as counting who holds it costs more than the loop itself.
"""

from __future__ import annotations

import numpy as np

from geryon.compiling import compiled

_NOWHERE = 0
_STAY = 6
"""Codes of `uphill`: 1 + 4 * (2, 1, 0 for the row above, its own, below) + (2, 1, 0 for the column left, its own,
right), so that of equal heights the first in reading order has the highest code."""


@compiled
def smooth(values):  # type: ignore[no-untyped-def]
    """uint16 [y, x]: 256 times the uint8 values under a 5 x 5 binomial kernel, zeros outside."""
    height, width = values.shape
    out = np.empty((height, width), np.uint16)
    line = np.zeros(width + 4, np.uint16)
    rows = np.zeros((5, width), np.uint16)
    for y in range(height + 2):
        if y < height:
            line[2 : width + 2] = values[y]
        else:
            line[:] = 0
        _binomial(line[:width], line[1 : width + 1], line[2 : width + 2], line[3 : width + 3], line[4:], rows[y % 5])
        if y >= 2:
            a, b, c, d = rows[(y + 1) % 5], rows[(y + 2) % 5], rows[(y + 3) % 5], rows[(y + 4) % 5]
            _binomial(a, b, c, d, rows[y % 5], out[y - 2])
    return out


@compiled
def _binomial(a, b, c, d, e, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = np.int32(a[i]) + np.int32(e[i]) + 4 * (np.int32(b[i]) + np.int32(d[i])) + 6 * np.int32(c[i])


@compiled
def uphill(height_map, inside):  # type: ignore[no-untyped-def]
    """Which of a pixel's 8 neighbours inside and itself is the highest: codes, uint8 [y, x], 0 where not inside.

    Equal heights are ordered by row and column, so there are no plateaus. 8, since along an oblique ridge every
    second pixel would be a peak among 4.
    """
    height, width = height_map.shape
    out = np.empty((height, width), np.uint8)
    line = np.zeros(width + 2, np.uint32)
    rows = np.zeros((3, width), np.uint32)
    for y in range(height + 1):
        below = rows[y % 3]
        if y < height:
            _ranked(height_map[y], inside[y], line[1 : width + 1])
            _highest(line[:width], line[1 : width + 1], line[2:], np.uint32(1), below)
        else:
            below[:] = 0
        if y > 0:
            _highest(rows[(y + 1) % 3], rows[(y + 2) % 3], below, np.uint32(4), line[1 : width + 1])
            _codes(line[1 : width + 1], inside[y - 1], out[y - 1])
    return out


@compiled
def _ranked(heights, inside, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = np.uint32(heights[x] + np.uint32(1)) * np.uint32(inside[x]) << np.uint32(4)


@compiled
def _highest(first, second, third, unit, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = max(np.uint32(first[x] + unit + unit), max(np.uint32(second[x] + unit), third[x]))


@compiled
def _codes(ranks, inside, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = ((ranks[x] & np.uint32(15)) + np.uint32(1)) * np.uint32(inside[x])


@compiled
def listed(up):  # type: ignore[no-untyped-def]
    """The inside pixels of codes of `uphill` as a list in reading order: their places (row * width + column), the
    number in the list of the pixel that each code points at, that of the one below, -1 for none, all int32 [pixel],
    and whether the next in the list is the right neighbour, bool [pixel]."""
    height, width = up.shape
    size = np.count_nonzero(up)
    places, to, below = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    right = np.zeros(size, np.bool_)
    # Numbers of the row above, this one and the next; what they hold of pixels not inside is never asked for.
    numbers, at = np.zeros(3 * width, np.int32), np.zeros(16, np.int64)
    n, start, end = 0, 0, 0
    for y in range(height + 1):
        if y < height:
            for x in range(width):
                if up[y, x] != _NOWHERE:
                    numbers[y % 3 * width + x], places[n] = n, y * width + x
                    n += 1
        for code in range(1, 12):
            at[code] = (y - (code - 1) // 4) % 3 * width + 1 - (code - 1) % 4
        for k in range(start, end):
            x = places[k] - (y - 1) * width
            to[k] = numbers[at[up[y - 1, x]] + x]
            right[k] = x + 1 < width and up[y - 1, x + 1] != _NOWHERE
            below[k] = numbers[y % 3 * width + x] if y < height and up[y, x] != _NOWHERE else -1
        start, end = end, n
    return places, to, below, right


@compiled
def climb(to, steps):  # type: ignore[no-untyped-def]
    """Where each listed pixel ends when it walks uphill: int32 [pixel], peak number + 1, or 0 if it does not arrive
    within `steps`. Also the numbers of the peaks in the list, int32.

    Steps are doubled, not walked: two steps are a step's step, and so on.
    """
    peaks, peak = np.empty(len(to), np.int32), np.empty(len(to), np.int32)
    n = 0
    for k in range(len(to)):
        peaks[n] = k
        n += to[k] == k
        peak[k] = n if to[k] == k else 0
    end, after, room = np.arange(len(to)).astype(np.int32), to.copy(), np.empty_like(to)
    while steps > 0:
        if steps % 2:
            _take(after, end, end)
        steps //= 2
        if steps > 0:
            _take(after, after, room)
            after, room = room, after
    return taken(peak, end), peaks[:n].copy()


@compiled
def taken(table, at):  # type: ignore[no-untyped-def]
    """table[at], which numpy takes several times as long for where `at` is int32."""
    out = np.empty(len(at), table.dtype)
    _take(table, at, out)
    return out


@compiled
def _take(table, at, out):  # type: ignore[no-untyped-def]
    for k in range(len(at)):
        out[k] = table[at[k]]


@compiled
def merge_shallow(heights, basin, right, below, peaks, depth):  # type: ignore[no-untyped-def]
    """For each peak the peak (number + 1) it belongs to: a peak less than `depth` above its highest
    saddle to a higher peak joins that one, through at most three peaks, so that the reach is bounded.

    `heights` and `basin` are those of the listed pixels, `right` and `below` as `listed` gives them.
    """
    top = np.zeros(len(peaks) + 1, np.int32)
    top[1:] = heights[peaks]
    saddle = np.full(len(peaks) + 1, -1, np.int32)
    into = np.zeros(len(peaks) + 1, np.int32)
    for k in range(len(basin)):
        a = basin[k]
        if a == 0:
            continue
        if right[k] and basin[k + 1] != a and basin[k + 1] != 0:
            _meet(top, saddle, into, a, basin[k + 1], min(heights[k], heights[k + 1]))
        if below[k] >= 0 and basin[below[k]] != a and basin[below[k]] != 0:
            _meet(top, saddle, into, a, basin[below[k]], min(heights[k], heights[below[k]]))
    home = np.arange(len(peaks) + 1).astype(np.int32)
    for a in range(1, len(home)):
        at = a
        for _ in range(3):
            if into[at] == 0 or top[at] - saddle[at] >= depth:
                break
            at = into[at]
        home[a] = at
    return home


@compiled
def _meet(top, saddle, into, a, b, height):  # type: ignore[no-untyped-def]
    low, high = (a, b) if _lower(top, a, b) else (b, a)
    if height > saddle[low] or (height == saddle[low] and _lower(top, into[low], high)):
        saddle[low], into[low] = height, high


@compiled
def _lower(top, a, b):  # type: ignore[no-untyped-def]
    return top[a] < top[b] or (top[a] == top[b] and a > b)


@compiled
def collect(objects, places, right, width, hearts, radius):  # type: ignore[no-untyped-def]
    """Runs (tasks.runs) of the objects 1..n whose peaks lie at the places `hearts`.

    `objects` is int32 [pixel]: the object that a listed pixel is asked for, 0 for none. An object is what is
    4-connected to its heart among the pixels that belong to it and lie no farther than `radius` pixels from it.
    """
    half, rows, columns = _half_widths(radius), hearts // width, hearts % width
    runs = np.empty((len(places), 4), np.int32)
    parent = np.empty(len(places), np.int32)
    heart_run = np.full(len(hearts) + 1, -1, np.int32)
    n, y, k, above, here = 0, -2, 0, 0, 0
    while k < len(places):
        label, start = objects[k], places[k]
        k += 1
        if label == 0:
            continue
        if start >= (y + 1) * width:
            above = here if start // width == y + 1 else n
            here, y = n, start // width
        while right[k - 1] and objects[k] == label:
            k += 1
        dy, hx = abs(rows[label - 1] - y), columns[label - 1]
        if dy > radius:
            continue
        x0, x1 = max(start - y * width, hx - half[dy]), min(places[k - 1] + 1 - y * width, hx + half[dy] + 1)
        if x0 >= x1:
            continue
        runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = y, x0, x1, label
        parent[n] = n
        if dy == 0 and x0 <= hx < x1:
            heart_run[label] = n
        while above < here and runs[above, 2] <= x0:
            above += 1
        for other in range(above, here):
            if runs[other, 1] >= x1:
                break
            if runs[other, 3] == label:
                _unite(parent, other, n)
        n += 1
    kept = 0
    for r in range(n):
        if _root(parent, r) == _root(parent, heart_run[runs[r, 3]]):
            for c in range(4):
                runs[kept, c] = runs[r, c]
            kept += 1
    return runs[:kept].copy()


@compiled
def _half_widths(radius):  # type: ignore[no-untyped-def]
    """How far a disc reaches to each side, by rows from its middle."""
    out = np.zeros(radius + 1, np.int64)
    for dy in range(radius + 1):
        while (out[dy] + 1) ** 2 + dy**2 <= radius**2:
            out[dy] += 1
    return out


@compiled
def _root(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def _unite(parent, a, b):  # type: ignore[no-untyped-def]
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)


@compiled
def grow(labels, inside, steps):  # type: ignore[no-untyped-def]
    """Labels spread over 4-neighbours into the inside pixels, that many steps; ties go up, left, right, down."""
    height, width = labels.shape
    out = labels.copy()
    todo = np.empty((height * width, 2), np.int32)
    n = 0
    for y in range(height):
        for x in range(width):
            todo[n, 0], todo[n, 1] = y, x
            n += inside[y, x] and labels[y, x] == 0
    new = np.empty(n, np.int32)
    for _ in range(steps):
        for k in range(n):
            new[k] = _neighbour(out, todo[k, 0], todo[k, 1])
        left = 0
        for k in range(n):
            out[todo[k, 0], todo[k, 1]] = new[k]
            todo[left, 0], todo[left, 1] = todo[k, 0], todo[k, 1]
            left += new[k] == 0
        n = left
    return out


@compiled
def renumbered(band, core, n):  # type: ignore[no-untyped-def]
    """Both maps with those of the labels 1..n that either holds numbered 1.. in their order, and how many they are."""
    number = np.zeros(n + 1, np.int32)
    for labels in (band, core):
        for y in range(labels.shape[0]):
            for x in range(labels.shape[1]):
                number[labels[y, x]] = 1
    number[0] = 0
    for i in range(1, n + 1):
        number[i] = number[i - 1] + 1 if number[i] else number[i - 1]
    return _looked_up(number, band), _looked_up(number, core), number[n]


@compiled
def _looked_up(number, labels):  # type: ignore[no-untyped-def]
    out = np.empty(labels.shape, np.int32)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            out[y, x] = number[labels[y, x]]
    return out


@compiled
def _neighbour(labels, y, x):  # type: ignore[no-untyped-def]
    """The first label above, left, right or below, 0 for none."""
    if y > 0 and labels[y - 1, x] != 0:
        return labels[y - 1, x]
    if x > 0 and labels[y, x - 1] != 0:
        return labels[y, x - 1]
    if x + 1 < labels.shape[1] and labels[y, x + 1] != 0:
        return labels[y, x + 1]
    if y + 1 < labels.shape[0]:
        return labels[y + 1, x]
    return np.int32(0)
