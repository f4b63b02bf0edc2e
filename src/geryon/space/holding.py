"""Which outline holds a point."""

from __future__ import annotations

import numpy as np
import shapely

from geryon.space.objects import Outlines


def polygons(outlines: Outlines) -> np.ndarray:
    """Shapely polygons of the outlines, holes kept."""
    return np.array(
        [shapely.Polygon(rings[0], rings[1:]) for rings in map(outlines.rings, range(len(outlines)))], object
    )


def holders(xy: np.ndarray, tree: shapely.STRtree) -> np.ndarray:
    """int64 [n]: number of the first polygon of the tree that holds each point x, y; -1 where none does."""
    out = np.full(len(xy), -1, np.int64)
    if len(xy) == 0 or len(tree.geometries) == 0:
        return out
    points, held_by = tree.query(shapely.points(xy), predicate="intersects")
    for i in range(len(points) - 1, -1, -1):
        out[points[i]] = held_by[i]
    return out
