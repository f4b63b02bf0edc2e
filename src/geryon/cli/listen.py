"""Listeners: bars on a terminal, plain lines elsewhere, a log file, or silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from geryon import events
from geryon.errors import from_os_error

LINE_SECONDS = 10.0
"""Away from a terminal a stage is told at most this often."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a command tells what happens, and where it says its results."""

    tell: events.Tell
    say: Callable[[str], None]


@contextmanager
def listening(*, quiet: bool, log: Path | None) -> Iterator[Listener]:
    """A listener for one command; warnings reach the person even when it is quiet."""
    with _log_writer(log) as write:
        logged = _lines(write)
        try:
            if quiet:
                yield Listener(_both(_warnings_only, logged), write)
            elif sys.stderr.isatty():
                with _bars() as bars:
                    yield Listener(_both(bars.hear, logged), _said(write))
            else:
                yield Listener(_both(_lines(_to_stderr), logged), _said(write))
        except BaseException as error:
            write(f"stopped: {str(error) or type(error).__name__}")
            raise


def _both(first: events.Tell, second: events.Tell) -> events.Tell:
    def tell(event: events.Event) -> None:
        first(event)
        second(event)

    return tell


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


def _said(write: Callable[[str], None]) -> Callable[[str], None]:
    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        write(text)

    return say


@contextmanager
def _log_writer(log: Path | None) -> Iterator[Callable[[str], None]]:
    if log is None:
        yield lambda text: None
        return
    try:
        file = log.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise from_os_error(error, where=str(log), doing="opening the log") from error
    with file:
        yield lambda text: _stamped(file, text)


def _stamped(file: TextIO, text: str) -> None:
    file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def _warnings_only(event: events.Event) -> None:
    if isinstance(event, events.Warned):
        sys.stderr.write(f"warning: {event.text}\n")


@dataclass(slots=True)
class _Stage:
    total: int
    done: int
    unit: str
    began: float
    told: float = 0.0
    first: int = 0


def _lines(write: Callable[[str], None], seconds: float = LINE_SECONDS) -> events.Tell:
    """Plain lines with rate and time left."""
    stages: dict[str, _Stage] = {}

    def hear(event: events.Event) -> None:
        now = time.monotonic()
        if isinstance(event, events.Warned):
            write(f"warning: {event.text}")
        elif isinstance(event, events.Started):
            stages[event.stage] = _Stage(event.total, event.done, event.unit, now, now, event.done)
        elif isinstance(event, events.Advanced) and event.stage in stages:
            stage = stages[event.stage]
            stage.done += event.n
            if now - stage.told >= seconds:
                stage.told = now
                write(_line(event.stage, stage, now, event.note))
        elif isinstance(event, events.Finished) and event.stage in stages:
            stage = stages.pop(event.stage)
            if event.seconds >= 1:
                write(f"{event.stage}: {stage.done} {stage.unit} in {event.seconds:.1f} s")

    return hear


def _line(name: str, stage: _Stage, now: float, note: str) -> str:
    rate = (stage.done - stage.first) / max(now - stage.began, 1e-6)
    text = f"{name}: {stage.done}"
    if stage.total:
        text += f" of {stage.total}"
    text += f" {stage.unit}, {rate:.3g} a second"
    if stage.total and rate > 0:
        text += f", {(stage.total - stage.done) / rate:.0f} s left"
    return f"{text} ({note})" if note else text


class _Rate(ProgressColumn):
    """Units a second, once there is something to divide."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g} a second" if speed else "")


@dataclass(slots=True)
class _Bars:
    progress: Progress
    ids: dict[str, TaskID] = field(default_factory=dict)

    def hear(self, event: events.Event) -> None:
        if isinstance(event, events.Warned):
            self.progress.console.print(f"warning: {event.text}", style="yellow", markup=False)
        elif isinstance(event, events.Started):
            if event.stage in self.ids:  # the next slide: one bar a stage, not one a slide
                self.progress.remove_task(self.ids[event.stage])
            self.ids[event.stage] = self.progress.add_task(
                event.stage, total=event.total or None, completed=event.done, unit=event.unit, note=""
            )
        elif isinstance(event, events.Advanced) and event.stage in self.ids:
            self.progress.update(self.ids[event.stage], advance=event.n, note=event.note)


@contextmanager
def _bars() -> Iterator[_Bars]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # rich would take stdout for its own console, stderr, too: `geryon info SLIDE > FILE` would leave the file empty.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:
        yield _Bars(progress)
