"""Segment: a slide goes in; nuclei, glands, lumina and tissue classes come out."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from geryon import events
from geryon.errors import InputError, UsageError
from geryon.flows.compress import codes_by_window, write_windows
from geryon.flows.compress_options import CompressOptions
from geryon.flows.extras import Extras, complete
from geryon.flows.features import add_features, features_job
from geryon.flows.finish import Ending, write_results
from geryon.flows.measure import get_measures
from geryon.flows.pieces import packed
from geryon.flows.plan import Cell, Cutting, Plan, cutting_of, make_plan
from geryon.flows.question import Question, normalisation, question, refuse_another
from geryon.flows.reading import read_window, said_of_loss
from geryon.flows.windowed import WindowCodes
from geryon.flows.work import Look, Work, digest, lost_names, part_name
from geryon.nets.cores import usable_cores
from geryon.nets.model import Model, clipped, core_of, load_model
from geryon.nets.mosaic import Mosaic
from geryon.nets.topologies import FEATURES
from geryon.runtime.stream import Lanes, stream
from geryon.slides.normalise import get_normaliser, normalised
from geryon.slides.reader import Slide, open_slide
from geryon.slides.tissue import low_power, tissue_mask, window_mask
from geryon.space.boxes import Box
from geryon.store.parts import Parts
from geryon.store.run import RunRecord, is_whole, read_run, withdraw_run

WINDOWS_AHEAD = 4
"""Windows a lane that may come while tiles wait to be decoded, so that no lane runs dry."""
Maps = dict[str, np.ndarray]
"""{"task/map": uint8 [y, x, channel]} of one window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run may be told beside the slide, the model and the tasks."""

    mpp: float | None = None
    """µm per pixel of the slide, where the file is silent or wrong."""
    mask: Path | None = None
    """The user's own tissue mask, any scale."""
    use_mask: bool | None = None
    """Whether the built-in mask is used; None: on slides of 4 mm² and more."""
    engine: str = "auto"
    """Name of the engine; "auto" takes a GPU where there is one, "cuda:1" the second; see nets.engine.ENGINES."""
    windows: str = "default"
    """Name of the model's windows (Cerberus has "published" ones too)."""
    tile_px: int = 1024
    """Side of a tile, the piece that is decoded and kept; changes nothing in the result."""
    cutting: Cutting | None = None
    """Sizes of windows and tiles, instead of the two above."""
    labels: bool = False
    """Whether labels/<task>.ome.tif is written too: which object each pixel belongs to."""
    measures: tuple[str, ...] = ()
    """Names of further columns of the tables ("shape", "stain"; flows.measure.MEASURES)."""
    features: bool = False
    """Whether features.zarr is written too: what the network's encoder sees, a code for each cell of 64 µm."""
    normalise: str = ""
    """How the slide's stain is made like that of the training images before the network sees it: a name in
    slides.normalise.NORMALISERS, "" for not at all."""

    def __post_init__(self) -> None:
        get_measures(self.measures)
        if self.normalise:
            get_normaliser(self.normalise)

    def cutting_for(self, net: Model) -> Cutting:
        """Sizes of windows and tiles for a model."""
        return self.cutting or cutting_of(net, windows=self.windows, tile_px=self.tile_px)

    def question(self, slide: Slide, net: Model) -> Question:
        """What the results will depend on."""
        asked = question(slide, net, self.cutting_for(net), mask=self.mask, use_mask=self.use_mask)
        return {**asked, **normalisation(self.normalise)}

    def compress_options(self, net: Model) -> CompressOptions:
        """Those under which compress makes the same features."""
        return CompressOptions(
            mpp=self.mpp,
            mask=self.mask,
            use_mask=self.use_mask,
            engine=self.engine,
            windows=self.cutting_for(net).window,
            normalise=self.normalise,
        )

    @property
    def extras(self) -> Extras:
        """Labels and measures, which a finished slide can be given later."""
        return Extras(labels=self.labels, measures=self.measures)


