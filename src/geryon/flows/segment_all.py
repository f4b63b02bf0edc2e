"""Segment many slides: one after the other, or beside each other in a process an engine, such as one a card."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter

from geryon import events, plugins
from geryon.errors import MachineError, UsageError
from geryon.flows.listed import Listed, listed
from geryon.flows.many import each, refuse_twins
from geryon.flows.segment import Options, segment
from geryon.nets.engine import CARDS, ENGINES, side_by_side
from geryon.nets.model import Model, ResearchOnly, load_model
from geryon.runtime.processes import process_each
from geryon.slides.formats import stem as name_of
from geryon.store.run import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of every slide."""

    out: Path
    model: str | Path
    tasks: tuple[str, ...] | str | None
    options: Options

    def options_for(self, slide: Listed) -> Options:
        """With what holds for that slide alone."""
        return replace(self.options, mpp=slide.mpp or self.options.mpp, mask=slide.mask or self.options.mask)


def segment_all(
    slides: Sequence[str | Path | Listed],
    *,
    out: str | Path,
    model: str | Path = "geryon-s",
    tasks: Sequence[str] | str | None = None,
    options: Options | None = None,
    tell: events.Tell = events.nobody,
) -> list[RunRecord]:
    """The records of several slides, the model loaded once a process; see flows.many for what failures do."""
    named = tasks if tasks is None or isinstance(tasks, str) else tuple(tasks)
    asked = Asked(out=Path(out), model=model, tasks=named, options=options or Options())
    each_slide = listed(slides, mask=asked.options.mask)
    engines = side_by_side(asked.options.engine)
    if len(engines) > 1:
        refuse_unknown(engines)
    if len(engines) > 1 and len(each_slide) > 1:
        return _beside(each_slide, asked, engines[: len(each_slide)], tell)
    net = load_model(model, engine=engines[0], tasks=tasks, features=asked.options.features)
    own = {slide.path: slide for slide in each_slide}

    def one(path: Path) -> RunRecord:
        return segment(path, out=out, model=net, tasks=tasks, options=asked.options_for(own[path]), tell=tell)

    return each([slide.path for slide in each_slide], one, out=asked.out, name_of=name_of, tell=tell)


def _beside(slides: Sequence[Listed], asked: Asked, engines: Sequence[str], tell: events.Tell) -> list[RunRecord]:
    """A process an engine; each takes the next slide when it is done with one."""
    paths, began = [slide.path for slide in slides], perf_counter()
    refuse_twins(paths, name_of)
    # What is wrong with the question is said once, here.
    load_model(asked.model, engine="cpu", tasks=asked.tasks, features=asked.options.features)

    def advance(future: Future[RunRecord]) -> None:
        if not future.cancelled() and not isinstance(future.exception(), BrokenProcessPool):
            tell(events.Advanced(stage="slides"))

    tell(events.Started(stage="slides", total=len(paths), unit="slides"))
    try:
        with process_each(engines, partial(_one, asked), tell) as give:
            given = {slide.path: give(slide) for slide in slides}
            for future in given.values():
                future.add_done_callback(advance)
            return each(paths, lambda path: _done(given[path], path), out=asked.out, name_of=name_of, tell=tell)
    finally:
        tell(events.Finished(stage="slides", seconds=perf_counter() - began))


def refuse_unknown(engines: Sequence[str]) -> None:
    """A process finds only its own engine unknown, and only when it has a slide: all are looked at before any starts.

    UsageError names every one that does not exist here.
    """
    faults, mends = [], []
    for name in dict.fromkeys(engines):
        try:
            _refuse_absent(name)
        except UsageError as error:
            faults.append(error.what)
            mends.append(error.mend)
    if faults:
        raise UsageError(what="; ".join(faults), where="--engine", mend=", and ".join(dict.fromkeys(mends)))


def _refuse_absent(name: str) -> None:
    kind, _, card = name.partition(":")
    if kind in CARDS:
        cards = plugins.load(CARDS[kind])()
        if f"{kind}:{card or 0}" not in cards:
            mend = f"choose one of: {', '.join(cards)}" if cards else "leave --engine out, or --engine cpu"
            raise UsageError(what=f"there is no card {kind}:{card or 0} that can be used here", mend=mend)
    elif name != "auto":
        plugins.find(ENGINES, "geryon.engines", name)


def _one(asked: Asked, engine: str, slide: Listed, tell: events.Tell) -> RunRecord:
    """In a process of its own, which has loaded the model for the slide before."""
    options = replace(asked.options_for(slide), engine=engine)
    net = _model_here(asked.model, engine, asked.tasks, asked.options.features)
    told = partial(_named, name_of(slide.path), tell)
    return segment(slide.path, out=asked.out, model=net, tasks=asked.tasks, options=options, tell=told)


def _named(name: str, tell: events.Tell, event: events.Event) -> None:
    """Of several slides at once a warning says whose it is."""
    if isinstance(event, events.Warned) and not event.text.startswith(f"{name}: "):
        event = events.Warned(text=f"{name}: {event.text}")
    tell(event)


@lru_cache(maxsize=1)
def _model_here(model: str | Path, engine: str, tasks: tuple[str, ...] | str | None, features: bool) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResearchOnly)  # the process that asks has said it
        return load_model(model, engine=engine, tasks=tasks, features=features)


def _done(future: Future[RunRecord], path: Path) -> RunRecord:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise MachineError(
            what="a process that segments slides was killed",
            where=str(path),
            mend="see whether memory ran out, and run the same command again: finished work is kept",
        ) from error
