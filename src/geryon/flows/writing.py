"""Each task's file, made from the kept tiles; two at a time, for one core would idle where one is made at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np
import shapely

from geryon import events
from geryon.flows.across import SEAMS, Found, raster
from geryon.flows.work import Work
from geryon.nets.model import frame_of
from geryon.space.boxes import Frame
from geryon.space.holding import holders, polygons, sharers
from geryon.space.objects import Objects
from geryon.store.rasters import class_raster, write_class_raster
from geryon.store.run import KINDS, TaskDone
from geryon.store.tables import TableWriter, objects_schema, objects_table
from geryon.tasks.task import Task

ID_STEP = 1 << 40
"""Ids of one task begin at its number in the model times this: room for 10^12 objects each."""
AT_ONCE = 2
"""Files made at a time; what is held for each adds up."""


@dataclass(frozen=True, slots=True)
class Written:
    """The file of one task."""

    key: str
    """Its name in the record's `files`."""
    file: str
    """Its name in the folder of results."""
    done: TaskDone


@dataclass(frozen=True, slots=True)
class Holders:
    """Objects that can hold those of another task."""

    tree: shapely.STRtree
    ids: np.ndarray
    """uint64 [n]: in the order of the tree's polygons."""


def write_tasks(work: Work, found: Found, pool: ThreadPoolExecutor, tell: events.Tell) -> dict[str, Future[Written]]:
    """{task: its file, under way}.

    Holders go first, so that what lies in them can name them. A pool takes its jobs in order, so one that waits for
    its holders never keeps them from being made.
    """
    held: dict[str, Future[Holders]] = {}
    under_way: dict[str, Future[Written]] = {}
    for task in sorted(work.net.tasks, key=lambda t: bool(t.within)):
        if task.only_within and task.within not in held:
            tell(events.Warned(text=f"{task.name} are not held against {task.within}: add the task {task.within}"))
        if task.seam == "place":
            under_way[task.name] = pool.submit(_told, task, partial(_write_raster, work, task, found), tell)
        else:
            mine: Future[Holders] = Future()
            job = partial(_write_objects, work, task, found, held.get(task.within), mine)
            held[task.name] = mine
            under_way[task.name] = pool.submit(_told, task, job, tell)
            under_way[task.name].add_done_callback(partial(_pass_on, mine))
    return under_way


def _pass_on(mine: Future[Holders], job: Future[Written]) -> None:
    """A job that ends before its holders are known, wherever that is, ends those that wait for them too."""
    if not mine.done():
        mine.set_exception(CancelledError() if job.cancelled() else job.exception())


def _told(task: Task, job: Callable[[], Written], tell: events.Tell) -> Written:
    began, stage = perf_counter(), f"write {task.name}"
    tell(events.Started(stage=stage, total=1, unit="files"))
    written = job()
    tell(events.Advanced(stage=stage))
    tell(events.Finished(stage=stage, seconds=perf_counter() - began))
    return written


def _write_raster(work: Work, task: Task, found: Found) -> Written:
    frame = frame_of(task, work.plan.work, work.plan.model_mpp)
    seen = class_raster(raster(work.plan, task, found), names=task.class_names, mpp=frame.mpp_x)
    name = f"{task.name}.ome.tif"
    write_class_raster(work.folder / name, seen)
    cells = np.bincount(seen.classes.ravel(), minlength=len(task.class_names) + 1)[1:]
    counts = {c: int(n) for c, n in zip(task.class_names, cells, strict=True) if n}
    return Written(task.name, name, _done(task, frame, objects=int(cells.sum()), counts=counts, dropped={}))


def _write_objects(
    work: Work, task: Task, found: Found, of_holder: Future[Holders] | None, mine: Future[Holders]
) -> Written:
    """`mine` is given this task's objects for those that wait for them, before the last are encoded."""
    level0, names = work.slide.frame, task.class_names
    holder_name = _singular(work, task.within)
    first = (1 + [t.name for t in work.net.document.task_values()].index(task.name)) * ID_STEP
    key = f"objects/{task.name}"
    holds_others = any(t.within == task.name for t in work.net.tasks)
    shapes, counts, n = [], np.zeros(len(names), np.int64), 0
    dropped: Counter[str] = Counter()
    with TableWriter(work.folder / f"{key}.parquet", objects_schema(names, holder_name=holder_name)) as writer:
        for objects, holder in _within(work, task, found, of_holder, dropped):
            ids = np.arange(first + n, first + n + len(objects), dtype=np.uint64)
            writer.write(
                objects_table(
                    objects,
                    ids=ids,
                    class_names=names,
                    area_um2=objects.area * level0.mpp_x * level0.mpp_y,
                    holder=holder if holder_name else None,
                    holder_name=holder_name,
                )
            )
            n += len(objects)
            if names:
                counts += np.bincount(objects.p.argmax(axis=1), minlength=len(names))
            if holds_others:
                shapes.append(polygons(objects.outlines))
        every = np.concatenate(shapes) if shapes else np.array([], object)
        mine.set_result(Holders(shapely.STRtree(every), np.arange(first, first + len(every), dtype=np.uint64)))
    by_class = {c: int(k) for c, k in zip(names, counts, strict=True)}
    frame = frame_of(task, work.plan.work, work.plan.model_mpp)
    return Written(key, f"{key}.parquet", _done(task, frame, objects=n, counts=by_class, dropped=dropped))


def _within(
    work: Work, task: Task, found: Found, of_holder: Future[Holders] | None, dropped: Counter[str]
) -> Iterator[tuple[Objects, np.ndarray]]:
    """Objects at level0 in the order of the table, each with the id of what holds it, 0 for nothing."""
    for objects in SEAMS[task.seam](work.plan, task, found, work.slide.frame, dropped):
        holder = _held_by(objects, of_holder.result() if of_holder else None, by_area=task.only_within)
        if task.only_within and of_holder is not None:
            dropped[f"outside of {task.within}"] += int((holder == 0).sum())
            objects, holder = objects.take(holder > 0), holder[holder > 0]
        if len(objects):
            yield objects, holder


def _held_by(objects: Objects, by: Holders | None, *, by_area: bool) -> np.ndarray:
    if by is None or len(by.ids) == 0:
        return np.zeros(len(objects), np.uint64)
    index = sharers(objects.outlines, by.tree) if by_area else holders(objects.xy, objects.area, by.tree)
    return np.where(index >= 0, by.ids[index], np.uint64(0))


def _singular(work: Work, task_name: str) -> str:
    """What one object of a task of the model is called, asked for or not; "" where the model has no such task."""
    return next((t.singular for t in work.net.document.task_values() if t.name == task_name), "")


def _done(task: Task, frame: Frame, *, objects: int, counts: Mapping[str, int], dropped: Mapping[str, int]) -> TaskDone:
    return TaskDone(
        kind=KINDS[task.seam],
        mpp=frame.mpp_x,
        classes=task.class_names,
        colours=task.colours,
        within=task.within,
        objects=objects,
        counts=counts,
        dropped={reason: n for reason, n in dropped.items() if n},
    )
