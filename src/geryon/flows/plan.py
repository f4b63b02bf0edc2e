"""What a run over one slide will do: its windows and tiles, from the slide and the question alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from geryon.errors import UsageError
from geryon.nets.model import CELL_PX, Model, frame_of, halo_px
from geryon.space.boxes import Box, Frame
from geryon.space.windows import Tiling, Window
from geryon.tasks.task import Task

Cell = tuple[int, int]
SMALLEST_TILE_PX = 256
"""Below it the halo that every tile looks at costs more than the tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """Sizes in pixels of the network's input."""

    window_px: int
    """Core of a network window."""
    halo_px: int
    """Halo of a network window."""
    tile_px: int = 1024
    """Side of a tile, the piece that is decoded and kept; changes nothing in the result."""

    @property
    def window(self) -> tuple[int, int]:
        """Core and halo of a network window."""
        return self.window_px, self.halo_px


def cutting_of(net: Model, *, windows: str = "default", tile_px: int = 1024) -> Cutting:
    """The model's windows of that name, and tiles of that side; UsageError where tiles can't be so."""
    if tile_px < SMALLEST_TILE_PX or tile_px % CELL_PX:
        raise UsageError(
            what=f"a tile of {tile_px} px can't be",
            where="--tile",
            mend=f"give a multiple of {CELL_PX} from {SMALLEST_TILE_PX} on, such as 1024",
        )
    window_px, halo = net.window_px(windows)
    return Cutting(window_px=window_px, halo_px=halo, tile_px=tile_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which windows the network sees and which tiles are decoded, in order."""

    work: Frame
    """The frame in which the network's pixels count."""
    model_mpp: float
    cutting: Cutting
    windows: Tiling
    tiles: Tiling
    kept: tuple[Cell, ...]
    """Windows with tissue, row by row."""
    skipped: int
    """Windows without."""
    cells: tuple[Cell, ...]
    """Tiles that meet a kept window, row by row."""
    look_px: int
    """How far decoding looks past a tile, in work pixels: the farthest reach of the tasks."""

    def window(self, cell: Cell) -> Window:
        """What the network sees for a window."""
        return self.windows.window(*cell, self.cutting.halo_px)

    def tile(self, cell: Cell, task: Task) -> Window:
        """What a task's decoder sees for a tile, in the task's frame."""
        frame = frame_of(task, self.work, self.model_mpp)
        core = Window(self.tiles.box(*cell), self.tiles.box(*cell)).at(frame).core
        return Window(core, core.grow(halo_px(task, frame)))

    def looked_at(self, tiles: Iterable[Cell]) -> dict[Cell, list[Cell]]:
        """Tile -> the kept windows that it looks at."""
        kept = set(self.kept)
        boxes = {tile: self.tiles.box(*tile).grow(self.look_px) for tile in tiles}
        return {tile: [w for w in self.windows.meeting(box) if w in kept] for tile, box in boxes.items()}

    def needed(self, tiles: Iterable[Cell]) -> list[Cell]:
        """The kept windows that these tiles look at, in order."""
        return self.in_order({window for windows in self.looked_at(tiles).values() for window in windows})

    def in_order(self, windows: Iterable[Cell]) -> list[Cell]:
        """Windows line by line along the shorter side of the slide."""
        is_wide = self.windows.columns > self.windows.rows
        return sorted(windows, key=lambda cell: cell[::-1] if is_wide else cell)

    def most_windows(self, ahead: int) -> int:
        """How many windows have to be held where tiles are decoded as soon as they can be, and so many come ahead.

        The first window that a tile looks at is still needed when its last one comes: all lines of windows that it
        meets but one, and a few of the last.
        """
        lines = math.ceil((self.tiles.step + 2 * self.look_px) / self.windows.step) + 1
        return (lines - 1) * min(self.windows.rows, self.windows.columns) + lines + ahead


def make_plan(
    level0: Frame, work_mpp: float, net: Model, *, has_tissue: Callable[[Box], bool], cutting: Cutting
) -> Plan:
    """The plan for a slide whose windows are read at `work_mpp`."""
    tasks, model_mpp = net.tasks, net.mpp
    work = level0.at(work_mpp)
    windows = Tiling(frame=work, step=cutting.window_px, cell=min(CELL_PX, cutting.window_px))
    tiles = Tiling(frame=work, step=cutting.tile_px, cell=CELL_PX)
    every = [(row, column) for row in range(windows.rows) for column in range(windows.columns)]
    kept = tuple(cell for cell in every if has_tissue(windows.box(*cell).meet(work.box)))
    cells = {tile for cell in kept for tile in tiles.meeting(windows.box(*cell).meet(work.box))}
    look = max((halo_px(t, frame_of(t, work, model_mpp)) * t.mpp / model_mpp for t in tasks), default=0.0)
    return Plan(
        work=work,
        model_mpp=model_mpp,
        cutting=cutting,
        windows=windows,
        tiles=tiles,
        kept=kept,
        skipped=len(every) - len(kept),
        cells=tuple(sorted(cells)),
        look_px=math.ceil(look),
    )
