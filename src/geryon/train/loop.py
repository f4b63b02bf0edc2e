"""The loop: batches in, an averaged network out.

Read it top-down: `train` sets up, takes one step after another (step.py) and lets course.py log, validate and keep
the state. Draws, colours and dropout depend on (seed, step) alone; together with the kept weights and moments a
stopped run continues as if it had never stopped (bit by bit on one machine with one thread).

What batch norms see is a choice of the settings (`batches`, `apart`, `freeze_norms_after`); docs/training.md says
which and why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from geryon.errors import UsageError, from_os_error
from geryon.events import Finished, Started, Tell, Warned, nobody
from geryon.nets.cores import usable_cores
from geryon.train import batches, checkpoints, course, curves, processes
from geryon.train.batches import Batch, MapShape, Sample
from geryon.train.course import STAGE, Course, Validate, fraction
from geryon.train.feeding import class_weights, make_batch, make_feed
from geryon.train.learner import choose_place, set_up
from geryon.train.losses import get_loss
from geryon.train.settings import LoopSettings
from geryon.train.step import Aim, step_once


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run leaves."""

    network: nn.Module
    """Averaged weights, of the best epoch where the settings name a figure; in evaluation mode."""
    step: int
    seconds: float
    whole: bool
    """False where `stop` ended it before its schedule did; the same call goes on."""
    figures: Mapping[str, float]
    """Of the validation of these weights."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Of the best epoch, where one was chosen: "figure", "value", "step"."""


def train(
    network: nn.Module,
    samples: Sequence[Sample],
    losses: Mapping[str, str],
    settings: LoopSettings,
    *,
    out: Path,
    validate: Validate | None = None,
    tell: Tell = nobody,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Teach `network` the maps of `losses` ({task/map: name of its loss}); resumes from what lies in `out`.

    `validate` gets the averaged network in evaluation mode; `stop` is asked before each step. Of several processes
    (train.processes) all call this; the first one writes, tells, validates and is asked to stop.
    """
    first = processes.rank() == 0
    tell = tell if first else nobody
    _check(losses, settings, validate)
    _make_folder(out)
    losses = chosen_losses(losses, settings)
    shapes = batches.map_shapes(samples, tuple(losses))
    aims = make_aims(samples, losses, shapes, settings, tell)
    feed = make_feed(samples, losses, settings)
    make = partial(make_batch, settings=settings, samples=samples, shapes={m: shapes[m] for m in aims}, feed=feed)
    learner = set_up(network, settings, choose_place(settings), tuple(aims))
    progress = course.resume(learner, out, settings, tell)
    processes.wait()
    run = Course(
        learner=learner,
        aims=aims,
        settings=settings,
        out=out,
        tell=tell,
        validate=validate,
        progress=progress,
        tally=curves.Tally(since=progress.step, sources=curves.sources_of(samples, aims)),
        board=curves.open_board(out, progress.step) if settings.tensorboard and first else None,
        begun=time.monotonic() - progress.seconds,
    )
    tell(Started(stage=STAGE, total=settings.steps, unit="steps", done=progress.step))
    whole = _steps(run, make, stop)
    return _end(run, whole)


def _steps(run: Course, make: Callable[[int], Batch], stop: Callable[[], bool]) -> bool:
    """Step after step; False where `stop` ended them."""
    settings = run.settings
    for fed in _fed(make, run.progress.step, settings):
        seconds = run.seconds
        part = fraction(run.progress.step, seconds, settings)
        asked = [part, float(stop()), float(course.is_stale(run.progress, settings))]
        part, stopped, stale = processes.agreed(asked, run.learner.place.device)
        if part >= 1.0 or stopped or stale:
            return part >= 1.0 or bool(stale)
        waited = seconds - run.progress.seconds
        run.tally.add(fed, step_once(run.learner, fed, run.aims, settings, part), waited)
        run.progress = replace(run.progress, step=run.progress.step + 1, seconds=run.seconds)
        if processes.rank() == 0:
            course.after_step(run)
    return True


def _end(run: Course, whole: bool) -> Trained:
    """The last checkpoint and validation, and the weights that are the result."""
    chosen: dict[str, Any] = {}
    if processes.rank() == 0:
        course.keep(run)
        kept = run.progress
        if whole:
            course.judge(run)
        if run.progress != kept:
            course.keep(run)
        if whole and run.progress.best is not None:
            chosen = checkpoints.restore_best(run.learner.average, run.out)
            run.figures = chosen.pop("figures")
        run.tell(Finished(stage=STAGE, seconds=run.progress.seconds))
    return Trained(
        network=run.learner.average,
        step=run.progress.step,
        seconds=run.progress.seconds,
        whole=whole,
        figures=run.figures,
        chosen=chosen,
    )


def _fed(make: Callable[[int], Batch], first: int, settings: LoopSettings) -> Iterator[tuple[Batch, ...]]:
    """The batches of each step from step `first` on."""
    n = settings.accumulate
    numbers = range(first * n, settings.steps * n)
    stream = batches.ahead(make, numbers, threads=_threads(settings), depth=settings.ahead)
    return zip(*[stream] * n, strict=True)


def chosen_losses(losses: Mapping[str, str], settings: LoopSettings) -> dict[str, str]:
    """The tasks' losses, with those that the settings put in their place."""
    return {name: settings.map_losses.get(name, loss) for name, loss in losses.items()}


def make_aims(
    samples: Sequence[Sample],
    losses: Mapping[str, str],
    shapes: Mapping[str, MapShape],
    settings: LoopSettings,
    tell: Tell,
) -> dict[str, Aim]:
    """What each map that has labels and weight is taught by."""
    silent = [name for name in losses if name not in shapes]
    if silent:
        tell(Warned(text=f"no sample has labels for {', '.join(silent)}: these maps stay untrained"))
    weights = {name: settings.map_weights.get(name, 1.0) for name in losses if name in shapes}
    aims = {}
    for name in (name for name, weight in weights.items() if weight > 0):
        loss = get_loss(losses[name])
        of_class = class_weights(samples, name, settings.class_power) if loss.channels == "classes" else ()
        aims[name] = Aim(loss=loss, channels=shapes[name].channels, weight=weights[name], class_weights=of_class)
    return aims


def _check(losses: Mapping[str, str], settings: LoopSettings, validate: Validate | None) -> None:
    """Refuse what the settings say about maps and figures that there are not."""
    for where, named in (("map_weights", settings.map_weights), ("map_losses", settings.map_losses)):
        strangers = sorted(set(named) - set(losses))
        if strangers:
            raise UsageError(
                what=f"{where} name unknown maps: {', '.join(strangers)}",
                where=where,
                mend=f"choose of: {', '.join(losses)}",
            )
    if settings.best and validate is None:
        raise UsageError(
            what="the best epoch can't be told without validation", where="best", mend="set split.validation above 0"
        )
    if settings.batch < processes.count():
        raise UsageError(
            what=f"a batch of {settings.batch} can't be shared by {processes.count()} processes",
            where="batch",
            mend="raise it, or start fewer processes",
        )
    if settings.tensorboard:
        curves.check_board()


def _threads(settings: LoopSettings) -> int:
    return settings.threads if settings.threads >= 0 else min(16, usable_cores())


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, where=str(out), doing="making the folder of the run") from error
