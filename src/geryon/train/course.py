"""What goes on beside learning: the log, the end of an epoch (validation, the best so far, a checkpoint), resuming.

Only the first of several processes logs, validates and writes; all of them resume.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from torch import nn

from geryon.errors import InputError
from geryon.events import Advanced, Tell, Warned
from geryon.train import checkpoints, curves, processes
from geryon.train.checkpoints import Progress
from geryon.train.curves import Board, Tally
from geryon.train.learner import Learner
from geryon.train.settings import LoopSettings
from geryon.train.step import Aim, rate

STAGE = "train"
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(slots=True, kw_only=True)
class Course:
    """Where a run stands, and where it says so."""

    learner: Learner
    aims: Mapping[str, Aim]
    settings: LoopSettings
    out: Path
    tell: Tell
    validate: Validate | None
    progress: Progress
    tally: Tally
    board: Board | None = None
    begun: float
    """On the monotonic clock, as if the run had never stopped."""
    kept_at: float = field(default_factory=time.monotonic)
    validated: int = -1
    """The step of the last validation."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of that validation."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


def fraction(step: int, seconds: float, settings: LoopSettings) -> float:
    """How much of the run is over, by steps or by the clock, whichever is further; 0..1."""
    by_clock = seconds / (60.0 * settings.minutes) if settings.minutes else 0.0
    return min(1.0, max(step / settings.steps, by_clock))


def is_stale(progress: Progress, settings: LoopSettings) -> bool:
    """True where as many epochs as the settings have patience for brought nothing better."""
    if not settings.patience or progress.best is None:
        return False
    return progress.step - progress.best_step >= settings.patience * settings.epoch_steps


def resume(learner: Learner, out: Path, settings: LoopSettings, tell: Tell) -> Progress:
    """The learner as the last checkpoint left it, and where that was; rows of later steps are dropped."""
    progress = checkpoints.restore(learner, out)
    if processes.rank() == 0:
        for name in (curves.LOG, curves.VALIDATION):
            curves.rewind(out / name, progress.step)
    digest = _digest(settings)
    if progress.step and progress.settings != digest:
        tell(Warned(text=f"the settings changed at step {progress.step}: the result is not that of either alone"))
    return replace(progress, settings=digest)


def after_step(course: Course) -> None:
    """Log, validate and keep what is due."""
    settings, step = course.settings, course.progress.step
    if step % settings.log_steps == 0:
        _log(course)
    if settings.epoch_steps and step % settings.epoch_steps == 0:
        judge(course)
        keep(course)
    elif time.monotonic() - course.kept_at >= 60.0 * settings.keep_minutes:
        keep(course)


def keep(course: Course) -> None:
    """Write a checkpoint."""
    checkpoints.keep(course.learner, course.progress, course.out)
    course.kept_at = time.monotonic()


def judge(course: Course) -> None:
    """Validate the averaged network, and keep it where it is the best so far."""
    step = course.progress.step
    if course.validate is None or course.validated == step:
        return
    course.figures = dict(course.validate(course.learner.average.eval()))
    course.validated = step
    curves.rewind(course.out / curves.VALIDATION, step - 1)
    for name, value in course.figures.items():
        curves.append(course.out / curves.VALIDATION, {"step": step, "figure": name, "value": curves.told(value)})
    if course.board:
        course.board(step, {f"validation/{name}": value for name, value in course.figures.items()})
    if course.settings.best:
        _choose(course)


def _choose(course: Course) -> None:
    name, progress = course.settings.best, course.progress
    if name not in course.figures:
        raise InputError(
            what=f"the validation has no figure {name!r}",
            where="train.best",
            mend=f"choose one of: {', '.join(course.figures)}",
        )
    value = course.figures[name]
    if not math.isfinite(value) or (progress.best is not None and not _is_better(name, value, progress.best)):
        return
    course.progress = replace(progress, best=value, best_step=progress.step)
    facts = {"figure": name, "value": value, "step": progress.step, "figures": dict(course.figures)}
    checkpoints.keep_best(course.learner.average, facts, course.out)


def _is_better(name: str, value: float, before: float) -> bool:
    """A loss is better where it is lower, all else where it is higher."""
    return value < before if "loss" in name else value > before


def _log(course: Course) -> None:
    settings, progress, tally = course.settings, course.progress, course.tally
    seconds = max(time.monotonic() - tally.begun, 1e-9)
    part = fraction(progress.step, progress.seconds, settings)
    crops = (progress.step - tally.since) * settings.batch * settings.accumulate
    figures = {
        "seconds": progress.seconds,
        "lr": rate(progress.step, part, settings),
        "crops_per_second": crops / seconds,
        "waiting": tally.waited / seconds,
        **tally.figures(course.aims),
        **{f"{name} weight": math.exp(-s.item()) for name, s in course.learner.balance.items()},
    }
    told = {name: curves.told(value) for name, value in figures.items()}
    curves.append(course.out / curves.LOG, {"step": progress.step, **told})
    if course.board:
        course.board(progress.step, figures)
    left = f", {progress.seconds * (1.0 - part) / part / 60.0:.0f} min left" if settings.minutes and part else ""
    course.tell(Advanced(stage=STAGE, n=progress.step - tally.since, note=f"loss {told['total']}{left}"))
    course.tally = Tally(since=progress.step, sources=tally.sources)


def _digest(settings: LoopSettings) -> str:
    idle = ("minutes", "threads", "ahead", "keep_minutes", "log_steps", "device", "tensorboard")
    told = {name: value for name, value in asdict(settings).items() if name not in idle}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
