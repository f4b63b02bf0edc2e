"""How large, long and round an outline is."""

from __future__ import annotations

import numpy as np
import shapely

from geryon.space.objects import Outlines, offsets, ranges

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
    points, ring_at = _outer(outlines_um)
    if len(ring_at) == 1:
        return {name: np.zeros(0) for name in COLUMNS}
    after = np.arange(1, len(points) + 1)
    after[ring_at[1:] - 1] = ring_at[:-1]
    perimeter = np.add.reduceat(np.linalg.norm(points[after] - points, axis=1), ring_at[:-1])
    hull = shapely.area(shapely.convex_hull(_rings(points, ring_at)))
    with np.errstate(divide="ignore", invalid="ignore"):
        area, xx, yy, xy = _moments(points, points[after], ring_at[:-1])
        middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        # An ellipse has a quarter of its half axis squared as its second moment.
        major, minor = 4 * np.sqrt(middle + spread), 4 * np.sqrt(np.maximum(middle - spread, 0))
        eccentricity = np.sqrt(np.maximum(1 - (minor / major) ** 2, 0))
        values = (perimeter, major, minor, eccentricity, 4 * np.pi * area / perimeter**2, area / hull)
    flat = ~(area > 0)
    return {name: np.where(flat, np.nan, value) for name, value in zip(COLUMNS, values, strict=True)}


def _outer(outlines: Outlines) -> tuple[np.ndarray, np.ndarray]:
    """Points of the outer rings, each counted from its own first point, and where each ring starts [object + 1]."""
    rings = outlines.object_at[:-1]
    starts, ends = outlines.ring_at[rings], outlines.ring_at[rings + 1]
    # Near the origin, so that nothing is lost by taking squares of a slide's coordinates from one another.
    origin = np.repeat(outlines.points[starts], ends - starts, axis=0)
    return outlines.points[ranges(starts, ends)] - origin, offsets(ends - starts)


def _moments(a: np.ndarray, b: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Area and second central moments xx, yy, xy over it, from edges a -> b by Green's theorem."""
    (ax, ay), (bx, by) = a.T, b.T
    cross = ax * by - bx * ay

    def total(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values * cross, starts)

    twice = np.add.reduceat(cross, starts)
    x, y = total(ax + bx) / (3 * twice), total(ay + by) / (3 * twice)
    xx = total(ax * ax + ax * bx + bx * bx) / (6 * twice) - x * x
    yy = total(ay * ay + ay * by + by * by) / (6 * twice) - y * y
    xy = total(ax * by + 2 * ax * ay + 2 * bx * by + bx * ay) / (12 * twice) - x * y
    return np.abs(twice) / 2, xx, yy, xy


def _rings(points: np.ndarray, ring_at: np.ndarray) -> np.ndarray:
    """Shapely rings, those of fewer than three points left out as None."""
    lengths = np.diff(ring_at)
    real = np.flatnonzero(lengths >= 3)
    out = np.full(len(lengths), None, object)
    if len(real):
        mine = ranges(ring_at[real], ring_at[real + 1])
        out[real] = shapely.linearrings(points[mine], indices=np.repeat(np.arange(len(real)), lengths[real]))
    return out
