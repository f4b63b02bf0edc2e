"""Polygons: exact filling by pixel centres, and small geometry that runs for every cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geryon.compiling import compiled

CORNERS = 20
"""Points on the outline of a nucleus."""


def fill(
    canvas: np.ndarray, polygons: Sequence[np.ndarray], values: np.ndarray, *, x_px: np.ndarray, y_px: np.ndarray
) -> np.ndarray:
    """Write each value where a pixel's centre lies in its polygon (even-odd), later ones over earlier; return canvas.

    x_px and y_px hold the centres of columns and rows in the polygons' units, evenly spaced: what is
    written at a place does not depend on what part of the plane the canvas shows.
    """
    if len(polygons):
        starts = np.zeros(len(polygons) + 1, np.int64)
        np.cumsum([len(p) for p in polygons], out=starts[1:])
        _fill(canvas, np.concatenate(list(polygons)), starts, np.asarray(values, canvas.dtype), x_px, y_px)
    return canvas


@compiled
def _fill(canvas, points, starts, values, x_px, y_px):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = canvas.shape
    step_y = y_px[1] - y_px[0] if height > 1 else 1.0
    step_x = x_px[1] - x_px[0] if width > 1 else 1.0
    crossings = np.empty(512)
    for k in range(len(values)):
        first, last = starts[k], starts[k + 1]
        low, high = points[first, 1], points[first, 1]
        for i in range(first, last):
            low, high = min(low, points[i, 1]), max(high, points[i, 1])
        row0 = max(0, int(np.floor((low - y_px[0]) / step_y)) - 1)
        row1 = min(height, int(np.ceil((high - y_px[0]) / step_y)) + 2)
        for row in range(row0, row1):
            y = y_px[row]
            n = 0
            for i in range(first, last):
                j = i + 1 if i + 1 < last else first
                if (points[i, 1] <= y) != (points[j, 1] <= y) and n < 512:
                    t = (y - points[i, 1]) / (points[j, 1] - points[i, 1])
                    crossings[n] = points[i, 0] + t * (points[j, 0] - points[i, 0])
                    n += 1
            ordered = np.sort(crossings[:n])
            for c in range(0, n - 1, 2):
                left = max(0, int(np.floor((ordered[c] - x_px[0]) / step_x)) - 1)
                right = min(width, int(np.ceil((ordered[c + 1] - x_px[0]) / step_x)) + 2)
                for column in range(left, right):
                    if ordered[c] <= x_px[column] < ordered[c + 1]:
                        canvas[row, column] = values[k]


@compiled
def edge_distance(points, polygon):  # type: ignore[no-untyped-def]  # pragma: no cover
    """float64 [n]: how far each point lies inside the polygon; negative outside."""
    out = np.empty(len(points))
    for k in range(len(points)):
        x, y = points[k, 0], points[k, 1]
        best = 1e18
        inside = False
        j = len(polygon) - 1
        for i in range(len(polygon)):
            ax, ay, bx, by = polygon[j, 0], polygon[j, 1], polygon[i, 0], polygon[i, 1]
            if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
                inside = not inside
            dx, dy = bx - ax, by - ay
            t = ((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-12)
            t = min(1.0, max(0.0, t))
            best = min(best, (x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2)
            j = i
        out[k] = np.sqrt(best) if inside else -np.sqrt(best)
    return out


@compiled
def spaced(x, y, a, b, angle, slack):  # type: ignore[no-untyped-def]  # pragma: no cover
    """bool [n]: the ellipses that stay when each in turn gives way to those kept before it.

    An ellipse counts as three discs along its long axis; `slack` < 1 lets them overlap a little.
    """
    n = len(x)
    keep = np.zeros(n, np.bool_)
    for i in range(n):
        ok = True
        for j in range(i):
            if not keep[j]:
                continue
            dx, dy = x[i] - x[j], y[i] - y[j]
            far = a[i] + a[j]
            if dx * dx + dy * dy > far * far:
                continue
            near = (b[i] + b[j]) * slack
            for p in range(-1, 2):
                px = dx + p * (a[i] - b[i]) * np.cos(angle[i])
                py = dy + p * (a[i] - b[i]) * np.sin(angle[i])
                for q in range(-1, 2):
                    ex = px - q * (a[j] - b[j]) * np.cos(angle[j])
                    ey = py - q * (a[j] - b[j]) * np.sin(angle[j])
                    if ex * ex + ey * ey < near * near:
                        ok = False
            if not ok:
                break
        keep[i] = ok
    return keep


@compiled
def reach(x, y, nx, ny, spines, own, longest, gap):  # type: ignore[no-untyped-def]  # pragma: no cover
    """float64 [ray]: how far each ray goes while it stays nearer to its own spine than to any other, by `gap`."""
    out = np.empty(len(x))
    for k in range(len(x)):
        low, high = 0.0, longest
        for _ in range(9):
            r = 0.5 * (low + high)
            px, py = x[k] + r * nx[k], y[k] + r * ny[k]
            mine = _to_segment(px, py, spines[own])
            free = True
            for j in range(len(spines)):
                if j != own and _to_segment(px, py, spines[j]) - mine < gap:
                    free = False
                    break
            if free:
                low = r
            else:
                high = r
        out[k] = low
    return out


@compiled
def _to_segment(x, y, s):  # type: ignore[no-untyped-def]  # pragma: no cover
    dx, dy = s[2] - s[0], s[3] - s[1]
    t = ((x - s[0]) * dx + (y - s[1]) * dy) / max(dx * dx + dy * dy, 1e-12)
    t = min(1.0, max(0.0, t))
    return np.sqrt((x - s[0] - t * dx) ** 2 + (y - s[1] - t * dy) ** 2)


def ovals(
    xy: np.ndarray, axes: np.ndarray, angle: np.ndarray, wobble: np.ndarray, phase: np.ndarray, *, bend: np.ndarray
) -> np.ndarray:
    """float64 [n, CORNERS, 2]: ellipses, their radius varied twice and thrice round (wobble [n, 2]), then bent."""
    t = np.arange(CORNERS) * (2 * np.pi / CORNERS)
    r = 1 + wobble[:, :1] * np.cos(2 * t + phase[:, :1]) + wobble[:, 1:] * np.cos(3 * t + phase[:, 1:])
    u, v = r * np.cos(t), r * np.sin(t)
    along, across = u * axes[:, :1], v * axes[:, 1:] + bend[:, None] * (u * u - 0.5) * axes[:, 1:]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([along * c - across * s, along * s + across * c], axis=2) + xy[:, None, :]
