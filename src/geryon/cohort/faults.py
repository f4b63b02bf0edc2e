"""Everything that is wrong with a table, gathered so that it is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from geryon.errors import GeryonError, InputError, UsageError
from geryon.train.faults import nearest

MOST_LINES = 30


class Faults:
    """Sentences about one table: about what was asked of it, and about what it holds."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._asked: list[str] = []
        self._found: list[str] = []

    def asked(self, sentence: str) -> None:
        """A fault of the command line."""
        self._asked.append(sentence)

    def found(self, sentence: str) -> None:
        """A fault of the table or its slides."""
        self._found.append(sentence)

    def column(self, name: str, columns: Iterable[str]) -> None:
        """A column that is not there."""
        there = list(columns)
        self.asked(f"there is no column {name!r} (there are: {', '.join(there)}){nearest(name, there)}")

    def error(self) -> GeryonError:
        """The one error that tells them all: of input where the table has a fault, else of usage."""
        every = [" ".join(line.split()) for line in (*self._asked, *self._found)]
        lines = every[:MOST_LINES] + ([f"{len(every) - MOST_LINES} more"] if len(every) > MOST_LINES else [])
        kind = InputError if self._found else UsageError
        what = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(every)} faults", *lines])
        return kind(what=what, where=self.where)

    def end(self) -> None:
        """Raise the error where there is a fault."""
        if self._asked or self._found:
            raise self.error()


def few(names: Sequence[str]) -> str:
    """Some names in a sentence.

    >>> few(["a", "b"]), few(list("abcdefg"))
    ('a and b', 'a, b, c, d and 3 more')
    """
    if len(names) <= 5:
        return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{', '.join(names[:4])} and {len(names) - 4} more"
