"""The end of a segment run: finished tiles become the files of the contract, run.json last."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import shapely

from geryon import __version__, events
from geryon.flows.across import SEAMS, Found, raster
from geryon.flows.extras import Extras, holding, with_extras
from geryon.flows.pieces import unpacked
from geryon.flows.plan import Cell, Plan
from geryon.flows.question import Question
from geryon.nets.model import Model, frame_of
from geryon.slides.normalise import Normalised
from geryon.slides.quality import quality
from geryon.slides.reader import Slide
from geryon.slides.tissue import LowPower, TissueMask
from geryon.space.boxes import Frame
from geryon.space.holding import holders, polygons, sharers
from geryon.space.objects import Objects
from geryon.store.parts import Parts
from geryon.store.rasters import class_raster, write_class_raster, write_quality
from geryon.store.run import KINDS, ModelUsed, RunRecord, TaskDone, write_run
from geryon.store.tables import TableWriter, objects_schema, objects_table
from geryon.tasks.task import Task

ID_STEP = 1 << 40
"""Ids of one task begin at its number in the model times this: room for 10^12 objects each."""
IN_PART = "in-part-"
"""Before the name of a window of which some could be read."""
PARTS_FORMAT = 2
"""Raised when the content of kept tiles changes its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of the slide at low power."""

    seen: LowPower
    tissue: TissueMask


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One run's slide, model, plan and the folder of its results."""

    slide: Slide
    net: Model
    plan: Plan
    folder: Path
    question: Question
    stain: Normalised = Normalised()
    """What becomes of the pixels before the network sees them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What the end of a run needs beside the work: seconds so far, what else was asked, and who listens."""

    clock: Mapping[str, float]
    extras: Extras
    tell: events.Tell


