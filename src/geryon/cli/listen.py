"""Listeners: bars on a terminal, plain lines elsewhere, a log file, or silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

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
    """A listener for one command."""
    write = _log_writer(log)
    if quiet:
        yield Listener(_lines(write, seconds=0.0) if log else _warnings_only, write)
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield Listener(_both(bars.hear, _lines(write)), _said(write))
    else:
        yield Listener(_both(_lines(_to_stderr), _lines(write)), _said(write))


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


def _log_writer(log: Path | None) -> Callable[[str], None]:
    if log is None:
        return lambda text: None
    try:
        file = log.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise from_os_error(error, where=str(log), doing="opening the log") from error

    def write(text: str) -> None:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    return write


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
    left = (stage.total - stage.done) / rate if rate > 0 else 0.0
    text = f"{name}: {stage.done} of {stage.total} {stage.unit}, {rate:.2g} a second, {left:.0f} s left"
    return f"{text} ({note})" if note else text


@dataclass(slots=True)
class _Bars:
    progress: Progress
    ids: dict[str, TaskID] = field(default_factory=dict)

    def hear(self, event: events.Event) -> None:
        if isinstance(event, events.Warned):
            self.progress.console.print(f"warning: {event.text}", style="yellow", markup=False)
        elif isinstance(event, events.Started):
            self.ids[event.stage] = self.progress.add_task(
                event.stage, total=event.total, completed=event.done, unit=event.unit, note=""
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
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bars(progress)
