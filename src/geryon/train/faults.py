"""What is wrong with a training before it starts: gathered from all sources, told at once, one line each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from geryon.errors import GeryonError, InputError, UsageError

MOST_LINES = 20
"""Of one source: a folder of the wrong kind has thousands of the same fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that must be mended before training can start."""

    source: str
    """Name of the source, or the place in the recipe."""
    what: str
    where: str = ""
    """The file, below the source's root."""
    mend: str = ""
    is_input: bool = True
    """A file can't be used (exit code 3); False: the recipe is wrong (2)."""


def of_error(error: GeryonError, source: str) -> Fault:
    """The fault that an error tells."""
    is_input = not isinstance(error, UsageError)
    return Fault(source=source, where=error.where, what=error.what, mend=error.mend, is_input=is_input)


def told(faults: Iterable[Fault]) -> list[str]:
    """One line a fault; files of a source that share one are told by the first of them and their number."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for fault in faults:
        alike.setdefault((fault.source, fault.what, fault.mend), []).append(fault.where)
    lines: list[str] = []
    counts: dict[str, int] = {}
    for (source, what, mend), files in alike.items():
        counts[source] = counts.get(source, 0) + 1
        if counts[source] <= MOST_LINES:
            more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
            text = ": ".join(filter(None, [source, files[0] + more if files[0] else "", what]))
            lines.append(" ".join((f"{text}; {mend}" if mend else text).split()))
    return lines + [f"{s}: {n - MOST_LINES} more faults" for s, n in counts.items() if n > MOST_LINES]


def refuse(lines: Sequence[str], *, where: str, is_input: bool) -> GeryonError:
    """The error that tells all these lines, with the exit code of its kind."""
    kind = InputError if is_input else UsageError
    count = f"{len(lines)} fault{'s' if len(lines) > 1 else ''}"
    return kind(what="\n  ".join([count, *lines]), where=where, mend="" if is_input else SCHEMA)


SCHEMA = "\nsee geryon fit --show-schema"


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" for a misspelt name, "" where nothing is near.

    >>> nearest("shaer", ["share", "name"])
    '; did you mean share?'
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
