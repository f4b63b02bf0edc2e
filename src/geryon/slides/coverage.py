"""How much of each patch of a compressed slide is tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geryon.slides.masks import Drawn, covered
from geryon.slides.reader import Slide
from geryon.slides.tissue import LowPower, mask_of, tissue_mask, wants_mask
from geryon.space import units
from geryon.space.arrays import Mask
from geryon.space.grid import Grid


def tissue_shares(
    slide: Slide,
    grid: Grid,
    *,
    asked: bool | None = None,
    given: Path | None = None,
    seen: LowPower | None = None,
) -> np.ndarray:
    """float64 [row, column]: the share of each cell's patch that the mask covers, 0..1.

    The mask is the user's own at its own resolution (`given`), the built-in one, or none (as `asked`, else by the
    slide's size): then every share is 1. What a patch sees beyond the slide is no tissue. Counted in µm, so that a
    mask of any scale means the same places. `seen` spares another look at the slide.
    """
    if given is not None:
        with mask_of(given, slide) as drawn:
            um = slide.frame.um
            return _shares(drawn, grid, (um.width / drawn.width, um.height / drawn.height))
    if not wants_mask(slide, asked):
        return np.ones((grid.rows, grid.columns))
    found = tissue_mask(slide, seen)
    return _shares(_drawn(found.mask), grid, (found.mpp, found.mpp))


def _drawn(mask: Mask) -> Drawn:
    height, width = mask.shape
    return Drawn(width, height, lambda box: mask[box[1] : box[3], box[0] : box[2]].view(np.uint8), Path())


def _shares(drawn: Drawn, grid: Grid, pixel_um: tuple[float, float]) -> np.ndarray:
    x_um, y_um = pixel_um
    rows, columns = (
        (np.arange(cells)[:, None] * grid.stride_um + (0.0, grid.patch_um)) * units.px(1.0, pixel)
        for cells, pixel in ((grid.rows, y_um), (grid.columns, x_um))
    )
    # Rounded, since µm divided by µm leave a pixel's edge by less than any mask can mean.
    pixels = covered(drawn, np.round(rows, 6), np.round(columns, 6))
    return pixels / (units.px(grid.patch_um, x_um) * units.px(grid.patch_um, y_um))
