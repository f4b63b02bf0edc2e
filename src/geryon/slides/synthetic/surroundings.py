"""What cells of a block keep clear of."""

from __future__ import annotations

import cv2
import numpy as np

from geryon.slides.synthetic.glands import glands_of, groups_of
from geryon.slides.synthetic.layout import World, fibres
from geryon.slides.synthetic.polygons import fill
from geryon.slides.synthetic.vessels import vessels_of

BLOCK_UM = 256.0
"""The cells of a block come from its own seed."""
SEEN_UM = 34.0
"""Around a block: what its cells keep clear of."""


def surroundings(world: World, row: int, column: int, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each point: µm to the nearest gland or vessel, and the angle of the fibres."""
    x = np.arange(column * BLOCK_UM - SEEN_UM, (column + 1) * BLOCK_UM + SEEN_UM) + 0.5
    y = np.arange(row * BLOCK_UM - SEEN_UM, (row + 1) * BLOCK_UM + SEEN_UM) + 0.5
    box = (float(x[0]), float(y[0]), float(x[-1]), float(y[-1]))
    outlines = [gland.outline for at in groups_of(*box) for gland in glands_of(world, *at)]
    filled = fill(np.zeros((len(y), len(x)), np.uint8), outlines, np.ones(len(outlines)), x_px=x, y_px=y)
    distance = clearance(filled)
    _, across = fibres(world, x, y, distance)
    vessels = [vessel.outline for vessel in vessels_of(world, *box)]
    distance = clearance(fill(filled, vessels, np.ones(len(vessels)), x_px=x, y_px=y))
    down, right = np.gradient(across)
    i, j = (xy[:, 1] - y[0]).round().astype(int), (xy[:, 0] - x[0]).round().astype(int)
    return distance[i, j], np.arctan2(down[i, j], right[i, j]) + np.pi / 2


def clearance(filled: np.ndarray) -> np.ndarray:
    """float32 [y, x]: pixels to the nearest filled one, 0 inside; far off where nothing is filled."""
    if not filled.any():
        return np.full(filled.shape, 1e4, np.float32)
    return cv2.distanceTransform((filled == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
