"""Maps of many windows as one plane: each place has the value of the one window whose core holds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geryon.nets.engine import MapsOfWindow
from geryon.space.windows import Tiling, Window
from geryon.tasks.task import Task

Cell = tuple[int, int]


class Mosaic:
    """The windows' cores that are still needed; where there is none the maps are zero.

    A decoder that looks past its tile sees here what the neighbouring tile sees, bit for bit. Reading
    the halo from a window's own margin would not give that: a network says slightly other things
    near the border of what it sees.
    """

    def __init__(self, windows: Tiling, tasks: Sequence[Task]) -> None:
        self.windows = windows
        self.channels = {f"{t.name}/{m.name}": m.channels for t in tasks for m in t.maps}
        self.blocks: dict[Cell, MapsOfWindow] = {}

    def put(self, cell: Cell, maps: MapsOfWindow) -> None:
        """Keep the maps of a window's core."""
        self.blocks[cell] = maps

    def drop(self, cell: Cell) -> None:
        """Let go of a window, where it is kept."""
        self.blocks.pop(cell, None)

    def region(self, task: Task, window: Window) -> MapsOfWindow:
        """{map: uint8 [y, x, channel]} over the outer box of a window in the task's frame."""
        return {m.name: self._plane(f"{task.name}/{m.name}", window, m.coarse) for m in task.maps}

    def _plane(self, name: str, window: Window, coarse: int) -> np.ndarray:
        factor = window.frame.mpp_x * coarse / self.windows.frame.mpp_x
        step = round(self.windows.step / factor)
        x0, y0 = round(window.outer.xmin / coarse), round(window.outer.ymin / coarse)
        x1, y1 = round(window.outer.xmax / coarse), round(window.outer.ymax / coarse)
        plane = np.zeros((y1 - y0, x1 - x0, self.channels[name]), np.uint8)
        for row in range(max(0, y0 // step), -(-y1 // step)):
            for column in range(max(0, x0 // step), -(-x1 // step)):
                block = self.blocks.get((row, column))
                if block is None:
                    continue
                top, left = max(y0, row * step), max(x0, column * step)
                part = block[name][top - row * step : y1 - row * step, left - column * step : x1 - column * step]
                plane[top - y0 : top - y0 + part.shape[0], left - x0 : left - x0 + part.shape[1]] = part
        return plane


def core_of(maps: MapsOfWindow, window: Window) -> MapsOfWindow:
    """The maps over the core of a window, from maps over its outer box; any resolution that divides it."""
    x, y = window.offset
    rows, columns = window.core.shape
    outer_rows = window.outer.shape[0]
    out = {}
    for name, plane in maps.items():
        stride = round(outer_rows / plane.shape[0])
        # Half a cell up: cells of strided convolutions are centred on multiples of their stride.
        top, left = (y + stride // 2) // stride, (x + stride // 2) // stride
        out[name] = np.ascontiguousarray(plane[top : top + rows // stride, left : left + columns // stride])
    return out
