"""Label maps: which object each pixel belongs to, drawn from finished tables a strip of tiles at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from time import perf_counter

import numpy as np

from geryon import events
from geryon.space.boxes import Box
from geryon.space.drawing import by_square, drawn
from geryon.store.rasters import write_labels
from geryon.store.rows import numbered_outlines
from geryon.store.run import RunRecord

TILE_PX = 512
"""Side of a tile of the file."""
STRIP_TILES = 4
"""Rows of tiles whose objects (not their pixels) are held at once: the table is read so many times less often."""


def undrawn(record: RunRecord) -> tuple[str, ...]:
    """The tasks with a table of objects and no label map."""
    there = {what for what, path in record.paths.items() if path.is_file()}
    return tuple(task for task in record.object_tasks if label_key(task) not in there)


def draw_labels(record: RunRecord, tell: events.Tell) -> dict[str, str]:
    """Write labels/<task>.ome.tif for every task that lacks it; return them as they stand in run.json's files."""
    assert record.folder is not None
    files = {}
    for task in undrawn(record):
        began, stage, shape = perf_counter(), f"labels {task}", shape_of(record, task)
        tell(events.Started(stage=stage, total=-(-shape[0] // (STRIP_TILES * TILE_PX)), unit="strips"))
        file, tiles = f"labels/{task}.ome.tif", label_tiles(record, task, tell)
        write_labels(record.folder / file, tiles, shape=shape, mpp=record.tasks[task].mpp, tile=TILE_PX)
        files[label_key(task)] = file
        tell(events.Finished(stage=stage, seconds=perf_counter() - began))
    return files


def label_key(task: str) -> str:
    """What a label map is called in run.json's files."""
    return f"labels/{task}"


def shape_of(record: RunRecord, task: str) -> tuple[int, int]:
    """Rows and columns of a task's label map; the last may reach over the slide's edge."""
    frame = record.frame.at(record.tasks[task].mpp)
    return int(np.ceil(frame.height - 1e-6)), int(np.ceil(frame.width - 1e-6))


def label_tiles(record: RunRecord, task: str, tell: events.Tell = events.nobody) -> Iterator[np.ndarray | None]:
    """int32 [y, x] for each tile, row by row: row number of the object in its table + 1, 0 outside; None for no object.

    A pixel belongs to the object that holds its centre, to the later row where several do.
    """
    level0, frame = record.frame, record.frame.at(record.tasks[task].mpp)
    rows, columns = shape_of(record, task)
    for top in range(0, rows, STRIP_TILES * TILE_PX):
        strip = Box(frame, 0, top, columns, min(top + STRIP_TILES * TILE_PX, rows))
        numbers, outlines = numbered_outlines(record, task, strip)
        outlines = outlines.scaled(level0.mpp_x / frame.mpp_x, level0.mpp_y / frame.mpp_y)
        held = dict(by_square(outlines, TILE_PX))
        for y, x in product(range(top, int(strip.ymax), TILE_PX), range(0, columns, TILE_PX)):
            here = held.get((y // TILE_PX, x // TILE_PX))
            box = strip.meet(Box(frame, x, y, x + TILE_PX, y + TILE_PX))
            yield None if here is None else drawn(outlines.take(here), numbers[here] + 1, box)
        tell(events.Advanced(stage=f"labels {task}"))
