"""Classes of objects whose places are given, not found: what a network's class map says in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geryon.space import units
from geryon.space.windows import Window
from geryon.tasks import decoding
from geryon.tasks.runs import runs_of, sums
from geryon.tasks.task import CLASS_LOSS, Labelled, Task

DISC_UM = 3.0
"""A nucleus given by its point is this disc: the radius of a lymphocyte, the smallest common kind (6 to 7 µm across),
so that of round nuclei nothing but themselves is looked at. Of spindle-shaped ones it holds some surroundings too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMap:
    """What a network says of the class at each place of an image, whether or not anything was found there."""

    p: np.ndarray
    """uint8 [y, x, leaf], before calibration; its first cell begins at the image's top left corner."""
    cell_px: float
    """Side of a cell in pixels of the image."""


def class_map_of(maps: Mapping[str, np.ndarray], window: Window, task: Task, mpp: float) -> ClassMap | None:
    """The class map of a whole image of `mpp` µm per pixel, from maps over the outer box of a window that holds it.

    None where a task has no classes of objects, or no map with a channel for each of them.
    """
    own = next((m for m in task.maps if m.loss == CLASS_LOSS), None)
    if own is None or task.seam == "place":
        return None
    x, y = (offset // own.coarse for offset in window.offset)
    frame = window.frame
    rows, columns = (int(np.ceil(side / own.coarse - 1e-6)) for side in (frame.height, frame.width))
    part = maps[own.name][y : y + rows, x : x + columns]
    return ClassMap(p=np.ascontiguousarray(part), cell_px=frame.mpp_x * own.coarse / mpp)


def given_classes(
    said: ClassMap, labelled: Labelled, task: Task, shape: tuple[int, int], mpp: float
) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Of the true objects whose class is known and in the task's tree: p (uint8 [object, leaf]) and the names.

    `shape` and `mpp` are the image's. None where a label names no class, or gives neither outlines nor points.
    """
    assert task.classes is not None, "only tasks with classes have a class map"
    if labelled.points is not None:
        keep = [i for i, name in enumerate(labelled.point_classes) if task.classes.below(name)]
        grid = shape if labelled.known is None else labelled.known.shape
        at = labelled.points[keep] * [shape[1] / grid[1], shape[0] / grid[0]]
        names = tuple(labelled.point_classes[i] for i in keep)
        return (at_points(said, at, units.px(DISC_UM, mpp)), names) if any(labelled.point_classes) else None
    if labelled.objects is None or not labelled.classes:
        return None
    there = np.unique(labelled.objects).tolist()
    ids = [i for i in there if i > 0 and task.classes.below(labelled.classes.get(i, ""))]
    number = np.zeros(there[-1] + 1, np.int32)
    number[ids] = np.arange(1, len(ids) + 1)
    return in_outlines(said, number[labelled.objects], shape), tuple(labelled.classes[i] for i in ids)


def in_outlines(said: ClassMap, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """uint8 [object, leaf]: the mean over each of the labels 1..n, as objects that are found have it.

    `labels` is int32 [y, x] over the whole image of that shape, on a grid of its own; no number is left out.
    """
    y, x = (
        np.minimum((np.arange(n) + 0.5) * (of / n) / said.cell_px, cells - 1).astype(int)
        for n, of, cells in zip(labels.shape, shape, said.p.shape, strict=False)
    )
    place, total = sums(runs_of(labels), int(labels.max(initial=0)), np.ascontiguousarray(said.p[y][:, x]), 1)
    return decoding.mean_u8(total, place[:, :1])


def at_points(said: ClassMap, xy: np.ndarray, radius_px: float) -> np.ndarray:
    """uint8 [point, leaf]: the mean of the cells whose centre lies within the radius, and of the point's own cell.

    `xy` is float64 [point, 2], pixels of the image; of a disc that reaches past the image the part inside counts.
    """
    last = np.array(said.p.shape[1::-1]) - 1
    centre, radius = xy[:, None] / said.cell_px, radius_px / said.cell_px
    own = np.clip(np.floor(centre).astype(int), 0, last)
    reach = int(np.ceil(radius))
    cells = own + np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    inside = ((cells >= 0) & (cells <= last)).all(axis=2)
    counts = inside & ((((cells + 0.5 - centre) ** 2).sum(axis=2) <= radius**2) | (cells == own).all(axis=2))
    column, row = np.clip(cells, 0, last).transpose(2, 0, 1)
    total = np.where(counts[..., None], said.p[row, column], np.uint8(0)).sum(axis=1, dtype=np.int64)
    return decoding.mean_u8(total, counts.sum(axis=1, keepdims=True))
