"""The cells of a compressed slide: squares of one stride that cover it, each with the patch that stands for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geryon.space.arrays import Mask
from geryon.space.boxes import Box, Frame

ROUNDING = 1e-6
"""Share of a stride by which a slide may pass a cell's edge: rounding of µm to pixels, no tissue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Cells of `stride_um` from the slide's top left; the patch of a cell begins at the cell's own corner.

    Every pixel of the slide lies in one cell. The last patches may reach past the slide: see `edge`.

    >>> level0 = Frame(name="level0", mpp_x=0.5, mpp_y=0.5, width=1500, height=1200)
    >>> grid = Grid(level0=level0, patch_um=64.0, stride_um=64.0)
    >>> grid.rows, grid.columns
    (10, 12)
    """

    level0: Frame
    patch_um: float
    """Side of the square that is encoded."""
    stride_um: float
    """Side of a cell; smaller than the patch where patches overlap."""

    @property
    def rows(self) -> int:
        return _cells(self.level0.um.height, self.stride_um)

    @property
    def columns(self) -> int:
        return _cells(self.level0.um.width, self.stride_um)

    @property
    def whole_cells(self) -> tuple[int, int]:
        """Rows and columns of cells that lie wholly inside the slide: all that the published code looks at."""
        um = self.level0.um
        return int(um.height / self.stride_um + ROUNDING), int(um.width / self.stride_um + ROUNDING)

    def box(self, row: int, column: int) -> Box:
        """The patch of a cell, in µm."""
        x, y = column * self.stride_um, row * self.stride_um
        return Box(self.level0.um, x, y, x + self.patch_um, y + self.patch_um)

    def box_level0(self, row: int, column: int) -> Box:
        """The patch of a cell, in pixels of the slide's full resolution."""
        return self.box(row, column).to(self.level0)

    def edge(self) -> Mask:
        """bool [row, column]: True where the patch is not wholly inside the slide."""
        um = self.level0.um
        below = _passes(self.rows, um.height, self.patch_um, self.stride_um)
        right = _passes(self.columns, um.width, self.patch_um, self.stride_um)
        return below[:, None] | right[None, :]


def _cells(length_um: float, stride_um: float) -> int:
    return max(1, math.ceil(length_um / stride_um - ROUNDING))


def _passes(cells: int, length_um: float, patch_um: float, stride_um: float) -> np.ndarray:
    return np.arange(cells) * stride_um + patch_um > length_um + ROUNDING * stride_um
