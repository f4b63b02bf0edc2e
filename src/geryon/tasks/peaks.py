"""Bounded objects from two maps: where there are any (`inside`), and how deep in its object a pixel lies (`depth`).

Depth is 1 at the heart and 0 at the rim (the idea of Naylor et al., IEEE TMI 38(2), 2019, normalised per object).
Decoding lets every inside pixel walk uphill to its peak. Each step is bounded in length, so an object depends on its
surroundings within REACH_PX only, and any window that sees those finds the same object.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geryon.space.windows import Window
from geryon.tasks import kernels
from geryon.tasks.task import Map

INSIDE = 128
"""Of 255: a pixel at least this sure is inside an object."""
STEPS = 32
"""Longest walk to a peak, pixels."""
RADIUS_PX = 28
"""Farthest a pixel lies from its object's peak."""
DEPTH_STEP = 5200
"""Of 65280: a peak that rises less above its saddle is a part of the higher one."""
PEAK = 9800
"""Of 65280: lower peaks are no objects."""
REACH_PX = 2 * STEPS + 40
"""Peak to rim, to the neighbours that decide about it, and what these depend on."""
MAPS = (
    Map(name="inside", channels=1, activation="sigmoid", loss="bce_dice"),
    Map(name="depth", channels=1, activation="sigmoid", loss="mse"),
)


def found(maps: Mapping[str, np.ndarray], window: Window) -> np.ndarray:
    """Runs (tasks.runs) of the objects whose peak lies in the window's core, numbered 1.. in reading order of their
    peaks; maps cover the window's outer box."""
    height_map = kernels.smooth(np.ascontiguousarray(maps["depth"][..., 0]))
    up = kernels.uphill(height_map, maps["inside"][..., 0] >= INSIDE)
    places, to, below, right = kernels.listed(up)
    heights = kernels.taken(height_map.reshape(-1), places)
    basin, peaks = kernels.climb(to, STEPS)
    home = kernels.merge_shallow(heights, basin, right, below, peaks, DEPTH_STEP)
    keep = (home[1:] == np.arange(1, len(home))) & (heights[peaks] >= PEAK) & _in_core(places[peaks], window)
    number = np.concatenate([[0], np.cumsum(keep) * keep]).astype(np.int32)[home]
    hearts = places[peaks[keep]]
    runs: np.ndarray = kernels.collect(kernels.taken(number, basin), places, right, up.shape[1], hearts, RADIUS_PX)
    return runs


def _in_core(places: np.ndarray, window: Window) -> np.ndarray:
    row, column = np.divmod(places, window.outer.shape[1])
    (x, y), (rows, columns) = window.offset, window.core.shape
    return (row >= y) & (row < y + rows) & (column >= x) & (column < x + columns)
