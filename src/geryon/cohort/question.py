"""What is asked of a table of slides, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a table."""

    labels: tuple[str, ...] = ()
    """Columns that hold the answer; for survival left out."""
    kind: str = ""
    """In cohort.targets.TARGETS; "": told by what the columns hold."""
    classes: tuple[str, ...] = ()
    """Classes in their order, where it is not that of numbers or the alphabet."""
    time: str = ""
    event: str = ""
    """Columns of survival: time to death or to the last visit, and 1 for a death."""
    features: Path | None = None
    """Folder that holds each slide's folder (or .h5), for tables without the column `features`."""
    objects: bool = False
    """Whether measures of the slides' objects are taken too."""
    skip_empty: bool = False
    """Whether slides without tissue are left out; else they are a fault."""
    grid: bool = False
    """Whether the model needs cells with places, which an .h5 does not hold."""

    def columns(self, option: str) -> tuple[str, ...]:
        """The columns that a field of OPTIONS names."""
        named = getattr(self, option)
        return tuple(filter(None, (named,) if isinstance(named, str) else named))


NOTHING_ASKED = Question()
OPTIONS = {"labels": "--label", "time": "--time", "event": "--event"}
"""Fields of a question that name columns, and how the command line has them."""
