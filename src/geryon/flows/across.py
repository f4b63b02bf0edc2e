"""From kept tiles to whole results: own, join, place; then which object holds which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np

from geryon.flows.plan import Cell, Plan
from geryon.nets.model import frame_of
from geryon.space.boxes import Frame
from geryon.space.objects import Objects, join_objects, no_objects
from geryon.space.seams import link, whole_regions
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

Kept = TypeVar("Kept")

Found = Callable[[Cell, Task], Any]
"""What was found in a tile for a task, in the task's frame."""


def owned(plan: Plan, task: Task, found: Found, level0: Frame, dropped: Counter[str]) -> Iterator[Objects]:
    """Bounded objects in Hilbert order over the slide, some thousands at a time.

    The order comes from all centroids (16 bytes an object), so that it does not depend on the tiles; the objects
    are then gathered from the few tiles that each stretch of the curve touches.
    """
    del dropped  # what decoding took for a nucleus is kept
    objects_of = _Recent(lambda cell: at_level0(found(cell, task), level0))
    xy = [objects_of[cell].xy for cell in plan.cells]
    tile = np.repeat(np.arange(len(xy)), [len(each) for each in xy])
    row = np.concatenate([np.arange(len(each)) for each in xy]) if xy else np.zeros(0, np.int64)
    order = by_place(np.concatenate(xy), level0) if xy else np.zeros(0, np.int64)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        batch_tiles = np.unique(tile[batch])
        sets = [objects_of[plan.cells[i]].take(row[batch[tile[batch] == i]]) for i in batch_tiles]
        taken = np.concatenate([np.flatnonzero(tile[batch] == i) for i in batch_tiles])
        yield calibrated(join_objects(sets).take(np.argsort(taken)), task.calibration)


def joined(plan: Plan, task: Task, found: Found, level0: Frame, dropped: Counter[str]) -> Iterator[Objects]:
    """Regions made whole across tiles, in Hilbert order; those that are too small or unsure are counted and left."""
    fragments_of = _Recent(lambda cell: found(cell, task))
    links = link((cell, fragments_of[cell].band) for cell in plan.cells)
    groups = links.groups()
    partial = {part for parts in groups.values() for part in parts}
    frame = frame_of(task, plan.work, plan.model_mpp)
    sets = []
    for cell in plan.cells:
        fragments = fragments_of[cell]
        single = np.array([(cell, n + 1) not in partial for n in range(len(fragments.place))], bool)
        sets.append(regions.finished(fragments, single, task))
    sets += [regions.finished_region(region, task) for region in whole_regions(fragments_of, groups.values())]
    objects, reasons = regions.wanted(join_objects(sets) if sets else no_objects(frame, len(task.class_names)), task)
    dropped.update(reasons)
    if len(objects):
        objects = at_level0(objects, level0)
        yield calibrated(objects.take(by_place(objects.xy, level0)), task.calibration)


class _Recent(Generic[Kept]):
    """Something by tile, the last few kept."""

    def __init__(self, read: Callable[[Cell], Kept]) -> None:
        self._read = lru_cache(maxsize=64)(read)

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
    # The small step past a half keeps exact halves, which are common, on one side.
    xy = np.floor(moved.xy * CENTROIDS_A_PX + 0.5 + 1e-6) / CENTROIDS_A_PX
    return replace(moved, xy=xy, area=decoding.areas(moved.outlines))


def by_place(xy_level0: np.ndarray, level0: Frame) -> np.ndarray:
    """int64 [n]: the order of these centroids along a Hilbert curve over the slide, ties by y and x."""
    extent = max(level0.width, level0.height, 1.0)
    x, y = np.floor(xy_level0 / extent * 65535).astype(np.int64).clip(0, 65535).T
    return np.lexsort((xy_level0[:, 0], xy_level0[:, 1], hilbert(x, y, 16)))


SEAMS: Mapping[str, Callable[[Plan, Task, Found, Frame, Counter[str]], Iterator[Objects]]] = {
    "own": owned,
    "join": joined,
}
"""How objects meet at a seam, by the task's `seam`; rasters are placed."""
