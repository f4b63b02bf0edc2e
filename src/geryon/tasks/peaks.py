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
    """int32 [y, x]: the objects whose peak lies in the window's core, numbered 1..; maps cover its outer box."""
    inside = maps["inside"][..., 0] >= INSIDE
    height_map = kernels.smooth(np.ascontiguousarray(maps["depth"][..., 0]))
    basin, peaks = kernels.climb(height_map, inside, STEPS)
    if len(peaks) == 0:
        return np.zeros(inside.shape, np.int32)
    home = kernels.merge_shallow(height_map, basin, peaks, DEPTH_STEP)
    keep = (home[1:] == np.arange(1, len(peaks) + 1)) & (height_map[peaks[:, 0], peaks[:, 1]] >= PEAK)
    keep &= _in_core(peaks, window)
    labels: np.ndarray = kernels.collect(basin, home, peaks, keep, RADIUS_PX)[0]
    return labels


def _in_core(peaks: np.ndarray, window: Window) -> np.ndarray:
    x, y = window.offset
    rows, columns = window.core.shape
    return (peaks[:, 0] >= y) & (peaks[:, 0] < y + rows) & (peaks[:, 1] >= x) & (peaks[:, 1] < x + columns)
