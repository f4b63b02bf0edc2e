"""Which outline holds which object."""

from __future__ import annotations

import numpy as np
import shapely

from geryon.space.objects import Objects, Outlines


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
    fits = shapely.area(tree.geometries[held_by]) >= area[points]
    points, held_by = points[fits], held_by[fits]
    for i in range(len(points) - 1, -1, -1):
        out[points[i]] = held_by[i]
    return out


def held(objects: Objects, by: Objects) -> Objects:
    """Those of the objects that one of `by` holds, both in one frame."""
    return objects.take(holders(objects.xy, objects.area, shapely.STRtree(polygons(by.outlines))) >= 0)
