"""How large, long and round an outline is."""

from __future__ import annotations

import numpy as np

from geryon.compiling import compiled
from geryon.space.objects import Outlines

COLUMNS = (
    "perimeter_um",
    "major_axis_um",
    "minor_axis_um",
    "eccentricity_ratio",
    "circularity_ratio",
    "solidity_ratio",
)


def shapes(outlines_um: Outlines) -> dict[str, np.ndarray]:
    """float64 [object] for each of COLUMNS: shape of the outer ring in µm, holes filled; NaN where it has no area.

    perimeter is its length; major and minor axis are those of the ellipse with the same second moments, end to end;
    eccentricity is that of the ellipse, 0 for a circle; circularity is 4π area / perimeter², 1 for a circle (Cox,
    J Paleontol 1, 1927); solidity is area over that of the convex hull.
    """
    perimeter, area, xx, yy, xy, hull = _measured(outlines_um.points, outlines_um.ring_at, outlines_um.object_at).T
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        # An ellipse has a quarter of its half axis squared as its second moment.
        major, minor = 4 * np.sqrt(middle + spread), 4 * np.sqrt(np.maximum(middle - spread, 0))
        eccentricity = np.sqrt(np.maximum(1 - (minor / major) ** 2, 0))
        values = (perimeter, major, minor, eccentricity, 4 * np.pi * area / perimeter**2, area / hull)
    flat = ~(area > 0)
    return {name: np.where(flat, np.nan, value) for name, value in zip(COLUMNS, values, strict=True)}


@compiled
def _measured(points, ring_at, object_at):  # type: ignore[no-untyped-def]
    """float64 [object, 6] of outer rings: perimeter, area, second central moments xx, yy, xy over it, hull's area."""
    out = np.zeros((len(object_at) - 1, 6))
    longest = 0
    for i in range(len(out)):
        longest = max(longest, ring_at[object_at[i] + 1] - ring_at[object_at[i]])
    x, y, hull = np.empty(longest), np.empty(longest), np.empty(2 * longest + 1, np.int64)
    for i in range(len(out)):
        first = ring_at[object_at[i]]
        n = ring_at[object_at[i] + 1] - first
        # Near the origin, so that nothing is lost by taking squares of a slide's coordinates from one another.
        for k in range(n):
            x[k], y[k] = points[first + k, 0] - points[first, 0], points[first + k, 1] - points[first, 1]
        _moments(x[:n], y[:n], out[i])
        out[i, 5] = _hull_area(x[:n], y[:n], hull)
    return out


@compiled
def _moments(x, y, out):  # type: ignore[no-untyped-def]
    """Perimeter, area and moments of one ring, from its edges a -> b by Green's theorem."""
    length = twice = sx = sy = sxx = syy = sxy = 0.0
    for k in range(len(x)):
        ax, ay = x[k], y[k]
        bx, by = (x[k + 1], y[k + 1]) if k + 1 < len(x) else (x[0], y[0])
        cross = ax * by - bx * ay
        length += np.sqrt((bx - ax) ** 2 + (by - ay) ** 2)
        twice += cross
        sx += (ax + bx) * cross
        sy += (ay + by) * cross
        sxx += (ax * ax + ax * bx + bx * bx) * cross
        syy += (ay * ay + ay * by + by * by) * cross
        sxy += (ax * by + 2 * ax * ay + 2 * bx * by + bx * ay) * cross
    out[0], out[1] = length, abs(twice) / 2
    if twice != 0:
        cx, cy = sx / (3 * twice), sy / (3 * twice)
        out[2], out[3] = sxx / (6 * twice) - cx * cx, syy / (6 * twice) - cy * cy
        out[4] = sxy / (12 * twice) - cx * cy


@compiled
def _hull_area(x, y, hull):  # type: ignore[no-untyped-def]
    """Area of the convex hull; sorts the points. Lower and upper chain as Andrew, Inform Process Lett 9(5), 1979."""
    _sort(x, y)
    size = 0
    for turn in range(2):
        least = size + 1
        for step in range(len(x)):
            k = step if turn == 0 else len(x) - 1 - step
            while size > least and _cross(x, y, hull[size - 2], hull[size - 1], k) <= 0:
                size -= 1
            hull[size] = k
            size += 1
        size -= 1  # the last point of a chain begins the other
    area = 0.0
    for j in range(1, size - 1):
        area += _cross(x, y, hull[0], hull[j], hull[j + 1])
    return area / 2


@compiled
def _cross(x, y, a, b, c):  # type: ignore[no-untyped-def]
    return (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])


@compiled
def _sort(x, y):  # type: ignore[no-untyped-def]
    """By x, equal ones by y: Shell's sort (Commun ACM 2(7), 1959), which needs no room."""
    gap = len(x) // 2
    while gap > 0:
        for i in range(gap, len(x)):
            ax, ay, k = x[i], y[i], i
            while k >= gap and (x[k - gap] > ax or (x[k - gap] == ax and y[k - gap] > ay)):
                x[k], y[k] = x[k - gap], y[k - gap]
                k -= gap
            x[k], y[k] = ax, ay
        gap = 1 if gap == 2 else gap * 5 // 11
