"""Compiled passes over label maps; each looks at every pixel a fixed number of times, in integers.

Integers because the same pixels must give the same objects wherever a window lies; floating-point
filters of image libraries round differently at different alignments.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)

# Sides of a pixel in walking order, the pixel on the right hand: top, right, bottom, left.
_AHEAD = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
_ROUND = np.array([[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]])
_MIDDLE = np.array([[0.0, 0.5], [0.5, 1.0], [1.0, 0.5], [0.5, 0.0]])


@compiled
def trace(labels):  # type: ignore[no-untyped-def]
    """Rings around every label: points float64 [n, 2] (x, y), ring starts int64 [r + 1], ring labels int32 [r].

    A ring joins the middles of the pixel sides that it follows, straight runs shortened, so that its
    filled pixel centres are exactly the label and no ring ever touches itself or another. Corners where
    two pixels of a label meet diagonally are crossed, as an 8-connected boundary does. The outer ring
    of a connected label comes before its holes; outer rings have a positive shoelace sum (y downwards).
    """
    height, width = labels.shape
    walked = np.zeros((height, width), np.uint8)
    points = np.empty((1024, 2), np.float64)
    starts = [0]
    owners = [np.int32(0)]
    n = 0
    for y0 in range(height):
        for x0 in range(width):
            label = labels[y0, x0]
            if label == 0 or walked[y0, x0] & 1 or (y0 > 0 and labels[y0 - 1, x0] == label):
                continue
            first = n
            y, x, side = y0, x0, 0
            while not walked[y, x] & (1 << side):
                walked[y, x] |= 1 << side
                py, px = y + _MIDDLE[side, 0], x + _MIDDLE[side, 1]
                if n - first >= 2 and _straight(points, n, py, px):
                    n -= 1
                if n + 1 >= len(points):
                    more = np.empty((2 * len(points), 2), np.float64)
                    more[:n] = points[:n]
                    points = more
                points[n, 0], points[n, 1] = px, py
                n += 1
                y, x, side = _next_side(labels, y, x, side)
            if n - first > 3 and _straight(points, n, points[first, 1], points[first, 0]):
                n -= 1
            if n - first > 3 and _straight_at(points, first, n):
                points[first : n - 1] = points[first + 1 : n].copy()
                n -= 1
            starts.append(n)
            owners.append(label)
    return points[:n].copy(), np.array(starts, np.int64), np.array(owners, np.int32)[1:]


@compiled
def _straight(points, n, y, x):  # type: ignore[no-untyped-def]
    ay, ax = points[n - 1, 1] - points[n - 2, 1], points[n - 1, 0] - points[n - 2, 0]
    by, bx = y - points[n - 1, 1], x - points[n - 1, 0]
    return ay * bx == ax * by and ay * by + ax * bx > 0


@compiled
def _straight_at(points, first, n):  # type: ignore[no-untyped-def]
    ay, ax = points[first, 1] - points[n - 1, 1], points[first, 0] - points[n - 1, 0]
    by, bx = points[first + 1, 1] - points[first, 1], points[first + 1, 0] - points[first, 0]
    return ay * bx == ax * by and ay * by + ax * bx > 0


@compiled
def _next_side(labels, y, x, side):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    label = labels[y, x]
    fy, fx = y + _AHEAD[side, 0], x + _AHEAD[side, 1]
    left = (side + 3) % 4
    ly, lx = fy + _AHEAD[left, 0], fx + _AHEAD[left, 1]
    if 0 <= ly < height and 0 <= lx < width and labels[ly, lx] == label:
        return ly, lx, left
    if 0 <= fy < height and 0 <= fx < width and labels[fy, fx] == label:
        return fy, fx, side
    return y, x, (side + 1) % 4


@compiled
def smooth(values):  # type: ignore[no-untyped-def]
    """int32 [y, x]: 256 times the uint8 values under a 5 x 5 binomial kernel, zeros outside."""
    height, width = values.shape
    rows = np.zeros((height, width), np.int32)
    out = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            total = 6 * np.int32(values[y, x])
            if x > 0:
                total += 4 * np.int32(values[y, x - 1])
            if x > 1:
                total += np.int32(values[y, x - 2])
            if x + 1 < width:
                total += 4 * np.int32(values[y, x + 1])
            if x + 2 < width:
                total += np.int32(values[y, x + 2])
            rows[y, x] = total
    for y in range(height):
        for x in range(width):
            total = 6 * rows[y, x]
            if y > 0:
                total += 4 * rows[y - 1, x]
            if y > 1:
                total += rows[y - 2, x]
            if y + 1 < height:
                total += 4 * rows[y + 1, x]
            if y + 2 < height:
                total += rows[y + 2, x]
            out[y, x] = total
    return out


@compiled
def climb(height_map, inside, steps):  # type: ignore[no-untyped-def]
    """Where each inside pixel ends when it walks uphill over 8-neighbours: int32 [y, x], peak number + 1 or 0.

    8, since along an oblique ridge every second pixel would be a peak among 4. Pixels that do not arrive
    within `steps` get 0. Equal heights are ordered by row and column, so there are no plateaus. Also the
    peaks: int32 [n, 2] (y, x), in row-major order.
    """
    height, width = height_map.shape
    up = np.full((height, width), -1, np.int8)
    number = np.zeros((height, width), np.int32)
    peaks = np.empty((1024, 2), np.int32)
    n = 0
    for y in range(height):
        for x in range(width):
            if not inside[y, x]:
                continue
            best, by, bx = -1, y, x
            for k in range(8):
                ny, nx = y + _ROUND[k, 0], x + _ROUND[k, 1]
                if 0 <= ny < height and 0 <= nx < width and inside[ny, nx]:
                    a, b = height_map[ny, nx], height_map[by, bx]
                    if a > b or (a == b and (ny < by or (ny == by and nx < bx))):
                        best, by, bx = k, ny, nx
            up[y, x] = best
            if best < 0:
                if n == len(peaks):
                    more = np.empty((2 * n, 2), np.int32)
                    more[:n] = peaks
                    peaks = more
                peaks[n, 0], peaks[n, 1] = y, x
                n += 1
                number[y, x] = n
    basin = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if not inside[y, x]:
                continue
            cy, cx = y, x
            for _ in range(steps):
                k = up[cy, cx]
                if k < 0:
                    break
                cy, cx = cy + _ROUND[k, 0], cx + _ROUND[k, 1]
            if up[cy, cx] < 0:
                basin[y, x] = number[cy, cx]
    return basin, peaks[:n].copy()


@compiled
def merge_shallow(height_map, basin, peaks, depth):  # type: ignore[no-untyped-def]
    """For each peak the peak (number + 1) it belongs to: a peak less than `depth` above its highest
    saddle to a higher peak joins that one, through at most three peaks, so that the reach is bounded."""
    n = len(peaks)
    height, width = basin.shape
    saddle = np.full(n + 1, -1, np.int32)
    into = np.zeros(n + 1, np.int32)
    for y in range(height):
        for x in range(width):
            a = basin[y, x]
            if a == 0:
                continue
            for k in range(2):
                ny, nx = y + _AHEAD[k, 0], x + _AHEAD[k, 1]
                if ny >= height or nx >= width:
                    continue
                b = basin[ny, nx]
                if b == 0 or b == a:
                    continue
                low, high = (a, b) if _lower(height_map, peaks, a, b) else (b, a)
                s = min(height_map[y, x], height_map[ny, nx])
                if s > saddle[low] or (s == saddle[low] and _lower(height_map, peaks, into[low], high)):
                    saddle[low], into[low] = s, high
    home = np.arange(n + 1).astype(np.int32)
    for a in range(1, n + 1):
        at = a
        for _ in range(3):
            top = height_map[peaks[at - 1, 0], peaks[at - 1, 1]]
            if into[at] == 0 or top - saddle[at] >= depth:
                break
            at = into[at]
        home[a] = at
    return home


@compiled
def _lower(height_map, peaks, a, b):  # type: ignore[no-untyped-def]
    ay, ax, by, bx = peaks[a - 1, 0], peaks[a - 1, 1], peaks[b - 1, 0], peaks[b - 1, 1]
    va, vb = height_map[ay, ax], height_map[by, bx]
    return va < vb or (va == vb and (ay > by or (ay == by and ax > bx)))


@compiled
def collect(basin, home, peaks, keep, radius):  # type: ignore[no-untyped-def]
    """Label map int32 [y, x] of the kept peaks (bool per peak), numbered 1.. in order of the peaks.

    An object is what is 4-connected to its peak among the pixels that belong to it and lie no farther
    than `radius` pixels from it.
    """
    height, width = basin.shape
    labels = np.zeros((height, width), np.int32)
    stack = np.empty((4096, 2), np.int32)
    limit = radius * radius
    n = 0
    for p in range(len(peaks)):
        if not keep[p]:
            continue
        n += 1
        y0, x0 = peaks[p, 0], peaks[p, 1]
        labels[y0, x0] = n
        stack[0, 0], stack[0, 1] = y0, x0
        top = 1
        while top > 0:
            top -= 1
            y, x = stack[top, 0], stack[top, 1]
            for k in range(4):
                ny, nx = y + _AHEAD[k, 0], x + _AHEAD[k, 1]
                if not (0 <= ny < height and 0 <= nx < width) or labels[ny, nx] != 0:
                    continue
                b = basin[ny, nx]
                if b == 0 or home[b] != p + 1 or (ny - y0) ** 2 + (nx - x0) ** 2 > limit:
                    continue
                labels[ny, nx] = n
                if top + 1 >= len(stack):
                    more = np.empty((2 * len(stack), 2), np.int32)
                    more[:top] = stack[:top]
                    stack = more
                stack[top, 0], stack[top, 1] = ny, nx
                top += 1
    return labels, n


@compiled
def grow(labels, inside, steps):  # type: ignore[no-untyped-def]
    """Labels spread over 4-neighbours into the inside pixels, that many steps; ties go up, left, right, down."""
    height, width = labels.shape
    now = labels.copy()
    for _ in range(steps):
        new = now.copy()
        for y in range(height):
            for x in range(width):
                if now[y, x] != 0 or not inside[y, x]:
                    continue
                if y > 0 and now[y - 1, x] != 0:
                    new[y, x] = now[y - 1, x]
                elif x > 0 and now[y, x - 1] != 0:
                    new[y, x] = now[y, x - 1]
                elif x + 1 < width and now[y, x + 1] != 0:
                    new[y, x] = now[y, x + 1]
                elif y + 1 < height and now[y + 1, x] != 0:
                    new[y, x] = now[y + 1, x]
        now = new
    return now


@compiled
def sums(labels, n, values, coarse):  # type: ignore[no-untyped-def]
    """Per label 1..n: pixel count and centre sums x, y int64 [n, 3], and sums of the uint8 values
    [y // coarse, x // coarse, channel] int64 [n, channel]."""
    channels = values.shape[2]
    place = np.zeros((n, 3), np.int64)
    total = np.zeros((n, channels), np.int64)
    for y in range(labels.shape[0]):
        vy = min(y // coarse, values.shape[0] - 1)
        for x in range(labels.shape[1]):
            i = labels[y, x] - 1
            if i < 0:
                continue
            place[i, 0] += 1
            place[i, 1] += x
            place[i, 2] += y
            vx = min(x // coarse, values.shape[1] - 1)
            for c in range(channels):
                total[i, c] += values[vy, vx, c]
    return place, total
