"""Many slides: each is one piece of work, and a bad one costs only itself."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from geryon import events
from geryon.atomic import remove, whole_file
from geryon.errors import GeryonError, MachineError, SomeFailedError, UsageError, from_os_error

Result = TypeVar("Result")
TABLE = "failures.csv"


@dataclass(frozen=True, slots=True)
class Failure:
    """A slide that could not be done."""

    path: Path
    error: GeryonError


def each(
    paths: Sequence[Path],
    work: Callable[[Path], Result],
    *,
    out: Path,
    name_of: Callable[[Path], str],
    tell: events.Tell = events.nobody,
) -> list[Result]:
    """What `work` gives for each path; failures are told at once, listed in OUT/failures.csv and raised at the end.

    A single path raises its own error. When the machine gives out (a full disk, say) nothing more is tried. A fault
    of our own costs its slide too, and is told as such.
    """
    refuse_twins(paths, name_of)
    done: list[Result] = []
    failures: list[Failure] = []
    for path in paths:
        try:
            done.append(work(path))
        except MachineError:
            if failures:
                write_failures(failures, out)
            raise
        except Exception as error:
            if len(paths) == 1:
                raise
            failures.append(Failure(path, error if isinstance(error, GeryonError) else ours(error, path)))
            tell(events.Warned(text=f"failed: {failures[-1].error}"))
    if failures:
        table = write_failures(failures, out)
        rest = "the others are done" if done else "none is done"
        raise SomeFailedError(
            what=f"{len(failures)} of {len(paths)} inputs failed, {rest}",
            where=str(table),
            mend="mend these and run the same command again: finished slides are not done twice",
        )
    remove(out / TABLE)  # of an earlier run: all of it is done now
    return done


def ours(error: Exception, path: Path) -> GeryonError:
    """A fault of our own, as an error of that slide."""
    told = f"a fault of geryon's own: {type(error).__name__}: {' '.join(str(error).split())}"
    return GeryonError(what=told, where=str(path), mend="please report it")


def refuse_twins(paths: Sequence[Path], name_of: Callable[[Path], str]) -> None:
    """Two slides of one name would write to one folder: refused before anything starts."""
    twins = [name for name, n in Counter(map(name_of, paths)).items() if n > 1]
    if twins:
        first = ", ".join(str(p) for p in paths if name_of(p) == twins[0])
        raise UsageError(
            what=f"slides of the same name would share a result folder: {first}",
            mend="run them with different --out folders, or rename one",
        )


def write_failures(failures: Sequence[Failure], out: Path) -> Path:
    """The table of failures: OUT/failures.csv with path, what, mend and exit code."""
    table = out / TABLE
    try:
        out.mkdir(parents=True, exist_ok=True)
        with whole_file(table) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "what", "where", "mend", "exit_code"])
            rows.writerows([f.path, f.error.what, f.error.where, f.error.mend, f.error.exit_code] for f in failures)
    except OSError as error:
        raise from_os_error(error, where=str(table), doing="writing the table of failures") from error
    return table