def digest(work: Work) -> str:
    """What must be equal for finished tiles to be taken over, as a SHA-256."""
    net, plan = work.net, work.plan
    settings = {
        "format": PARTS_FORMAT,
        "version": __version__,
        "question": dict(work.question),
        "tasks": [t.name for t in net.tasks],
        "engine": [net.engine.name, net.engine.precision],
        "work_mpp": plan.work.mpp_x,
        "cutting": asdict(plan.cutting),
        "kept": [list(cell) for cell in plan.kept],
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def write_results(work: Work, parts: Parts, look: Look, ending: Ending) -> RunRecord:
    """All files of the slide's folder; the parts are removed when run.json stands."""
    began = perf_counter()
    tasks, files = _write_tasks(work, parts, ending.tell)
    seen = quality(work.slide, look.tissue, look.seen)
    write_quality(work.folder / "quality.ome.tif", seen.raster, seen.mpp)
    files["quality"] = "quality.ome.tif"
    seconds = {**ending.clock, "write": perf_counter() - began}
    kept = parts.names()
    lost = Lost(
        windows=sum(name.startswith("unreadable-") for name in kept),
        in_part=sum(name.startswith(IN_PART) for name in kept),
    )
    record = replace(_record(work, look, tasks, files, lost), quality=dict(seen.shares), seconds=seconds)
    record = with_extras(work.slide, record, ending.extras, holding(parts, ending.tell))
    record = write_run(work.folder, replace(record, peak_memory_bytes=peak_memory_bytes()))
    parts.finish()
    return record


def _write_tasks(work: Work, parts: Parts, tell: events.Tell) -> tuple[dict[str, TaskDone], dict[str, str]]:
    """Holders first, so that what lies in them can name them."""
    done: dict[str, TaskDone] = {}
    files: dict[str, str] = {}
    held: dict[str, tuple[shapely.STRtree, np.ndarray]] = {}
    found = _reader(work, parts)
    for task in sorted(work.net.tasks, key=lambda t: bool(t.within)):
        began = perf_counter()
        tell(events.Started(stage=f"write {task.name}", total=1, unit="files"))
        if task.seam == "place":
            files[task.name], done[task.name] = _write_raster(work, task, found)
        else:
            if task.only_within and task.within not in held:
                tell(events.Warned(text=f"{task.name} are not held against {task.within}: add the task {task.within}"))
            files[f"objects/{task.name}"], done[task.name] = _write_objects(work, task, found, held)
        tell(events.Advanced(stage=f"write {task.name}"))
        tell(events.Finished(stage=f"write {task.name}", seconds=perf_counter() - began))
    return {t.name: done[t.name] for t in work.net.tasks}, files


def _reader(work: Work, parts: Parts) -> Found:
    @lru_cache(maxsize=8)
    def arrays(cell: Cell) -> Mapping[str, np.ndarray]:
        return parts.read(part_name(cell))

    def found(cell: Cell, task: Task) -> Any:
        return unpacked(arrays(cell), task, frame_of(task, work.plan.work, work.plan.model_mpp))

    return found


def part_name(cell: Cell) -> str:
    """The name under which a finished tile is kept."""
    return f"tile-{cell[0]:05d}-{cell[1]:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """How many windows could not be read at all, or not in full."""

    windows: int
    in_part: int


def unreadable_name(cell: Cell) -> str:
    """The name under which it is kept that a window could not be read."""
    return f"unreadable-{cell[0]:05d}-{cell[1]:05d}"


def _write_raster(work: Work, task: Task, found: Found) -> tuple[str, TaskDone]:
    frame = frame_of(task, work.plan.work, work.plan.model_mpp)
    seen = class_raster(raster(work.plan, task, found), names=task.class_names, mpp=frame.mpp_x)
    name = f"{task.name}.ome.tif"
    write_class_raster(work.folder / name, seen)
    cells = np.bincount(seen.classes.ravel(), minlength=len(task.class_names) + 1)[1:]
    counts = {c: int(n) for c, n in zip(task.class_names, cells, strict=True) if n}
    return name, _done(task, frame, objects=int(cells.sum()), counts=counts, dropped={})


def _write_objects(
    work: Work, task: Task, found: Found, held: dict[str, tuple[shapely.STRtree, np.ndarray]]
) -> tuple[str, TaskDone]:
    level0 = work.slide.frame
    names = task.class_names
    of_holder = held.get(task.within)
    holder_name = _singular(work, task.within)
    first = (1 + [t.name for t in work.net.document.task_values()].index(task.name)) * ID_STEP
    schema = objects_schema(names, holder_name=holder_name)
    path = work.folder / "objects" / f"{task.name}.parquet"
    holds_others = any(t.within == task.name for t in work.net.tasks)
    shapes, counts, n = [], np.zeros(len(names), np.int64), 0
    dropped: Counter[str] = Counter()
    with TableWriter(path, schema) as writer:
        for objects in SEAMS[task.seam](work.plan, task, found, level0, dropped):
            holder = _held_by(objects, of_holder, by_area=task.only_within)
            if task.only_within and of_holder is not None:
                dropped[f"outside of {task.within}"] += int((holder == 0).sum())
                objects, holder = objects.take(holder > 0), holder[holder > 0]
            if len(objects) == 0:
                continue
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
    if holds_others:
        every = np.concatenate(shapes) if shapes else np.array([], object)
        held[task.name] = shapely.STRtree(every), np.arange(first, first + n, dtype=np.uint64)
    by_class = {c: int(k) for c, k in zip(names, counts, strict=True)}
    frame = frame_of(task, work.plan.work, work.plan.model_mpp)
    return f"objects/{task.name}.parquet", _done(task, frame, objects=n, counts=by_class, dropped=dropped)


def _held_by(objects: Objects, of_holder: tuple[shapely.STRtree, np.ndarray] | None, *, by_area: bool) -> np.ndarray:
    tree, ids = of_holder or (None, ())
    if tree is None or len(ids) == 0:
        return np.zeros(len(objects), np.uint64)
    index = sharers(objects.outlines, tree) if by_area else holders(objects.xy, objects.area, tree)
    return np.where(index >= 0, ids[index], np.uint64(0))


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


def _record(work: Work, look: Look, tasks: dict[str, TaskDone], files: dict[str, str], lost: Lost) -> RunRecord:
    slide, net, plan, kept = work.slide, work.net, work.plan, len(work.plan.kept)
    windows = {"planned": kept + plan.skipped, "done": kept - lost.windows, "no tissue": plan.skipped}
    left_out = [f"{lost.windows} windows could not be read and were left out"] if lost.windows else []
    left_out += [f"places in {lost.in_part} windows could not be read and count as glass"] if lost.in_part else []
    left_out += [work.stain.warning] if work.stain.warning else []
    width, height = slide.size
    return RunRecord(
        version=__version__,
        command=tuple(sys.argv),
        model=ModelUsed(name=net.document.name, sha256=net.sha256, licence=net.document.use),
        slide=slide.name,
        size_level0=(width, height),
        mpp=(slide.frame.mpp_x, slide.frame.mpp_y),
        mpp_source=slide.mpp_source,
        question=work.question,
        stain=work.stain.record,
        tasks=tasks,
        files=files,
        origin_level0=slide.origin_level0,
        reader=slide.reader,
        engine=f"{net.engine.name} {net.engine.precision}",
        tissue_mm2=float(look.tissue.area_mm2),
        windows=windows | ({"unreadable": lost.windows} if lost.windows else {}),
        warnings=(*slide.warnings, *left_out),
        folder=work.folder,
    )


def peak_memory_bytes() -> int:
    """The most memory this process has held, its children's most added."""
    unit = 1 if sys.platform == "darwin" else 1024
    usages = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return unit * sum(usages)
