"""Which cells of a slide are encoded, and in which blocks they are read: from the slide, its mask and µm alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from geryon.space.arrays import Mask
from geryon.space.boxes import Box, Frame
from geryon.space.grid import Grid

BLOCK_PX = 2048
"""About the side of what is read at once: patches overlap and share tiles of the file, and each is decoded once.
13 MB, of which a few are under way (benchmarks/compress.py has other sides)."""
Tile = tuple[int, int]
"""First row and column of a square of cells that is kept as one piece."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Cells that are read together."""

    tile: Tile
    cells: np.ndarray
    """int64 [n, 2]: row and column of each."""
    box: Box
    """What their patches see, whole pixels of the frame in which the encoder's pixels count."""
    corners: np.ndarray
    """int64 [n, 2]: where in the box each patch begins, row and column of its first pixel; multiples of the stride."""
    stride_px: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """The cells to encode, cut into tiles and blocks."""

    grid: Grid
    work: Frame
    """The frame in which the encoder's pixels count."""
    patch_px: int
    stride_px: int
    side: int
    """Cells along a side of a tile."""
    asked: Mask
    """[row, column]: the cells with tissue."""

    def tiles(self) -> list[Tile]:
        """The tiles with a cell to encode, row by row."""
        rows, columns = np.nonzero(self.asked)
        found = np.unique(np.stack([rows // self.side, columns // self.side], axis=1), axis=0)
        return [(int(row) * self.side, int(column) * self.side) for row, column in found]

    def in_tile(self, tile: Tile) -> tuple[slice, slice]:
        """Rows and columns of a tile."""
        top, left = tile
        rows, columns = self.asked.shape
        return slice(top, min(top + self.side, rows)), slice(left, min(left + self.side, columns))

    def blocks(self, tiles: Iterable[Tile]) -> Iterator[Block]:
        """What is read for these tiles, tile by tile."""
        step = max(1, BLOCK_PX // self.stride_px)
        for tile in tiles:
            rows, columns = self.in_tile(tile)
            for top in range(rows.start, rows.stop, step):
                for left in range(columns.start, columns.stop, step):
                    within = np.s_[top : min(top + step, rows.stop), left : min(left + step, columns.stop)]
                    cells = np.argwhere(self.asked[within]) + (top, left)
                    if len(cells):
                        yield self._block(tile, cells)

    def _block(self, tile: Tile, cells: np.ndarray) -> Block:
        corners = cells * self.stride_px
        first, last = corners.min(axis=0), corners.max(axis=0) + self.patch_px
        box = Box(self.work, float(first[1]), float(first[0]), float(last[1]), float(last[0]))
        return Block(tile, cells, box, corners - first, self.stride_px)
