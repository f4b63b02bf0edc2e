"""Maps of evidence as colours, and over the slide."""

from __future__ import annotations

import cv2
import numpy as np

from geryon.space.arrays import Image, Mask
from geryon.store.features import Volume

PICTURE_PX = 900
"""Longer side of the slide in an overview."""
ENDS = (2.0, 98.0)
"""Percentiles of a map that have the first and the last colour."""
SHADE = 0.5
"""How much of the colour lies over the slide."""
REGION = (20, 20, 20)


def scale_of(values: np.ndarray) -> tuple[float, float]:
    """The values of the first and the last colour."""
    known = values[np.isfinite(values)]
    low, high = (float(v) for v in np.percentile(known, ENDS)) if known.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def coloured(values: np.ndarray, scale: tuple[float, float]) -> Image:
    """uint8 [row, column, 3]: the colours of viridis; white where there is no tissue."""
    known = np.isfinite(values)
    share = np.clip((np.where(known, values, scale[0]) - scale[0]) / (scale[1] - scale[0]), 0, 1)
    colours = cv2.applyColorMap(np.round(255 * share).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    return np.where(known[..., None], colours, np.uint8(255))


def overview(
    behind: Image | None, values: np.ndarray, where: Mask, volume: Volume, scale: tuple[float, float]
) -> bytes:
    """PNG: the slide, and beside it the map over it with the outlines of its regions.

    Behind the map lies the slide as a picture [y, x, 3] of all of it; None: its tissue in grey.
    """
    level0 = volume.about.grid.level0
    longer = max(level0.width, level0.height)
    size = max(1, round(PICTURE_PX * level0.width / longer)), max(1, round(PICTURE_PX * level0.height / longer))
    grey = np.where(volume.tissue[..., None], np.uint8(190), np.uint8(245)).repeat(3, axis=2)
    slide = _stretched(grey, volume, size) if behind is None else cv2.resize(behind, size, interpolation=cv2.INTER_AREA)
    colours = _stretched(coloured(values, scale), volume, size)
    known = _stretched(np.isfinite(values).astype(np.uint8), volume, size) > 0
    over = np.where(known[..., None], np.round((1 - SHADE) * slide + SHADE * colours), slide).astype(np.uint8)
    edges, _ = cv2.findContours(_stretched(where.astype(np.uint8), volume, size), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(over, edges, -1, REGION, 2)
    both = np.concatenate([slide, np.full((size[1], 12, 3), 255, np.uint8), over], axis=1)
    return cv2.imencode(".png", both[..., ::-1])[1].tobytes()


def _stretched(cells: np.ndarray, volume: Volume, size: tuple[int, int]) -> np.ndarray:
    """Cells as pixels of a picture of the slide (width, height); the last cells may reach past it."""
    um, stride = volume.about.grid.level0.um, volume.about.stride_um
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) / n * length / stride).astype(int), most - 1)
        for n, length, most in zip(size[::-1], (um.height, um.width), cells.shape[:2], strict=True)
    )
    return np.ascontiguousarray(cells[rows][:, columns])
