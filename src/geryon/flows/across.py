"""From kept tiles to whole results: own, join, place; then which object holds which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np

from geryon.flows.plan import Cell, Plan
from geryon.nets.model import frame_of
from geryon.space.boxes import Frame
from geryon.space.objects import Objects, join_objects
from geryon.space.seams import Gathering, link
from geryon.store.tables import hilbert
from geryon.tasks import decoding, regions
from geryon.tasks.calibration import calibrated
from geryon.tasks.task import Task

LATTICE_PX = 0.25
"""Outlines are rounded to quarters of level0 pixels: far below what a network knows, and files a third smaller."""
CENTROIDS_A_PX = 64
"""Centroids are rounded too: sums over another tile differ in their last bits, which must not show."""
BATCH = 20_000
"""Objects that are put in order and written at once."""

RECENT = 32
"""Tiles kept in memory at the end: a stretch of the curve through a batch of dense tissue touches about 20."""

Kept = TypeVar("Kept")

Found = Callable[[Cell, Task], Any]
"""What was found in a tile for a task, in the task's frame."""


def owned(plan: Plan, task: Task, found: Found, level0: Frame, dropped: Counter[str]) -> Iterator[Objects]:
    """Bounded objects in Hilbert order over the slide, some thousands at a time.

    The order comes from all centroids, so that it does not depend on the tiles; the objects are then gathered from
    the few tiles that each stretch of the curve touches. Held for the order: some 40 bytes an object.
    """
    del dropped  # what decoding took for a nucleus is kept
    objects_of = _Recent(lambda cell: found(cell, task))
    places = [place_of(objects_of[cell], level0) for cell in plan.cells]
    ends = np.cumsum([len(each) for each in places], dtype=np.int64)
    order = in_order(places)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        tile = np.searchsorted(ends, batch, side="right")
        by_tile = np.argsort(tile, kind="stable")
        tiles, first = np.unique(tile[by_tile], return_index=True)
        sets = [
            objects_of[plan.cells[i]].take(batch[mine] - (ends[i] - len(places[i])))
            for i, mine in zip(tiles, np.split(by_tile, first[1:]), strict=True)
        ]
        objects = join_objects(sets).take(np.argsort(by_tile))
        yield calibrated(at_level0(objects, level0), task.calibration)


def joined(plan: Plan, task: Task, found: Found, level0: Frame, dropped: Counter[str]) -> Iterator[Objects]:
    """Regions made whole across tiles, in Hilbert order; those that are too small or unsure are counted and left.

    Each tile is read twice: for what links it to its neighbours, and for its regions. Held are the outlines of those
    that count.
    """
    gathering = Gathering(link((cell, found(cell, task).band) for cell in plan.cells).groups())
    sets = []
    for cell in plan.cells:
        fragments = found(cell, task)
        whole = [regions.finished(fragments, gathering.single(cell, fragments), task)]
        whole += [regions.finished_region(region, task) for region in gathering.add(cell, fragments)]
        objects, reasons = regions.wanted(join_objects(whole), task)
        dropped.update(reasons)
        if len(objects):
            sets.append(at_level0(objects, level0))
    order = in_order([place_of(objects, level0) for objects in sets])
    if len(order):
        yield calibrated(join_objects(sets).take(order), task.calibration)


class _Recent(Generic[Kept]):
    """Something by tile, the last few kept."""

    def __init__(self, read: Callable[[Cell], Kept]) -> None:
        self._read = lru_cache(maxsize=RECENT)(read)

    def __getitem__(self, cell: Cell) -> Kept:
        return self._read(cell)


def raster(plan: Plan, task: Task, found: Found) -> np.ndarray:
    """uint8 [y, x, class] over the slide, zeros where no tile was decoded."""
    frame = frame_of(task, plan.work, plan.model_mpp)
    rows, columns = int(np.ceil(frame.height - 1e-6)), int(np.ceil(frame.width - 1e-6))
    out = np.zeros((rows, columns, len(task.class_names)), np.uint8)
    for cell in plan.cells:
        core = plan.tile(cell, task).core
        x, y = round(core.xmin), round(core.ymin)
        part = calibrated(found(cell, task)[: rows - y, : columns - x], task.calibration)
        out[y : y + part.shape[0], x : x + part.shape[1]] = part
    return out


def at_level0(objects: Objects, level0: Frame) -> Objects:
    """The same in level0 pixels, on the lattice, inside the slide; areas are those of the outlines that are left.

    Points on the lattice make each term of an area exact, so it is the same in whatever order they are added.
    """
    moved = objects.to(level0, grid=LATTICE_PX)
    np.clip(moved.outlines.points, 0.0, [level0.width, level0.height], out=moved.outlines.points)
    return replace(moved, xy=_on_grid(moved.xy) / CENTROIDS_A_PX, area=decoding.areas(moved.outlines))


def _on_grid(xy_level0: np.ndarray) -> np.ndarray:
    """Centroids in steps of 1 / CENTROIDS_A_PX; the small step past a half keeps exact halves on one side."""
    return np.floor(xy_level0 * CENTROIDS_A_PX + 0.5 + 1e-6)


_PLACE = np.dtype([("curve", np.uint32), ("y", np.int32), ("x", np.int32)])
"""Place along the Hilbert curve, and the centroid in steps of its lattice."""


def place_of(objects: Objects, level0: Frame) -> np.ndarray:
    """_PLACE [n]: where these objects come in the order of their centroids along a Hilbert curve over the slide."""
    scale = np.array([objects.frame.mpp_x / level0.mpp_x, objects.frame.mpp_y / level0.mpp_y])
    steps = _on_grid(objects.xy * scale)
    extent = max(level0.width, level0.height, 1.0)
    x, y = np.floor(steps / CENTROIDS_A_PX / extent * 65535).astype(np.int64).clip(0, 65535).T
    out = np.empty(len(objects), _PLACE)
    out["curve"], out["x"], out["y"] = hilbert(x, y, 16), steps[:, 0], steps[:, 1]
    return out


def in_order(places: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [n]: the order of objects at these places, one set after the other; ties by y and x."""
    every = np.concatenate([np.zeros(0, _PLACE), *places])
    return np.lexsort((every["x"], every["y"], every["curve"]))


SEAMS: Mapping[str, Callable[[Plan, Task, Found, Frame, Counter[str]], Iterator[Objects]]] = {
    "own": owned,
    "join": joined,
}
"""How objects meet at a seam, by the task's `seam`; rasters are placed."""
