"""From kept tiles to whole results: own, join, place; then which object holds which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from geryon.flows.plan import Cell, Plan
from geryon.nets.model import frame_of
from geryon.space.boxes import Frame
from geryon.space.objects import Objects, join_objects, no_objects
from geryon.space.seams import Fragments, link, whole_regions
from geryon.store.tables import hilbert
from geryon.tasks import decoding, regions
from geryon.tasks.task import Task

LATTICE_PX = 0.25
"""Outlines are rounded to quarters of level0 pixels: far below what a network knows, and files a third smaller."""

Found = Callable[[Cell, Task], Any]
"""What was found in a tile for a task, in the task's frame."""


def owned(plan: Plan, task: Task, found: Found, level0: Frame) -> Iterator[Objects]:
    """Bounded objects tile by tile, tiles in Hilbert order and objects in Hilbert order within each."""
    for cell in in_hilbert_order(plan.cells):
        objects = at_level0(found(cell, task), level0)
        if len(objects):
            yield sorted_by_place(objects)


def joined(plan: Plan, task: Task, found: Found, level0: Frame) -> Iterator[Objects]:
    """Regions made whole across tiles, in Hilbert order."""
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
    objects = join_objects(sets) if sets else no_objects(frame, len(task.class_names))
    if len(objects):
        yield sorted_by_place(at_level0(objects, level0))


class _Recent:
    """Fragments by tile, the last few kept."""

    def __init__(self, read: Callable[[Cell], Fragments]) -> None:
        self._read = lru_cache(maxsize=64)(read)

    def __getitem__(self, cell: Cell) -> Fragments:
        return self._read(cell)


def raster(plan: Plan, task: Task, found: Found) -> np.ndarray:
    """uint8 [y, x, class] over the slide, zeros where no tile was decoded."""
    frame = frame_of(task, plan.work, plan.model_mpp)
    rows, columns = int(np.ceil(frame.height - 1e-6)), int(np.ceil(frame.width - 1e-6))
    out = np.zeros((rows, columns, len(task.class_names)), np.uint8)
    for cell in plan.cells:
        core = plan.tile(cell, task).core
        x, y = round(core.xmin), round(core.ymin)
        part = found(cell, task)[: rows - y, : columns - x]
        out[y : y + part.shape[0], x : x + part.shape[1]] = part
    return out


def at_level0(objects: Objects, level0: Frame) -> Objects:
    """The same in level0 pixels, on the lattice, inside the slide; areas are those of the outlines that are left.

    Points on the lattice make each term of an area exact, so it is the same in whatever order they are added.
    """
    moved = objects.to(level0, grid=LATTICE_PX)
    np.clip(moved.outlines.points, 0.0, [level0.width, level0.height], out=moved.outlines.points)
    return replace(moved, area=decoding.areas(moved.outlines))


def sorted_by_place(objects: Objects) -> Objects:
    """In Hilbert order of the centroids."""
    extent = max(objects.frame.width, objects.frame.height, 1.0)
    x, y = np.floor(objects.xy / extent * 65535).astype(np.int64).clip(0, 65535).T
    keys = hilbert(x, y, 16)
    return objects.take(np.lexsort((objects.xy[:, 0], objects.xy[:, 1], keys)))


def in_hilbert_order(cells: Sequence[Cell]) -> list[Cell]:
    """The tiles along a Hilbert curve."""
    if not cells:
        return []
    order = max(1, int(max(max(cell) for cell in cells)).bit_length())
    rows, columns = np.array(cells, np.int64).T
    keys = hilbert(columns, rows, order)
    return [cells[i] for i in np.argsort(keys, kind="stable")]


SEAMS: Mapping[str, Callable[[Plan, Task, Found, Frame], Iterator[Objects]]] = {"own": owned, "join": joined}
"""How objects meet at a seam, by the task's `seam`; rasters are placed."""
