"""Codes of a slide's cells from what the encoder sees in a window: means over the cells of its core."""

from __future__ import annotations

import numpy as np

from geryon.nets.mosaic import core_of
from geryon.nets.topologies import FEATURES
from geryon.space.windows import Window

CODE_PX = 128
"""Side of a cell in pixels of the network's input, unless asked: 64 µm at 0.5 µm/px, some tens of nuclei."""


def codes_of(features: np.ndarray, window: Window, cell_px: int = CODE_PX) -> np.ndarray:
    """float32 [row, column, code] of the cells in the window's core, from features over its outer box (FEATURES).

    The core begins at a cell's corner; cells are `cell_px` wide, a multiple of the features' stride. A cell that
    reaches past the slide has the mean of its part inside.
    """
    core, frame = window.core, window.frame
    seen = core_of({FEATURES.name: features}, window)[FEATURES.name]
    across = cell_px // FEATURES.stride
    shares = [
        _inside(count, begin, end, across)
        for count, begin, end in zip(seen.shape[:2], (core.ymin, core.xmin), (frame.height, frame.width), strict=True)
    ]
    rows, columns = (len(share) for share in shares)
    padded = np.zeros((rows, columns, seen.shape[2]), np.float32)
    padded[: seen.shape[0], : seen.shape[1]] = seen
    weights = (shares[0][:, None] * shares[1]).astype(np.float32)
    sums = _sums(padded * weights[..., None], across)
    codes: np.ndarray = sums / np.maximum(_sums(weights[..., None], across), np.float32(1e-9))
    return codes


def _inside(count: int, begin_px: float, end_px: float, across: int) -> np.ndarray:
    """float64: how much of each of `count` squares along a side lies inside the slide; filled to whole cells by 0."""
    edges = begin_px + FEATURES.stride * np.arange(-(-count // across) * across)
    shares = np.clip((end_px - edges) / FEATURES.stride, 0.0, 1.0)
    shares[count:] = 0.0
    return shares


def _sums(values: np.ndarray, across: int) -> np.ndarray:
    """[row, column, code] over squares of so many rows and columns."""
    rows, columns, code = values.shape
    return values.reshape(rows // across, across, columns // across, across, code).sum(axis=(1, 3))