def segment(
    path: str | Path,
    *,
    out: str | Path,
    model: str | Path | Model = "geryon-s",
    tasks: Sequence[str] | str | None = None,
    options: Options | None = None,
    tell: events.Tell = events.nobody,
) -> RunRecord:
    """Find every object of every task in one pass over a slide; return the record of the run.

    Of a finished slide nothing is made again; label maps and measures that it lacks are added without the network, and
    features by its encoder alone. An interrupted one goes on where it stopped and gives the same bytes.
    """
    options = options or Options()
    with open_slide(path, mpp=options.mpp) as slide:
        folder = Path(out) / slide.name
        net = _model(model, tasks, options)
        if is_whole(folder):
            record = read_run(folder)
            refuse_another(record, options.question(slide, net), net)
            record = complete(slide, record, options.extras, tell)
            if not options.features:
                return record
            return add_features(slide, net, record, options.compress_options(net), tell)
        return segment_slide(slide, net, folder, options=options, tell=tell)


def _model(model: str | Path | Model, tasks: Sequence[str] | str | None, options: Options) -> Model:
    if not isinstance(model, Model):
        return load_model(model, engine=options.engine, tasks=tasks, features=options.features)
    if options.features and not model.gives_features:
        raise UsageError(
            what="the model was loaded without its features",
            where=model.document.name,
            mend="load it with load_model(..., features=True)",
        )
    return model.only(tasks)


def segment_slide(slide: Slide, net: Model, folder: Path, *, options: Options, tell: events.Tell) -> RunRecord:
    """The same for an open slide and a loaded model."""
    began = perf_counter()
    for text in slide.warnings:
        tell(events.Warned(text=text))
    seen = low_power(slide)
    mask = window_mask(slide, asked=options.use_mask, given=options.mask, seen=seen)
    look = Look(seen=seen, tissue=mask if options.mask else tissue_mask(slide, seen))
    plan = make_plan(
        slide.frame, slide.grid_mpp(net.mpp), net, has_tissue=mask.touches, cutting=options.cutting_for(net)
    )
    stain = normalised(slide, look.tissue, seen, options.normalise)
    if stain.warning:
        tell(events.Warned(text=stain.warning))
    clock = {"look": perf_counter() - began}
    asked = options.question(slide, net)
    work = Work(slide=slide, net=net, plan=plan, folder=folder, question=asked, stain=stain)
    job = features_job(work, options.compress_options(net), seen) if options.features else None
    with Parts(folder, key=digest(work), tell=tell) as parts:
        withdraw_run(folder)
        codes = codes_by_window(job, parts, plan.cutting.window) if job else None
        _decode_tiles(work, parts, codes, tell)
        clock["windows"] = perf_counter() - began - clock["look"]
        if job and codes:
            write_windows(folder, job, codes)
        ending = Ending(clock=clock, extras=options.extras, features=options.features, tell=tell)
        return write_results(work, parts, look, ending)


def _decode_tiles(work: Work, parts: Parts, codes: WindowCodes | None, tell: events.Tell) -> None:
    began = perf_counter()
    slide, net, plan = work.slide, work.net, work.plan
    _forget_lost(plan, parts)
    todo = [cell for cell in plan.cells if not parts.has(part_name(cell))]
    unseen = set(codes.missing()) if codes else set()
    windows = plan.in_order(unseen.union(plan.needed(todo)))
    unreadable: dict[Cell, np.ndarray] = {}
    tell(events.Started(stage="segment", total=len(plan.kept), unit="windows", done=len(plan.kept) - len(windows)))

    def read(cell: Cell) -> tuple[np.ndarray | None, Box]:
        window = plan.window(cell)
        seen = read_window(slide, window.outer)
        if seen.fault is None:
            return work.stain(seen.image), window.outer
        # A bad place costs itself, and a window only where nothing of its core is left; kept, told and counted.
        lost = unreadable[cell] = seen.unreadable[window.core_in_outer]
        is_left_out = bool(lost.all())
        whole, in_part = lost_names(cell)
        lost_px = np.array(np.count_nonzero(lost))
        parts.keep(whole if is_left_out else in_part, {"window": {"cell": np.array(cell), "lost_px": lost_px}})
        tell(events.Warned(text=said_of_loss(seen, lost, window)))
        return None if is_left_out else work.stain(seen.image), window.outer

    def predict(batch: Sequence[tuple[np.ndarray | None, Box]]) -> Sequence[Maps | None]:
        whole = [(image, outer) for image, outer in batch if image is not None]
        found = iter(net.maps([image for image, _ in whole], [outer for _, outer in whole]) if whole else [])
        return [None if image is None else next(found) for image, _ in batch]

    def with_codes(found: Iterator[tuple[Cell, Maps | None]]) -> Iterator[tuple[Cell, Maps | None]]:
        for cell, maps in found:
            features = maps.pop(FEATURES.name, None) if maps else None
            if codes and cell in unseen:
                codes.keep_seen(cell, features, unreadable.pop(cell, None))
            yield cell, maps

    # A card has few lanes, but all cores may read and decode for it.
    lanes = Lanes(readers=usable_cores(), workers=net.engine.lanes, batch=net.engine.batch)
    # Closed here, whatever happens: a thread that still reads when the slide is closed would find its window damaged.
    with (
        closing(stream(windows, read, predict, lanes)) as maps,
        closing(decoded(net, plan, todo, with_codes(_told(maps, plan, tell)))) as tiles,
    ):
        for cell, found in tiles:
            parts.keep(part_name(cell), packed(found))
    tell(events.Finished(stage="segment", seconds=perf_counter() - began))
    _refuse_unreadable(slide, plan, parts)


