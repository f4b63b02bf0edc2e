"""Many slides: each is one piece of work, and a bad one costs only itself."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from geryon import events
from geryon.errors import GeryonError, MachineError, SomeFailedError, UsageError, from_os_error

Result = TypeVar("Result")


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

    A single path raises its own error. When the machine gives out (a full disk, say) nothing more is tried.
    """
    refuse_twins(paths, name_of)
    done: list[Result] = []
    failures: list[Failure] = []
    for path in paths:
        try:
            done.append(work(path))
        except MachineError:
            raise
        except GeryonError as error:
            if len(paths) == 1:
                raise
            failures.append(Failure(path, error))
            tell(events.Warned(text=f"failed: {error}"))
    if failures:
        table = write_failures(failures, out)
        raise SomeFailedError(
            what=f"{len(failures)} of {len(paths)} inputs failed, the others are done",
            where=str(table),
            mend="mend these and run the same command again: finished slides are not done twice",
        )
    return done


def refuse_twins(paths: Sequence[Path], name_of: Callable[[Path], str]) -> None:
    """Two slides of one name would write to one folder: refused before anything starts."""
    twins = [name for name, n in Counter(map(name_of, paths)).items() if n > 1]
    if twins:
        first = ", ".join(str(p) for p in paths if name_of(p) == twins[0])
        raise UsageError(
            what=f"{len(twins)} result folders would be shared by slides of the same name, the first by {first}",
            mend="run them with different --out folders, or rename one",
        )


def write_failures(failures: Sequence[Failure], out: Path) -> Path:
    """The table of failures: OUT/failures.csv with path, what, mend and exit code."""
    table = out / "failures.csv"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "what", "where", "mend", "exit_code"])
            rows.writerows([f.path, f.error.what, f.error.where, f.error.mend, f.error.exit_code] for f in failures)
    except OSError as error:
        raise from_os_error(error, where=str(table), doing="writing the table of failures") from error
    return table
