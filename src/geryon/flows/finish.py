"""The end of a segment run: finished tiles become the files of the contract, run.json last."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from time import perf_counter
from typing import Any

from geryon import __version__, events
from geryon.errors import MachineError
from geryon.flows.across import Found
from geryon.flows.extras import Extras, holding, with_extras
from geryon.flows.pieces import unpacked
from geryon.flows.plan import Cell
from geryon.flows.work import IN_PART, UNREADABLE, Look, Work, part_name
from geryon.flows.writing import AT_ONCE, write_tasks
from geryon.nets.model import frame_of
from geryon.slides.quality import quality
from geryon.store.features import NAME
from geryon.store.parts import Parts
from geryon.store.rasters import write_quality
from geryon.store.run import ModelUsed, RunRecord, TaskDone, write_run
from geryon.tasks.task import Task

QUALITY = "quality.ome.tif"
FEATURES = "features"
"""What the volume of codes is called in run.json's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What the end of a run needs beside the work: seconds so far, what else was asked, and who listens."""

    clock: Mapping[str, float]
    extras: Extras
    features: bool = False
    """Whether features.zarr stands beside the tables."""
    tell: events.Tell


def write_results(work: Work, parts: Parts, look: Look, ending: Ending) -> RunRecord:
    """All files of the slide's folder; the parts are removed when run.json stands."""
    began, is_over = perf_counter(), Event()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="write")
    try:
        files_of_tasks = write_tasks(work, _reader(work, parts, is_over), pool, ending.tell)
        seen = pool.submit(_write_quality, work, look)
        written = {name: file.result() for name, file in files_of_tasks.items()}
        shares = seen.result()
    finally:
        is_over.set()
        pool.shutdown(wait=True, cancel_futures=True)
    files = {w.key: w.file for w in written.values()} | {"quality": QUALITY}
    files |= {FEATURES: NAME} if ending.features else {}
    seconds = {**ending.clock, "write": perf_counter() - began}
    kept = parts.names()
    lost = Lost(
        windows=sum(name.startswith(UNREADABLE) for name in kept),
        in_part=sum(name.startswith(IN_PART) for name in kept),
    )
    tasks = {task.name: written[task.name].done for task in work.net.tasks}
    record = replace(_record(work, look, tasks, files, lost), quality=shares, seconds=seconds)
    record = with_extras(work.slide, record, ending.extras, holding(parts, ending.tell))
    record = write_run(work.folder, replace(record, peak_memory_bytes=peak_memory_bytes()))
    parts.finish()
    return record


def _write_quality(work: Work, look: Look) -> dict[str, float]:
    """Shares of the tissue, by what spoils it."""
    seen = quality(work.slide, look.tissue, look.seen)
    write_quality(work.folder / QUALITY, seen.raster, seen.mpp)
    return dict(seen.shares)


def _reader(work: Work, parts: Parts, is_over: Event) -> Found:
    """Reads kept tiles until it is over: a writer goes no further than its next tile when another has failed."""

    def found(cell: Cell, task: Task) -> Any:
        if is_over.is_set():
            raise CancelledError
        frame = frame_of(task, work.plan.work, work.plan.model_mpp)
        try:
            arrays = parts.read(part_name(cell), task.name)
        except KeyError as error:
            raise MachineError(
                what="a finished part was damaged", where=str(work.folder), mend="run the same command again"
            ) from error
        return unpacked(arrays, task, frame)

    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """How many windows could not be read at all, or not in full."""

    windows: int
    in_part: int


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
    """The most memory this process has held, its children's most added; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    usages = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return unit * sum(usages)
