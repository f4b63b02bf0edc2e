"""What is asked of a table of slides, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """Folder that holds each slide's folder (or .h5), where no column says where it is."""
    cells: bool = True
    """Whether volumes are looked at; else they need not be there."""
    objects: bool = False
    """Whether measures of the slides' objects are taken."""
    skip_empty: bool = False
    """Whether slides without tissue are left out; else they are a fault."""
    grid: bool = False
    """Whether the model needs cells with places, which an .h5 does not hold."""

    def for_model(self, sees: str, objects: bool) -> Question:
        """What a model needs of the slides that sees so much of them (in models.SEES), and takes objects or not."""
        is_blind = sees == "nothing"
        return replace(self, cells=not is_blind, grid=self.grid or sees == "crops", objects=objects or is_blind)

    @property
    def is_asked(self) -> bool:
        """Whether something is to be learnt; else slides are only looked at."""
        return any(self.columns(option) for option in OPTIONS)

    def columns(self, option: str) -> tuple[str, ...]:
        """The columns that a field of OPTIONS names."""
        named = getattr(self, option)
        return tuple(filter(None, (named,) if isinstance(named, str) else named))


NOTHING_ASKED = Question()
OPTIONS = {"labels": "--label", "time": "--time", "event": "--event"}
"""Fields of a question that name columns, and how the command line has them."""
