"""How a slide is cut: windows for the network, tiles for decoding; from the size alone, so always the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from geryon.space.boxes import Box, Frame


@dataclass(frozen=True, slots=True)
class Window:
    """A place to work on: what counts is the core, what is looked at is the outer box (core and halo).

    Both have whole-number edges in one frame; the outer box may reach outside the slide.
    """

    core: Box
    outer: Box

    @property
    def frame(self) -> Frame:
        return self.core.frame

    @property
    def offset(self) -> tuple[int, int]:
        """x, y of the core's corner inside an array that covers the outer box."""
        return round(self.core.xmin - self.outer.xmin), round(self.core.ymin - self.outer.ymin)

    @property
    def core_in_outer(self) -> tuple[slice, slice]:
        """Rows and columns of the core inside an array that covers the outer box."""
        (x, y), (rows, columns) = self.offset, self.core.shape
        return slice(y, y + rows), slice(x, x + columns)

    def at(self, frame: Frame) -> Window:
        """The same place in a frame whose pixels are a whole number of times larger or smaller."""
        return Window(_whole(self.core.to(frame)), _whole(self.outer.to(frame)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """Squares of `step` pixels that cover a frame, each pixel once; indexed row, column.

    >>> frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=100.0, height=50.0)
    >>> tiling = Tiling(frame=frame, step=64)
    >>> tiling.rows, tiling.columns
    (1, 2)
    """

    frame: Frame
    step: int
    cell: int = 1
    """The last squares end at the next multiple of this many pixels past the frame."""

    @property
    def rows(self) -> int:
        return max(1, math.ceil(self.frame.height / self.step - 1e-9))

    @property
    def columns(self) -> int:
        return max(1, math.ceil(self.frame.width / self.step - 1e-9))

    def box(self, row: int, column: int) -> Box:
        """The square at row, column; the last ones are cut off behind the frame."""
        x, y = column * self.step, row * self.step
        right, bottom = (math.ceil(n / self.cell - 1e-9) * self.cell for n in (self.frame.width, self.frame.height))
        return Box(
            self.frame,
            x,
            y,
            min(x + self.step, max(right, x + self.cell)),
            min(y + self.step, max(bottom, y + self.cell)),
        )

    def window(self, row: int, column: int, halo: int) -> Window:
        """The square with a halo of that many pixels on each side."""
        core = self.box(row, column)
        return Window(core, core.grow(halo))

    def meeting(self, box: Box) -> Iterator[tuple[int, int]]:
        """Row and column of each square that shares some of the box (in this frame), row by row."""
        rows = range(max(0, int(box.ymin // self.step)), min(self.rows, math.ceil(box.ymax / self.step)))
        columns = range(max(0, int(box.xmin // self.step)), min(self.columns, math.ceil(box.xmax / self.step)))
        return ((row, column) for row in rows for column in columns)


def _whole(box: Box) -> Box:
    return Box(box.frame, *(float(round(edge)) for edge in (box.xmin, box.ymin, box.xmax, box.ymax)))
