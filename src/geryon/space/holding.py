"""Which outline holds which object."""

from __future__ import annotations

import numpy as np
import shapely

from geryon.space.objects import Objects, Outlines

LEAST_SHARE = 0.5
"""Of an object's area, for it to lie in another: then at most one can hold it, where those do not overlap."""


def polygons(outlines: Outlines) -> np.ndarray:
    """Shapely polygons of the outlines, holes kept."""
    return np.array(
        [shapely.Polygon(rings[0], rings[1:]) for rings in map(outlines.rings, range(len(outlines)))], object
    )


def holders(xy: np.ndarray, area: np.ndarray, tree: shapely.STRtree) -> np.ndarray:
    """int64 [n]: the first polygon of the tree that holds each centroid x, y and is no smaller; -1 where none does.

    All in one frame: `xy` float [n, 2], `area` float [n] of the objects that are held.
    """
    out = np.full(len(xy), -1, np.int64)
    if len(xy) == 0 or len(tree.geometries) == 0:
        return out
    points, held_by = tree.query(shapely.points(xy), predicate="intersects")
    fits = shapely.area(tree.geometries)[held_by] >= area[points]
    points, first = np.unique(points[fits], return_index=True)
    out[points] = held_by[fits][first]
    return out


def sharers(outlines: Outlines, tree: shapely.STRtree) -> np.ndarray:
    """int64 [n]: the polygon of the tree that has most of each outline's area; -1 where none has LEAST_SHARE of it.

    All in one frame. A polygon smaller than the outline holds nothing of it; of equal shares the first counts.
    """
    out = np.full(len(outlines), -1, np.int64)
    if len(outlines) == 0 or len(tree.geometries) == 0:
        return out
    shapes = _valid(polygons(outlines))
    inner, outer = tree.query(shapes, predicate="intersects")
    holding = tree.geometries[outer]
    shared, whole = shapely.area(shapely.intersection(shapes[inner], _valid(holding))), shapely.area(shapes)[inner]
    fits = (shared >= LEAST_SHARE * whole) & (shapely.area(holding) >= whole)
    inner, outer, shared = inner[fits], outer[fits], shared[fits]
    order = np.lexsort((-outer, shared, inner))  # the last of each is the largest, and of equal ones the first
    out[inner[order]] = outer[order]
    return out


def held(objects: Objects, by: Objects) -> Objects:
    """Those of the objects that lie in one of `by` with at least LEAST_SHARE of their area, both in one frame."""
    return objects.take(sharers(objects.outlines, shapely.STRtree(polygons(by.outlines))) >= 0)


def _valid(shapes: np.ndarray) -> np.ndarray:
    """Rounded outlines may touch themselves, and the area of what two share is not defined then."""
    whole = shapely.is_valid(shapes)
    return shapes if whole.all() else np.where(whole, shapes, shapely.make_valid(shapes))