def _forget_lost(plan: Plan, parts: Parts) -> None:
    """Windows that an earlier run could not read in full are tried again, and with them the tiles that look at them."""
    names = set(parts.names())
    lost = {cell for cell in plan.kept if not names.isdisjoint(lost_names(cell))}
    if not lost:
        return
    for tile, windows in plan.looked_at(plan.cells).items():
        if not lost.isdisjoint(windows):
            parts.drop(part_name(tile))
    for cell in lost:
        for name in lost_names(cell):
            parts.drop(name)


def _refuse_unreadable(slide: Slide, plan: Plan, parts: Parts) -> None:
    """A slide of which no window could be read is no slide without objects."""
    lost = [name for name, _ in map(lost_names, plan.kept) if parts.has(name)]
    if lost and len(lost) == len(plan.kept):
        for name in [*lost, *map(part_name, plan.cells)]:
            parts.drop(name)
        raise InputError(
            what=f"none of its {len(lost)} windows could be read",
            where=str(slide.path or slide.name),
            mend="copy it anew",
        )


def decoded(
    net: Model, plan: Plan, todo: Sequence[Cell], maps: Iterator[tuple[Cell, Maps | None]]
) -> Generator[tuple[Cell, dict[str, Any]], None, None]:
    """Each tile with what its tasks find in it, as soon as the windows it looks at are there.

    `maps` come in the order of the plan, None for a window that could not be read; those that no tile looks at are
    passed over. A window is let go of when the last tile that looks at it is decoded; Plan.most_windows says how many
    are held.
    """
    mosaic = Mosaic(plan.windows, net.tasks)
    looked_at = plan.looked_at(todo)
    awaited = {tile: len(windows) for tile, windows in looked_at.items()}
    lookers: dict[Cell, set[Cell]] = {}
    for tile, windows in looked_at.items():
        for window in windows:
            lookers.setdefault(window, set()).add(tile)
    under_way: deque[tuple[Cell, Future[dict[str, Any]]]] = deque()

    def finish() -> tuple[Cell, dict[str, Any]]:
        tile, future = under_way.popleft()
        found = future.result()
        for window in looked_at.pop(tile):
            lookers[window].discard(tile)
            if not lookers[window]:
                mosaic.drop(window)
        return tile, found

    at_once = max(usable_cores(), net.engine.lanes * net.engine.batch)
    most = plan.most_windows(ahead=WINDOWS_AHEAD * at_once)
    pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
    try:
        for window, found in maps:
            if found is not None and window in lookers:
                place = plan.window(window)
                mosaic.put(window, clipped(core_of(found, place), place))
            for tile in sorted(lookers.get(window, ())):
                awaited[tile] -= 1
                if not awaited[tile]:
                    under_way.append((tile, pool.submit(decode, net, plan, mosaic, tile)))
            while under_way and (len(mosaic.blocks) >= most or under_way[0][1].done()):
                yield finish()
        while under_way:
            yield finish()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode(net: Model, plan: Plan, mosaic: Mosaic, cell: Cell) -> dict[str, Any]:
    """What each task finds in a tile."""
    windows = {task.name: plan.tile(cell, task) for task in net.tasks}
    return {t.name: t.decode(mosaic.region(t, windows[t.name]), windows[t.name], t) for t in net.tasks}


def _told(
    maps: Iterator[tuple[Cell, Maps | None]], plan: Plan, tell: events.Tell
) -> Iterator[tuple[Cell, Maps | None]]:
    area_mm2 = (plan.windows.step * plan.work.mpp_x / 1000.0) ** 2
    for cell, found in maps:
        yield cell, found
        tell(events.Advanced(stage="segment", note=f"{area_mm2:.2f} mm²"))
